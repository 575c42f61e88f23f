//! How long readers wait for what cannot be served, under [`OutagePolicy::Eio`].
//!
//! An object's outage begins when something is wanted of it and the daemon says that the origin is out of reach,
//! or no session serves. Bytes that arrive (or, where no bytes are wanted, an OPEN that is answered) end it. Its deadline
//! counts from that beginning and not from each request (H25).
//!
//! After the deadline an object that is asked for again and again fails its readers at once, but for one attempt per
//! [`crate::Config::rearm_interval`], which may take as long as that interval: so a reader that asks twice waits
//! once, and the origin's return is noticed. An object that nobody asked for during `after` starts afresh.

use holdfast_proto::Errno;

use super::Core;
use crate::object::Outage;
use crate::timer::Timer;
use crate::{ObjectId, OutagePolicy};

impl Core {
    /// Whether a new reader may wait for the object; `false`: it is to fail with EIO at once.
    pub(super) fn may_try_again(&mut self, id: ObjectId) -> bool {
        let object = self.objects.live(id);
        let (after, since, tried, asked) = match (object.policy, object.outage) {
            (OutagePolicy::Wait, _) | (_, Outage::None | Outage::Running { .. }) => return true,
            (
                OutagePolicy::Eio { after },
                Outage::Expired {
                    since,
                    tried,
                    asked,
                },
            ) => (after, since, tried, asked),
        };
        if self.now.since(asked) >= after {
            self.objects.live_mut(id).outage = Outage::None;
            return true;
        }
        let too_soon = self.now.since(tried) < self.config.rearm_interval;
        if too_soon || self.sessions.serving() == 0 {
            self.objects.live_mut(id).outage = Outage::Expired {
                since,
                tried,
                asked: self.now,
            };
            return false;
        }
        let deadline = self.now.after(self.config.rearm_interval);
        self.objects.live_mut(id).outage = Outage::Running { since, deadline };
        self.timers.set(deadline, Timer::OutageDeadline(id));
        true
    }

    /// A reader began to wait for the object: without a session that serves, that is an outage.
    pub(super) fn note_unserved(&mut self, object: ObjectId) {
        if self.sessions.serving() == 0 {
            self.begin_outage(object);
        }
    }

    /// The last session that served is gone: everything wanted is in an outage.
    pub(super) fn note_all_unserved(&mut self) {
        for object in self.waiters.objects() {
            self.begin_outage(object);
        }
    }

    /// A daemon could not reach the origin for the object.
    pub(super) fn note_outage(&mut self, id: ObjectId) {
        self.begin_outage(id);
        let object = self.objects.live(id);
        if let (OutagePolicy::Eio { after }, Outage::Running { since, deadline }) =
            (object.policy, object.outage)
            && since.after(after) <= self.now
        {
            self.timers.cancel(deadline, Timer::OutageDeadline(id));
            self.expire_outage(id);
        }
    }

    fn begin_outage(&mut self, id: ObjectId) {
        let object = self.objects.live_mut(id);
        if let (OutagePolicy::Eio { after }, Outage::None) = (object.policy, object.outage)
            && self.waiters.first_of(id).is_some()
        {
            let since = self.now;
            let deadline = since.after(after);
            object.outage = Outage::Running { since, deadline };
            self.timers.set(deadline, Timer::OutageDeadline(id));
        }
    }

    /// The deadline has passed (its timer is gone): the readers fail.
    pub(super) fn expire_outage(&mut self, id: ObjectId) {
        let object = self.objects.live_mut(id);
        let Outage::Running { since, .. } = object.outage else {
            unreachable!("only a running outage has a deadline");
        };
        object.outage = Outage::Expired {
            since,
            tried: self.now,
            asked: self.now,
        };
        self.fail_readers_of(id, Errno::EIO);
    }

    /// The object is served again.
    pub(super) fn clear_outage(&mut self, id: ObjectId) {
        let object = self.objects.live_mut(id);
        let old = core::mem::replace(&mut object.outage, Outage::None);
        if let Outage::Running { deadline, .. } = old {
            self.timers.cancel(deadline, Timer::OutageDeadline(id));
        }
    }
}
