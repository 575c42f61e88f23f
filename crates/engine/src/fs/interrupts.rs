//! INTERRUPT: a signal is pending for a thread that waits (H10).
//!
//! It does not mean that the reader was killed. A reader whose signal has a handler must not get
//! EINTR (with `SA_RESTART` it would never have seen any), and a reader that is being killed must
//! be let go at once. So each interrupted request is looked at every [`LOOK_EVERY`], for as long as
//! it waits: the answer EINTR is given when the thread has a fatal signal pending.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use holdfast_fuse::{ReaderFate, RequestId, fatal_signal_pending};
use holdfast_proto::Errno;

use crate::engine::Engine;
use crate::mount::Mount;

use super::perform::fail;

/// How often an interrupted reader is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// A request that does not wait is either being answered right now or was answered; it is kept in
/// mind for this many looks, since it may start to wait after its INTERRUPT was read.
const LOOKS_UNSEEN_MAX: u32 = 200;

/// Interrupted requests.
#[derive(Debug, Default)]
pub struct Interrupts {
    /// How often each was looked for in vain.
    noted: Mutex<HashMap<(u64, RequestId), u32>>,
    arrived: Condvar,
}

impl Interrupts {
    /// Notes an INTERRUPT; it is looked at soon.
    pub fn note(&self, mount: &Arc<Mount>, request: RequestId) {
        self.lock().insert((mount.id, request), 0);
        self.arrived.notify_one();
    }

    /// Looks at interrupted requests for ever; the body of a thread.
    pub(crate) fn watch(&self, engine: &Engine) -> ! {
        loop {
            let mut noted = self.lock();
            while noted.is_empty() {
                noted = self
                    .arrived
                    .wait(noted)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            noted.retain(|(mount, request), unseen| Self::look(engine, *mount, *request, unseen));
            drop(noted);
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Looks at one; true when it is to be looked at again.
    fn look(engine: &Engine, mount: u64, request: RequestId, unseen: &mut u32) -> bool {
        let Some((reader, tid)) = engine.hub().reader_of(mount, request) else {
            *unseen += 1;
            return *unseen < LOOKS_UNSEEN_MAX;
        };
        match fatal_signal_pending(tid) {
            ReaderFate::Alive | ReaderFate::Unknown => true,
            ReaderFate::Dying | ReaderFate::Gone => {
                let waiting = engine.with_hub(|hub| hub.interrupt(reader));
                if let Some(waiting) = waiting {
                    fail(&waiting, Errno::EINTR);
                }
                false
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(u64, RequestId), u32>> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
