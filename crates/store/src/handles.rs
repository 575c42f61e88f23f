//! Open files of objects: opened when needed, and bounded in number.
//!
//! The clock algorithm stands in for "least recently used": a hit sets a flag and takes no lock that objects share.
//!
//! Invariant: at most the configured number of slots is open beside those that are pinned; files in use when they are
//! evicted close after their last use.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::files::Files;

/// The place of one object's open files.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    files: Mutex<SlotState>,
    recently_used: AtomicBool,
}

#[derive(Debug, Default)]
enum SlotState {
    #[default]
    Closed,
    /// Open, and may be evicted.
    Open(Arc<Files>),
    /// Open for as long as the object lives: it has been unlinked, so it could not be opened again.
    Pinned(Arc<Files>),
}

/// All slots that may be open, oldest first.
#[derive(Debug)]
pub(crate) struct Clock {
    ring: Mutex<VecDeque<Weak<Slot>>>,
    open_max: usize,
}

/// The guard, of a poisoned lock too: every critical section of this crate leaves its data whole at each point.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Slot {
    /// The open files; opens them by `open` when they are not.
    pub(crate) fn get(
        self: &Arc<Self>,
        clock: &Clock,
        open: impl FnOnce() -> io::Result<Files>,
    ) -> io::Result<Arc<Files>> {
        let files = {
            let mut state = lock(&self.files);
            match &*state {
                SlotState::Open(files) | SlotState::Pinned(files) => {
                    self.recently_used.store(true, Ordering::Relaxed);
                    return Ok(Arc::clone(files));
                }
                SlotState::Closed => {
                    let files = Arc::new(open()?);
                    *state = SlotState::Open(Arc::clone(&files));
                    files
                }
            }
        };
        clock.opened(self);
        Ok(files)
    }

    /// Keeps the files open until the slot is dropped.
    pub(crate) fn pin(&self, files: Arc<Files>) {
        *lock(&self.files) = SlotState::Pinned(files);
    }

    fn evict(&self) {
        let mut state = lock(&self.files);
        *state = match std::mem::take(&mut *state) {
            SlotState::Closed | SlotState::Open(_) => SlotState::Closed,
            SlotState::Pinned(files) => SlotState::Pinned(files),
        };
    }
}

impl Clock {
    pub(crate) fn new(open_max: usize) -> Self {
        Self {
            ring: Mutex::new(VecDeque::new()),
            open_max: open_max.max(1),
        }
    }

    /// Notes that a slot was opened, and evicts others while there are too many.
    fn opened(&self, slot: &Arc<Slot>) {
        let mut ring = lock(&self.ring);
        ring.push_back(Arc::downgrade(slot));
        // Each slot gets at most one second chance per call, so the loop ends.
        let mut chances = ring.len();
        while ring.len() > self.open_max {
            let Some(oldest) = ring.pop_front() else {
                break;
            };
            let Some(victim) = oldest.upgrade() else {
                continue;
            };
            if chances > 0 && victim.recently_used.swap(false, Ordering::Relaxed) {
                chances -= 1;
                ring.push_back(oldest);
                continue;
            }
            victim.evict();
        }
    }
}
