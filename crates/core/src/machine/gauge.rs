//! What can be seen from outside without changing anything.

use core::time::Duration;

use super::Core;
use crate::{Config, Counters, LeaseId, ObjectCounts, ObjectId, ObjectState, SessionId};

impl Core {
    /// What the core was made with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The object's state; `None` when it is gone.
    #[must_use]
    pub fn object_state(&self, object: ObjectId) -> Option<ObjectState> {
        Some(self.objects.get(object)?.state().name())
    }

    /// The object's size in bytes, from the last good answer to an OPEN; `None` before the first, or when it is gone.
    #[must_use]
    pub fn object_size(&self, object: ObjectId) -> Option<u64> {
        self.objects.get(object)?.size_bytes
    }

    /// The object and session of a live lease.
    #[must_use]
    pub fn lease(&self, lease: LeaseId) -> Option<(ObjectId, SessionId)> {
        let lease = self.leases.get(lease)?;
        Some((lease.object, lease.session))
    }

    /// How many objects are in each state.
    #[must_use]
    pub fn object_counts(&self) -> ObjectCounts {
        self.objects.counts()
    }

    /// Readers that wait.
    #[must_use]
    pub fn waiting_readers(&self) -> usize {
        self.waiters.len()
    }

    /// When the reader that waits longest began, since the shell's start.
    #[must_use]
    pub fn oldest_waiting_since(&self) -> Option<Duration> {
        self.waiters.oldest().map(Duration::from)
    }

    /// Requests not handed out: ready, waiting for their object's OPEN, or in back-off.
    #[must_use]
    pub fn requests_new(&self) -> usize {
        self.requests.len() - self.requests.in_flight()
    }

    /// Requests handed out and not answered.
    #[must_use]
    pub fn requests_in_flight(&self) -> usize {
        self.requests.in_flight()
    }

    /// Live sessions.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Credits that the session has left.
    #[must_use]
    pub fn credits(&self, session: SessionId) -> Option<u32> {
        Some(self.sessions.get(session)?.credits)
    }

    /// Live leases of the session: objects it holds open, or was asked to open.
    #[must_use]
    pub fn session_leases(&self, session: SessionId) -> Option<usize> {
        Some(self.sessions.get(session)?.leases.len())
    }

    /// What was counted so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        *self.counters
    }
}
