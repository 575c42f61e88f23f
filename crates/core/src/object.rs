//! Objects, the smallest record that an idle one needs, and how many are in each state.

use alloc::collections::BTreeMap;

use holdfast_proto::MessageId;

use crate::moment::Moment;
use crate::{LeaseId, ObjectCounts, ObjectId, OutagePolicy};

/// State of an object, by the kernel's names (`enum cachefiles_object_state`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectState {
    /// New, or its lease ended; its first OPEN may be under way.
    Close,
    /// Its OPEN was answered and its lease lives.
    Open,
    /// A read drove it to reopen; its READs wait.
    Reopening,
    /// Being dropped: new readers are refused, the daemon has still to be told.
    Dropping,
}

/// State with what belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum State {
    /// No lease, no request.
    Close,
    /// An OPEN that only waiters for the size want; CLOSE to the outside, as in the kernel.
    Opening { open: MessageId },
    /// An OPEN that READs wait for.
    Reopening { open: MessageId },
    /// Belongs to the session that holds the lease.
    Open { lease: LeaseId, usage: Usage },
    /// The CLOSE has still to be handed out.
    Dropping { lease: LeaseId, close: MessageId },
}

/// What an OPEN object is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Usage {
    /// It has READs.
    Busy,
    /// It has none since the session's `turn`; stands in the session's idle set.
    Idle { turn: u64 },
    /// A CLOSE that was not handed out yet asks for its lease back.
    Closing { close: MessageId },
}

/// Since when the object could not be served (kept for [`OutagePolicy::Eio`] only).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Outage {
    /// It can, as far as known.
    None,
    /// It cannot since `since`; at `deadline`, a set timer, its readers fail.
    Running { since: Moment, deadline: Moment },
    /// The deadline passed. `tried`: last attempt for a reader; `asked`: last time a reader came or failed.
    Expired {
        since: Moment,
        tried: Moment,
        asked: Moment,
    },
}

/// One object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Object {
    pub(crate) policy: OutagePolicy,
    state: State,
    pub(crate) outage: Outage,
    /// From the last good answer to an OPEN; `None` until there was one.
    pub(crate) size_bytes: Option<u64>,
    /// Leases in a row that their daemon closed without having served what was wanted.
    pub(crate) futile_opens: u8,
}

impl State {
    pub(crate) fn name(self) -> ObjectState {
        match self {
            Self::Close | Self::Opening { .. } => ObjectState::Close,
            Self::Open { .. } => ObjectState::Open,
            Self::Reopening { .. } => ObjectState::Reopening,
            Self::Dropping { .. } => ObjectState::Dropping,
        }
    }

    /// The live lease of an object that is OPEN.
    pub(crate) fn open_lease(self) -> Option<LeaseId> {
        match self {
            Self::Open { lease, .. } => Some(lease),
            Self::Close | Self::Opening { .. } | Self::Reopening { .. } | Self::Dropping { .. } => {
                None
            }
        }
    }

    /// The OPEN request that is under way.
    pub(crate) fn open_request(self) -> Option<MessageId> {
        match self {
            Self::Opening { open } | Self::Reopening { open } => Some(open),
            Self::Close | Self::Open { .. } | Self::Dropping { .. } => None,
        }
    }
}

impl Object {
    pub(crate) fn state(&self) -> State {
        self.state
    }
}

/// All objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Objects {
    by_id: BTreeMap<ObjectId, Object>,
    next: u64,
    counts: ObjectCounts,
}

impl Objects {
    pub(crate) fn insert(&mut self, policy: OutagePolicy) -> ObjectId {
        let id = ObjectId(self.next);
        self.next += 1;
        let object = Object {
            policy,
            state: State::Close,
            outage: Outage::None,
            size_bytes: None,
            futile_opens: 0,
        };
        self.by_id.insert(id, object);
        self.counts.close += 1;
        id
    }

    pub(crate) fn remove(&mut self, id: ObjectId) {
        let object = self
            .by_id
            .remove(&id)
            .expect("only a live object is removed");
        *self.count(object.state.name()) -= 1;
    }

    pub(crate) fn get(&self, id: ObjectId) -> Option<&Object> {
        self.by_id.get(&id)
    }

    /// The object `id`, which the caller knows to live because another table names it.
    pub(crate) fn live(&self, id: ObjectId) -> &Object {
        self.by_id.get(&id).expect("a named object lives")
    }

    pub(crate) fn live_mut(&mut self, id: ObjectId) -> &mut Object {
        self.by_id.get_mut(&id).expect("a named object lives")
    }

    pub(crate) fn set_state(&mut self, id: ObjectId, state: State) {
        let old = core::mem::replace(&mut self.live_mut(id).state, state);
        *self.count(old.name()) -= 1;
        *self.count(state.name()) += 1;
    }

    pub(crate) fn counts(&self) -> ObjectCounts {
        self.counts
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (ObjectId, &Object)> {
        self.by_id.iter().map(|(id, object)| (*id, object))
    }

    fn count(&mut self, state: ObjectState) -> &mut usize {
        match state {
            ObjectState::Close => &mut self.counts.close,
            ObjectState::Open => &mut self.counts.open,
            ObjectState::Reopening => &mut self.counts.reopening,
            ObjectState::Dropping => &mut self.counts.dropping,
        }
    }
}
