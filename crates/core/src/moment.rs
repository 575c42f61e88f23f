//! Time as the core keeps it: nanoseconds since the shell's arbitrary start, in 8 bytes.

use core::time::Duration;

/// A point in time since the start that the shell chose; ends after 584 years.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Moment {
    nanoseconds: u64,
}

impl Moment {
    pub(crate) fn after(self, wait: Duration) -> Self {
        Self {
            nanoseconds: self
                .nanoseconds
                .saturating_add(Self::from(wait).nanoseconds),
        }
    }

    /// Time from `earlier` to this moment, nothing when it is not earlier.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.nanoseconds.saturating_sub(earlier.nanoseconds))
    }
}

impl From<Duration> for Moment {
    fn from(since_start: Duration) -> Self {
        Self {
            nanoseconds: u64::try_from(since_start.as_nanos()).unwrap_or(u64::MAX),
        }
    }
}

impl From<Moment> for Duration {
    fn from(moment: Moment) -> Self {
        Self::from_nanos(moment.nanoseconds)
    }
}
