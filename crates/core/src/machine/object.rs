//! Objects are made, opened, left idle, closed and dropped.

use alloc::vec::Vec;
use core::time::Duration;

use holdfast_proto::{Errno, MessageId};

use super::Core;
use crate::object::{State, Usage};
use crate::request::Body;
use crate::{Event, LeaseId, ObjectId, ObjectState, OutagePolicy, SessionId};

impl Core {
    /// Makes an object, CLOSE. Nothing is asked of a daemon before a reader comes.
    pub fn insert_object(&mut self, policy: OutagePolicy) -> ObjectId {
        self.objects.insert(policy)
    }

    /// Starts to drop the object: its readers fail with `errno`, its requests are void, new readers are refused with EIO.
    ///
    /// Where a daemon has it open, the object stays DROPPING until the CLOSE was handed out or the lease ended.
    /// [`Event::ObjectGone`] says that it is over. Without effect on an object that is gone or being dropped.
    pub fn drop_object(&mut self, now: Duration, id: ObjectId, errno: Errno) {
        self.advance(now);
        let Some(object) = self.objects.get(id) else {
            return;
        };
        let state = object.state();
        if state.name() == ObjectState::Dropping {
            return;
        }
        self.remove_reads(id);
        self.clear_outage(id);
        match state {
            State::Close | State::Dropping { .. } => {}
            State::Opening { open } | State::Reopening { open } => self.cancel_open(id, open),
            State::Open { lease, usage } => {
                let close = self.take_for_closing(id, lease, usage);
                self.objects.set_state(id, State::Dropping { lease, close });
            }
        }
        self.fail_readers_of(id, errno);
        if self.objects.live(id).state() == State::Close {
            self.remove_object(id);
        }
    }

    /// Removes the object from all tables; nothing may name it any more.
    pub(super) fn remove_object(&mut self, id: ObjectId) {
        self.objects.remove(id);
        self.events.push_back(Event::ObjectGone { object: id });
    }

    /// An OPEN request for the object, in no queue yet.
    pub(super) fn new_open(&mut self, object: ObjectId) -> MessageId {
        self.counters.reopens += u64::from(self.objects.live(object).size_bytes.is_some());
        self.requests.insert(object, Body::Open, self.now)
    }

    /// Withdraws the object's OPEN, also from a daemon that has it.
    fn cancel_open(&mut self, object: ObjectId, open: MessageId) {
        let lease = self.requests.live(open).delivered_with();
        self.remove_request(open);
        self.objects.set_state(object, State::Close);
        if let Some(lease) = lease {
            self.end_lease(lease);
        }
    }

    /// Drops the OPEN that is not handed out and that nobody wants any more: the object is CLOSE.
    pub(super) fn prune_open(&mut self, object: ObjectId) {
        let Some(open) = self.objects.live(object).state().open_request() else {
            return;
        };
        let handed_out = self.requests.live(open).delivered_with().is_some();
        let wanted = self.reads.wants(object) || self.waiters.first_opener(object).is_some();
        if !handed_out && !wanted {
            self.cancel_open(object, open);
        }
    }

    /// Removes every READ of the object, wherever it is on its way.
    fn remove_reads(&mut self, object: ObjectId) {
        let mut all: Vec<MessageId> = self.reads.of(object).map(|(_, id)| id).collect();
        all.extend(self.reads.covered_of(object));
        for id in all {
            self.remove_request(id);
        }
    }

    /// Brings an OPEN object's usage up to date: with READs it is busy, without it may be closed.
    pub(super) fn settle(&mut self, object: ObjectId) {
        let State::Open { lease, usage } = self.objects.live(object).state() else {
            return;
        };
        let session = self.leases.live(lease).session;
        let has_reads = self.reads.has(object);
        let usage = match usage {
            Usage::Busy if !has_reads => Usage::Idle {
                turn: self.sessions.live_mut(session).enter_idle(object),
            },
            Usage::Idle { .. } | Usage::Closing { .. } if has_reads => {
                self.leave_usage(object, session, usage);
                Usage::Busy
            }
            Usage::Busy | Usage::Idle { .. } | Usage::Closing { .. } => usage,
        };
        self.objects.set_state(object, State::Open { lease, usage });
        self.close_surplus(session);
    }

    /// Takes the object out of what its usage put it in.
    pub(super) fn leave_usage(&mut self, object: ObjectId, session: SessionId, usage: Usage) {
        match usage {
            Usage::Busy => {}
            Usage::Idle { turn } => {
                self.sessions.live_mut(session).idle.remove(&(turn, object));
            }
            Usage::Closing { close } => self.remove_request(close),
        }
    }

    /// Closes idle objects, least recently used first, while the session holds too many (H16).
    pub(super) fn close_surplus(&mut self, id: SessionId) {
        loop {
            let session = self.sessions.live_mut(id);
            let kept = session.leases.len().saturating_sub(session.closes.len());
            if kept <= self.config.open_objects_per_session_max {
                return;
            }
            let Some((_, object)) = session.idle.pop_first() else {
                return;
            };
            let state = self.objects.live(object).state();
            let lease = state.open_lease().expect("an idle object is OPEN");
            let close = self.new_close(object, lease);
            let usage = Usage::Closing { close };
            self.objects.set_state(object, State::Open { lease, usage });
            self.counters.idle_closes += 1;
        }
    }

    /// The CLOSE of an object that leaves OPEN for good.
    fn take_for_closing(&mut self, object: ObjectId, lease: LeaseId, usage: Usage) -> MessageId {
        match usage {
            Usage::Closing { close } => close,
            Usage::Busy | Usage::Idle { .. } => {
                let session = self.leases.live(lease).session;
                self.leave_usage(object, session, usage);
                self.new_close(object, lease)
            }
        }
    }

    fn new_close(&mut self, object: ObjectId, lease: LeaseId) -> MessageId {
        let session = self.leases.live(lease).session;
        let body = Body::Close { lease, session };
        let close = self.requests.insert(object, body, self.now);
        self.make_ready(close);
        close
    }

    /// The lease is void from now on; nothing may name it any more.
    pub(super) fn end_lease(&mut self, lease: LeaseId) {
        let ended = self.leases.remove(lease);
        let session = self.sessions.live_mut(ended.session);
        session.leases.remove(&lease);
        self.events.push_back(Event::LeaseEnded {
            lease,
            object: ended.object,
        });
    }
}
