//! Response bodies: streamed in large chunks from pooled buffers, cut short or held up where a fault says so.
//!
//! Invariant: a chunk is read and sent without any other copy than the one out of the page cache, and without an allocation of
//! its size: buffers return to the pool when the connection has written them.

use std::io::{self, IoSliceMut};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use rustix::io::{Errno, ReadWriteFlags};
use tokio::time::Instant;

use super::misfortune::BodyFault;
use super::resource::Content;
use super::stats::Stats;

/// Large enough that the cost per chunk vanishes, small enough that two of them stay in the processor's cache.
const CHUNK_BYTES: usize = 256 * 1024;
/// Idle buffers kept; more are freed.
const POOLED_BUFFERS_MAX: usize = 64;
/// How long a connection that is about to be dropped has for sending what was promised.
const DROP_DELAY: Duration = Duration::from_millis(50);

/// The body type of every response.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Buffers of [`CHUNK_BYTES`], used again and again.
#[derive(Debug, Clone, Default)]
pub(super) struct Pool {
    idle: Arc<Mutex<Vec<Box<[u8]>>>>,
}

/// A buffer that returns to its pool.
#[derive(Debug)]
struct Pooled {
    buffer: Box<[u8]>,
    filled_bytes: usize,
    pool: Pool,
}

/// What to send.
#[derive(Debug)]
pub(super) struct Plan {
    pub content: Content,
    /// Bytes of the content.
    pub range: Range<u64>,
    /// Applied to each byte.
    pub xor: u8,
    pub fault: Option<BodyFault>,
    pub throttle_bytes_per_second: Option<u64>,
    pub stats: Arc<Stats>,
    /// Key of the counters.
    pub path: Vec<u8>,
    pub pool: Pool,
}

/// What comes when the last byte is sent.
#[derive(Debug, Clone, Copy)]
enum Ending {
    Complete,
    Stall,
    Drop,
}

struct Sending {
    plan: Plan,
    ending: Ending,
    started: Instant,
    sent_bytes: u64,
}

/// The body that carries the plan out, piece by piece as the connection takes it.
pub(super) fn stream(mut plan: Plan) -> Body {
    let (limit_bytes, ending) = match plan.fault {
        None => (u64::MAX, Ending::Complete),
        Some(BodyFault::Stall { after_bytes }) => (after_bytes, Ending::Stall),
        Some(BodyFault::Drop { after_bytes }) => (after_bytes, Ending::Drop),
    };
    plan.range.end = plan
        .range
        .end
        .min(plan.range.start.saturating_add(limit_bytes));
    let sending = Sending {
        plan,
        ending,
        started: Instant::now(),
        sent_bytes: 0,
    };
    StreamBody::new(stream::unfold(sending, next_frame)).boxed_unsync()
}

/// A body of no bytes.
pub(super) fn empty() -> Body {
    http_body_util::Empty::new()
        .map_err(|never| match never {})
        .boxed_unsync()
}

async fn next_frame(mut sending: Sending) -> Option<(io::Result<Frame<Bytes>>, Sending)> {
    if sending.plan.range.is_empty() {
        match sending.ending {
            Ending::Complete => return None,
            Ending::Stall => std::future::pending().await,
            Ending::Drop => {
                // The connection writes out what it has buffered only while the body has nothing for it.
                tokio::time::sleep(DROP_DELAY).await;
                sending.ending = Ending::Complete;
                return Some((Err(io::ErrorKind::ConnectionAborted.into()), sending));
            }
        }
    }
    let chunk = match sending.next_chunk().await {
        Ok(chunk) => chunk,
        Err(error) => {
            // Nothing follows an error.
            sending.plan.range.start = sending.plan.range.end;
            return Some((Err(error), sending));
        }
    };
    let len = u64::try_from(chunk.len()).expect("a chunk's length fits into 64 bits");
    sending.plan.range.start += len;
    sending.sent_bytes += len;
    sending.plan.stats.count_body(&sending.plan.path, len);
    Some((Ok(Frame::data(chunk)), sending))
}

impl Sending {
    async fn next_chunk(&self) -> io::Result<Bytes> {
        let mut want_bytes = u64::try_from(CHUNK_BYTES).expect("a constant that fits");
        if let Some(rate) = self.plan.throttle_bytes_per_second {
            // Twenty pieces a second, each after its time.
            want_bytes = want_bytes.min((rate / 20).max(1));
            let due_ms = (self.sent_bytes + want_bytes).saturating_mul(1000) / rate;
            tokio::time::sleep_until(self.started + Duration::from_millis(due_ms)).await;
        }
        let range = &self.plan.range;
        let want_bytes = want_bytes.min(range.end - range.start);
        let want = usize::try_from(want_bytes).expect("at most a chunk");
        match &self.plan.content {
            Content::Memory(bytes) => {
                let start = usize::try_from(range.start).expect("ranges lie within the content");
                let slice = bytes.slice(start..start + want);
                let xor = self.plan.xor;
                Ok(if xor == 0 {
                    slice
                } else {
                    slice.iter().map(|byte| byte ^ xor).collect()
                })
            }
            Content::Disk(file) => self.read_chunk(file, want).await,
        }
    }

    async fn read_chunk(&self, file: &Arc<OwnedFd>, want: usize) -> io::Result<Bytes> {
        let mut pooled = self.plan.pool.take();
        let offset = self.plan.range.start;
        // What the page cache holds is read here; only what needs the disk goes to a thread that may wait.
        let target = &mut pooled.buffer[..want];
        let at_once = rustix::io::preadv2(
            file,
            &mut [IoSliceMut::new(target)],
            offset,
            ReadWriteFlags::NOWAIT,
        );
        pooled.filled_bytes = match at_once {
            Ok(count) => count,
            Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::INTR) => {
                let file = Arc::clone(file);
                let read = move || {
                    let count = rustix::io::retry_on_intr(|| {
                        rustix::io::pread(&*file, &mut pooled.buffer[..want], offset)
                    });
                    (count, pooled)
                };
                let (count, returned) = tokio::task::spawn_blocking(read)
                    .await
                    .map_err(io::Error::other)?;
                pooled = returned;
                count?
            }
            Err(error) => return Err(error.into()),
        };
        if pooled.filled_bytes == 0 {
            // The file became shorter than it was when the header was sent.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if self.plan.xor != 0 {
            let filled = pooled.filled_bytes;
            pooled.buffer[..filled]
                .iter_mut()
                .for_each(|byte| *byte ^= self.plan.xor);
        }
        Ok(Bytes::from_owner(pooled))
    }
}

impl Pool {
    fn take(&self) -> Pooled {
        let reused = self
            .idle
            .lock()
            .expect("pushing and popping do not panic")
            .pop();
        let buffer = reused.unwrap_or_else(|| vec![0; CHUNK_BYTES].into_boxed_slice());
        Pooled {
            buffer,
            filled_bytes: 0,
            pool: self.clone(),
        }
    }
}

impl AsRef<[u8]> for Pooled {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.filled_bytes]
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        // A poisoned lock only means that the buffer is freed instead of kept.
        if let Ok(mut idle) = self.pool.idle.lock()
            && idle.len() < POOLED_BUFFERS_MAX
        {
            idle.push(std::mem::take(&mut self.buffer));
        }
    }
}
