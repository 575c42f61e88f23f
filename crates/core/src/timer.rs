//! Everything that waits for time to pass, in one ordered set.
//!
//! Invariant: whoever owns a timer knows its moment, so that it can be taken out again in O(log n).

use alloc::collections::BTreeSet;

use holdfast_proto::MessageId;

use crate::moment::Moment;
use crate::{ObjectId, SessionId};

/// What to do when a moment has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Timer {
    /// The request's back-off is over.
    Retry(MessageId),
    /// The readers of the object have waited long enough.
    OutageDeadline(ObjectId),
    /// The session may be handed something again.
    Resume(SessionId),
}

/// All timers, by moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Timers {
    by_moment: BTreeSet<(Moment, Timer)>,
}

impl Timers {
    pub(crate) fn set(&mut self, at: Moment, timer: Timer) {
        let fresh = self.by_moment.insert((at, timer));
        assert!(fresh, "timer {timer:?} was set twice");
    }

    pub(crate) fn cancel(&mut self, at: Moment, timer: Timer) {
        let was_set = self.by_moment.remove(&(at, timer));
        assert!(was_set, "timer {timer:?} was not set");
    }

    pub(crate) fn first(&self) -> Option<Moment> {
        self.by_moment.first().map(|(at, _)| *at)
    }

    /// Takes the earliest timer whose moment has come.
    pub(crate) fn pop_due(&mut self, now: Moment) -> Option<Timer> {
        let (at, _) = self.by_moment.first()?;
        if *at > now {
            return None;
        }
        self.by_moment.pop_first().map(|(_, timer)| timer)
    }

    pub(crate) fn is_set(&self, at: Moment, timer: Timer) -> bool {
        self.by_moment.contains(&(at, timer))
    }

    pub(crate) fn len(&self) -> usize {
        self.by_moment.len()
    }
}
