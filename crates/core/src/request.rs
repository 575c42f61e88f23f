//! Requests that are not answered yet, and the numbers they get.
//!
//! Invariant: a number is given out cyclically and never while its last bearer lives, so that a late answer
//! does not meet a younger request (CVE-2024-41050 of the kernel).

use alloc::collections::BTreeMap;

use holdfast_proto::{ByteRange, MessageId};

use crate::moment::Moment;
use crate::{LeaseId, ObjectId, SessionId};

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Body {
    /// Open the object; any session.
    Open,
    /// Fill the range (shrinks as parts arrive); the session that holds the object's lease.
    Read { range: ByteRange, origin: Origin },
    /// Give the lease back; the session that got it.
    Close { lease: LeaseId, session: SessionId },
}

/// Who caused a READ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Origin {
    /// A reader: pointless when no reader wants it any more.
    Reader,
    /// A prefetch: worth doing without a reader, but not worth trouble.
    Prefetch,
}

/// Where a request is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    /// May be handed out (the kernel's NEW mark), or is on the way to that within one call.
    New,
    /// Not before `until`, a set timer.
    Backoff { until: Moment },
    /// Handed out with or for this lease.
    Delivered { lease: LeaseId },
    /// A handed-out READ of which every byte arrived; only its `cread` is missing.
    Covered { lease: LeaseId },
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Request {
    pub(crate) object: ObjectId,
    pub(crate) body: Body,
    phase: Phase,
    /// When it became new last.
    pub(crate) armed: Moment,
    /// Failed attempts of every kind: how long the next back-off is.
    pub(crate) failures: u8,
    /// Attempts refused with an error that may pass: how many are left.
    pub(crate) refusals: u8,
}

impl Request {
    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    /// The lease it was handed out with.
    pub(crate) fn delivered_with(&self) -> Option<LeaseId> {
        match self.phase {
            Phase::Delivered { lease } | Phase::Covered { lease } => Some(lease),
            Phase::New | Phase::Backoff { .. } => None,
        }
    }
}

/// All requests.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Requests {
    by_id: BTreeMap<MessageId, Request>,
    next: MessageId,
    in_flight: usize,
}

impl Requests {
    pub(crate) fn new(first: MessageId) -> Self {
        Self {
            by_id: BTreeMap::new(),
            next: first,
            in_flight: 0,
        }
    }

    pub(crate) fn insert(&mut self, object: ObjectId, body: Body, now: Moment) -> MessageId {
        let id = self.free_number();
        self.next = successor(id);
        let request = Request {
            object,
            body,
            phase: Phase::New,
            armed: now,
            failures: 0,
            refusals: 0,
        };
        self.by_id.insert(id, request);
        id
    }

    /// First number at or after the next one that no request bears.
    ///
    /// Steps over a run of live numbers only after the numbers wrapped around.
    fn free_number(&self) -> MessageId {
        assert!(
            self.by_id.len() <= u32::MAX as usize,
            "every request number is in use"
        );
        let mut free = self.next;
        while self.by_id.contains_key(&free) {
            free = successor(free);
        }
        free
    }

    /// The number from which the next request's is sought.
    pub(crate) fn newest(&self) -> MessageId {
        self.next
    }

    pub(crate) fn remove(&mut self, id: MessageId) -> Request {
        let request = self
            .by_id
            .remove(&id)
            .expect("only a live request is removed");
        self.in_flight -= usize::from(request.delivered_with().is_some());
        request
    }

    pub(crate) fn get(&self, id: MessageId) -> Option<&Request> {
        self.by_id.get(&id)
    }

    /// The request `id`, which the caller knows to live because another table names it.
    pub(crate) fn live(&self, id: MessageId) -> &Request {
        self.by_id.get(&id).expect("a named request lives")
    }

    pub(crate) fn live_mut(&mut self, id: MessageId) -> &mut Request {
        self.by_id.get_mut(&id).expect("a named request lives")
    }

    pub(crate) fn set_phase(&mut self, id: MessageId, phase: Phase) {
        let request = self.by_id.get_mut(&id).expect("a named request lives");
        self.in_flight -= usize::from(request.delivered_with().is_some());
        request.phase = phase;
        self.in_flight += usize::from(request.delivered_with().is_some());
    }

    /// Handed out and not answered.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (MessageId, &Request)> {
        self.by_id.iter().map(|(id, request)| (*id, request))
    }
}

/// The number after `id`, after the greatest the smallest.
pub(crate) fn successor(id: MessageId) -> MessageId {
    MessageId(id.0.wrapping_add(1))
}
