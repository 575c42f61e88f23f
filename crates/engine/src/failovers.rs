//! What the device loop tells `status`: who is connected, and what was lost so far.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use holdfast_core::{LeaseId, SessionId};

use crate::control::protocol::SessionStatus;

/// Why requests had to be handed out again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The process behind a session died.
    DaemonDied,
    /// A session's connection was closed; its process was then killed.
    SessionHungUp,
    /// A live daemon closed an object's descriptor.
    LeaseClosed,
    /// This engine took over from one that died.
    EngineDied,
}

impl Cause {
    /// The name that `status` gives it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::DaemonDied => "daemon_died",
            Self::SessionHungUp => "session_hung_up",
            Self::LeaseClosed => "lease_closed",
            Self::EngineDied => "engine_died",
        }
    }
}

/// Fail-overs since this engine started.
#[derive(Debug, Default)]
pub struct Failovers(Mutex<BTreeMap<Cause, u64>>);

impl Failovers {
    /// Counts one.
    pub fn count(&self, cause: Cause) {
        *lock(&self.0).entry(cause).or_default() += 1;
    }

    /// The counts by name.
    #[must_use]
    pub fn report(&self) -> BTreeMap<String, u64> {
        lock(&self.0)
            .iter()
            .map(|(cause, count)| (cause.name().to_owned(), *count))
            .collect()
    }
}

/// Connected daemons and their leases.
#[derive(Debug, Default)]
pub struct Sessions(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    sessions: BTreeMap<SessionId, SessionStatus>,
    holders: HashMap<LeaseId, SessionId>,
}

impl Sessions {
    /// A daemon connected.
    pub fn started(&self, session: SessionId, pid: i32) {
        let status = SessionStatus { pid, leases: 0 };
        lock(&self.0).sessions.insert(session, status);
    }

    /// A daemon is gone, and its leases.
    pub fn ended(&self, session: SessionId) {
        let mut held = lock(&self.0);
        held.sessions.remove(&session);
        held.holders.retain(|_, holder| *holder != session);
    }

    /// A lease was handed to a daemon.
    pub fn lease_given(&self, session: SessionId, lease: LeaseId) {
        let mut held = lock(&self.0);
        held.holders.insert(lease, session);
        if let Some(status) = held.sessions.get_mut(&session) {
            status.leases += 1;
        }
    }

    /// A lease ended.
    pub fn lease_ended(&self, session: SessionId, lease: LeaseId) {
        let mut held = lock(&self.0);
        if held.holders.remove(&lease).is_some()
            && let Some(status) = held.sessions.get_mut(&session)
        {
            status.leases -= 1;
        }
    }

    /// Who holds the lease.
    #[must_use]
    pub fn holder(&self, lease: LeaseId) -> Option<SessionId> {
        lock(&self.0).holders.get(&lease).copied()
    }

    /// All of them.
    #[must_use]
    pub fn report(&self) -> Vec<SessionStatus> {
        lock(&self.0).sessions.values().cloned().collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
