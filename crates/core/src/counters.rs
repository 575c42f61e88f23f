//! Numbers for metrics; none of them decides anything.

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
