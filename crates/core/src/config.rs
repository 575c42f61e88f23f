//! What an operator can choose.

use core::time::Duration;

use holdfast_proto::MessageId;

/// Limits and times of a [`crate::Core`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    /// Objects that a session may hold open before idle ones are closed, least recently used first.
    ///
    /// Objects that are being read do not count as idle, so a session can hold more for a while. Each costs two
    /// descriptors in the engine and two in the daemon. Default 1000.
    pub open_objects_per_session_max: usize,
    /// How often an OPEN is handed out that is refused with an error which may pass (EIO and other errors that
    /// are neither an outage nor final), before its readers get that error. At least 1; default 3.
    pub open_attempts_max: u8,
    /// The same for a READ. At least 1; default 3.
    pub read_attempts_max: u8,
    /// Wait before the first repetition of a refused request; it doubles with each further one. Default 50 ms.
    pub retry_backoff_first: Duration,
    /// Longest wait before a repetition; bounds how long a reader waits after a recovery. Default 1 s.
    pub retry_backoff_max: Duration,
    /// A new reader ends the wait of the request it needs, at most once in this time. Default 100 ms.
    pub rearm_interval: Duration,
    /// READs of one object that stand ready or are handed out at once; further ones wait, so that an object that is
    /// never answered leaves its daemon to others (H08). At least 1; default 8, half of a daemon's workers.
    pub object_reads_max: usize,
    /// Longest range of one READ, bytes, a multiple of 4096; longer needs are split. Default 8 MiB.
    pub read_len_max_bytes: u64,
    /// Number of the first request. Default 0, as the kernel's.
    pub first_message_id: MessageId,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            open_objects_per_session_max: 1000,
            open_attempts_max: 3,
            read_attempts_max: 3,
            retry_backoff_first: Duration::from_millis(50),
            retry_backoff_max: Duration::from_secs(1),
            rearm_interval: Duration::from_millis(100),
            object_reads_max: 8,
            read_len_max_bytes: 8 << 20,
            first_message_id: MessageId(0),
        }
    }
}

impl Config {
    /// The wait before a request is handed out again after it failed `failures` times (at least once).
    pub(crate) fn backoff(&self, failures: u8) -> Duration {
        let doublings = u32::from(failures.saturating_sub(1)).min(31);
        self.retry_backoff_first
            .saturating_mul(1 << doublings)
            .min(self.retry_backoff_max)
    }
}

/// What the readers of an object get while its origin is out of reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OutagePolicy {
    /// They wait until it is back.
    Wait,
    /// They get EIO once the object's outage is older than `after`.
    Eio {
        /// Time from the first moment at which the object could not be served.
        after: Duration,
    },
}
