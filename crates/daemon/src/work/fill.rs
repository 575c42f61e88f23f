//! Filling a range of an object's data file from its source.
//!
//! Invariants: bytes are written with pwritev only, never spliced or copied by the kernel from another file (H06);
//! nothing is written at or beyond the object's size; `present` is said only of bytes whose write has returned; a
//! body that breaks off is resumed where it ended, in the same version.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use holdfast_proto::{ByteRange, Errno};

use crate::device::DeviceError;
use crate::errno::{SourceError, wire};
use crate::object::{Content, OpenObject};
use crate::retry;

/// Bytes are gathered up to this much before they are written.
const WRITE_BYTES: usize = 256 * 1024;
/// A write of less is done where it is: it takes microseconds, while handing the runtime's thread over and getting
/// another one costs more than the rest of a small file together.
const HAND_OVER_BYTES: u64 = 64 * 1024;
/// Progress is told in steps of at least this much.
const PRESENT_STEP_BYTES: u64 = 256 * 1024;
/// Most pieces gathered for one write; the kernel takes 1024.
const WRITE_PIECES_MAX: usize = 512;
/// Pieces of a document handed to the writer at a time, in bytes.
const DOCUMENT_PIECE_BYTES: u64 = 1 << 20;

/// Why a range could not be filled.
#[derive(Debug)]
pub(crate) enum FillError {
    /// The source failed.
    Source(SourceError),
    /// The data file could not be written.
    Store(Errno),
    /// The lease is gone.
    Device(DeviceError),
}

impl From<SourceError> for FillError {
    fn from(error: SourceError) -> FillError {
        FillError::Source(error)
    }
}

/// Writes `range` (clipped at the object's end) into the data file and tells of progress.
///
/// # Errors
/// [`FillError`]; what has been written before is told as present.
pub(crate) async fn fill(object: &OpenObject, range: ByteRange) -> Result<(), FillError> {
    let end = range.end().min(object.size);
    let Some(range) = end
        .checked_sub(range.offset)
        .and_then(|len| ByteRange::new(range.offset, len))
    else {
        return Ok(());
    };
    let mut writer = Writer {
        object,
        end,
        gathered_end: range.offset,
        written: range.offset,
        told: range.offset,
        pieces: VecDeque::new(),
    };
    let filled = match &object.content {
        Content::Document(document) => copy_document(&mut writer, document).await,
        Content::Data { .. } => stream(&mut writer).await,
    };
    let flushed = writer.flush().await;
    filled.and(flushed)
}

async fn copy_document(
    writer: &mut Writer<'_>,
    document: &crate::object::Document,
) -> Result<(), FillError> {
    while writer.gathered_end < writer.end {
        let len = (writer.end - writer.gathered_end).min(DOCUMENT_PIECE_BYTES);
        let piece = document.read(
            writer.gathered_end,
            usize::try_from(len).expect("at most 1 MiB"),
        )?;
        writer.push(piece).await?;
    }
    Ok(())
}

/// Streams with a bounded number of tries in a row that brought nothing.
async fn stream(writer: &mut Writer<'_>) -> Result<(), FillError> {
    let mut pauses = retry::pauses();
    loop {
        let before = writer.gathered_end;
        let error = match stream_once(writer).await {
            Ok(()) => return Ok(()),
            Err(FillError::Source(error)) if error.is_transient() => error,
            Err(error) => return Err(error),
        };
        if writer.gathered_end > before {
            pauses = retry::pauses();
        }
        let Some(pause) = pauses.next() else {
            return Err(error.into());
        };
        tracing::debug!(%error, ?pause, "will go on where the body ended");
        tokio::time::sleep(pause).await;
    }
}

async fn stream_once(writer: &mut Writer<'_>) -> Result<(), FillError> {
    let Content::Data {
        source,
        path,
        validator,
    } = &writer.object.content
    else {
        unreachable!("only data objects are streamed");
    };
    let place = || String::from_utf8_lossy(path.as_bytes()).into_owned();
    let Some(range) = ByteRange::new(writer.gathered_end, writer.end - writer.gathered_end) else {
        return Ok(());
    };
    let mut body = source
        .read(path, validator, writer.object.size, range)
        .await?;
    while let Some(piece) = body.next().await {
        let piece = piece?;
        if piece.len() as u64 > writer.end - writer.gathered_end {
            return Err(SourceError::Protocol {
                place: place(),
                detail: "more bytes than asked for".into(),
            }
            .into());
        }
        writer.push(piece).await?;
    }
    match writer.end - writer.gathered_end {
        0 => Ok(()),
        missing_bytes => Err(SourceError::Short {
            place: place(),
            missing_bytes,
        }
        .into()),
    }
}

/// Gathers pieces, writes them, tells of them. `told <= written <= gathered_end <= end` always.
struct Writer<'a> {
    object: &'a OpenObject,
    end: u64,
    gathered_end: u64,
    written: u64,
    told: u64,
    pieces: VecDeque<Bytes>,
}

impl Writer<'_> {
    async fn push(&mut self, piece: Bytes) -> Result<(), FillError> {
        if piece.is_empty() {
            return Ok(());
        }
        self.gathered_end += piece.len() as u64;
        assert!(
            self.gathered_end <= self.end,
            "a source never yields more than was asked for"
        );
        self.pieces.push_back(piece);
        let gathered_bytes = self.gathered_end - self.written;
        if gathered_bytes >= WRITE_BYTES as u64 || self.pieces.len() >= WRITE_PIECES_MAX {
            self.write()?;
            self.tell(PRESENT_STEP_BYTES).await?;
        }
        Ok(())
    }

    /// Writes what is gathered and tells of all whole blocks.
    async fn flush(&mut self) -> Result<(), FillError> {
        self.write()?;
        // All of the range is told by `cread` itself; after a failure this saves what did come.
        if self.written < self.end {
            self.tell(1).await
        } else {
            Ok(())
        }
    }

    fn write(&mut self) -> Result<(), FillError> {
        if self.pieces.is_empty() {
            return Ok(());
        }
        let written = if self.gathered_end - self.written < HAND_OVER_BYTES {
            self.write_blocking()
        } else {
            tokio::task::block_in_place(|| self.write_blocking())
        };
        written.map_err(|errno| FillError::Store(wire(errno)))
    }

    fn write_blocking(&mut self) -> Result<(), rustix::io::Errno> {
        while !self.pieces.is_empty() {
            let slices: Vec<IoSlice<'_>> = self
                .pieces
                .iter()
                .map(|piece| IoSlice::new(piece))
                .collect();
            let data = self.object.lease.data();
            let count =
                rustix::io::retry_on_intr(|| rustix::io::pwritev(data, &slices, self.written))?;
            if count == 0 {
                return Err(rustix::io::Errno::NOSPC);
            }
            self.written += count as u64;
            self.consume(count);
        }
        Ok(())
    }

    fn consume(&mut self, mut count: usize) {
        while count > 0 {
            let front = self
                .pieces
                .front_mut()
                .expect("no more is written than was gathered");
            let step = count.min(front.len());
            front.advance(step);
            count -= step;
            if front.is_empty() {
                self.pieces.pop_front();
            }
        }
    }

    async fn tell(&mut self, step_bytes: u64) -> Result<(), FillError> {
        let whole_blocks_end = self.written - self.written % holdfast_proto::BLOCK_BYTES;
        let Some(len) = whole_blocks_end
            .checked_sub(self.told)
            .filter(|len| *len >= step_bytes)
        else {
            return Ok(());
        };
        if let Some(range) = ByteRange::new(self.told, len) {
            self.object
                .lease
                .present(range)
                .await
                .map_err(FillError::Device)?;
            self.told = whole_blocks_end;
        }
        Ok(())
    }
}
