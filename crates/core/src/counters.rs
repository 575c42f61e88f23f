//! Numbers for metrics; none of them decides anything.

use core::hash::{Hash, Hasher};
use core::ops::{Deref, DerefMut};

/// Things counted since the core was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Counters {
    /// Requests handed out, each time counted.
    pub deliveries: u64,
    /// Deliveries that failed in the shell.
    pub deliveries_failed: u64,
    /// Handed-out requests made new again because their session, its process or their lease was lost.
    pub requests_replayed: u64,
    /// Sessions that ended while they held unanswered requests.
    pub hand_overs: u64,
    /// Leases closed by a daemon that lived on.
    pub leases_closed: u64,
    /// `restore` commands.
    pub restores: u64,
    /// OPENs enqueued for an object that had been open before.
    pub reopens: u64,
    /// Answers refused.
    pub replies_refused: u64,
    /// Requests put into back-off.
    pub retries: u64,
    /// Idle objects closed because the session held too many.
    pub idle_closes: u64,
    /// Readers that were told they are ready.
    pub readers_ready: u64,
    /// Readers that got an error.
    pub readers_failed: u64,
    /// Readers that were interrupted.
    pub readers_interrupted: u64,
}

/// The counters inside a core: as they decide nothing, they are no part of what two cores are compared by.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally(Counters);

impl PartialEq for Tally {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Tally {}

impl Hash for Tally {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl Deref for Tally {
    type Target = Counters;

    fn deref(&self) -> &Counters {
        &self.0
    }
}

impl DerefMut for Tally {
    fn deref_mut(&mut self) -> &mut Counters {
        &mut self.0
    }
}

/// How many objects are in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ObjectCounts {
    /// CLOSE.
    pub close: usize,
    /// OPEN.
    pub open: usize,
    /// REOPENING.
    pub reopening: usize,
    /// DROPPING.
    pub dropping: usize,
}
