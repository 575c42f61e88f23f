//! Requests on their way: into the ready queues, back-off, back from a session, and out.

use holdfast_proto::MessageId;

use super::Core;
use crate::moment::Moment;
use crate::request::{Body, Origin, Phase};
use crate::session::{Flow, Signal};
use crate::timer::Timer;
use crate::{Event, LeaseId, ObjectId, SessionId};

impl Core {
    /// Puts a new request where sessions find it. A READ of an object that is not OPEN goes nowhere.
    pub(super) fn make_ready(&mut self, id: MessageId) {
        let request = self.requests.live_mut(id);
        request.armed = self.now;
        let object = request.object;
        match request.body {
            Body::Open => {
                let was_empty = self.opens.is_empty();
                self.opens.insert(id);
                if was_empty {
                    self.announce_to_all();
                }
            }
            Body::Read { .. } => {
                let max = self.config.object_reads_max;
                if let Some((lease, session)) = self.holder(object)
                    && self.shares.enter(lease, id, max)
                {
                    self.sessions.live_mut(session).reads.insert(id);
                    self.announce(session);
                }
            }
            Body::Close { session, .. } => {
                self.sessions.live_mut(session).closes.insert(id);
                self.announce(session);
            }
        }
    }

    /// Takes a new request out of the queue it may stand in.
    pub(super) fn unready(&mut self, id: MessageId) {
        let request = self.requests.live(id);
        match request.body {
            Body::Open => {
                self.opens.remove(&id);
            }
            Body::Read { .. } => {
                if let Some((lease, session)) = self.holder(request.object)
                    && !self.shares.unpark(lease, id)
                    && self.sessions.live_mut(session).reads.remove(&id)
                {
                    self.give_place(lease, session);
                }
            }
            Body::Close { session, .. } => {
                self.sessions.live_mut(session).closes.remove(&id);
            }
        }
    }

    /// The lease of an object that is open, and the session that holds it.
    fn holder(&self, object: ObjectId) -> Option<(LeaseId, SessionId)> {
        let lease = self.objects.live(object).state().open_lease()?;
        Some((lease, self.leases.live(lease).session))
    }

    /// A READ of the lease left the ready queue or its daemon: another of its READs takes its place.
    fn give_place(&mut self, lease: LeaseId, session: SessionId) {
        if let Some(next) = self.shares.leave(lease) {
            self.sessions.live_mut(session).reads.insert(next);
            self.announce(session);
        }
    }

    /// Takes a request back from the session it was handed to; it is new then, and in no queue.
    pub(super) fn take_back(&mut self, id: MessageId) {
        let request = self.requests.live(id);
        if let Body::Close { session, .. } = request.body {
            self.sessions.live_mut(session).unconfirmed_close = None;
        } else if let Some(lease) = request.delivered_with() {
            let session = self.leases.live(lease).session;
            self.sessions.live_mut(session).delivered.remove(&id);
            if let Body::Read { .. } = self.requests.live(id).body {
                self.give_place(lease, session);
            }
        }
        self.requests.set_phase(id, Phase::New);
    }

    /// Takes the request out of every table, wherever it is on its way.
    pub(super) fn remove_request(&mut self, id: MessageId) {
        let request = self.requests.live(id);
        let (object, body, phase) = (request.object, request.body, request.phase());
        match phase {
            Phase::New => self.unready(id),
            Phase::Backoff { until } => self.leave_backoff(id, until),
            Phase::Delivered { .. } | Phase::Covered { .. } => self.take_back(id),
        }
        if let Body::Read { range, .. } = body {
            match phase {
                Phase::Covered { .. } => self.reads.remove_covered(object, id),
                Phase::New | Phase::Backoff { .. } | Phase::Delivered { .. } => {
                    self.reads.remove(object, range);
                }
            }
        }
        self.requests.remove(id);
    }

    /// Lets a request that is in no queue wait before it is handed out again, longer each time.
    pub(super) fn back_off(&mut self, id: MessageId) {
        let request = self.requests.live_mut(id);
        request.failures = request.failures.saturating_add(1);
        let until = self.now.after(self.config.backoff(request.failures));
        self.requests.set_phase(id, Phase::Backoff { until });
        self.timers.set(until, Timer::Retry(id));
        self.counters.retries += 1;
    }

    /// Takes the request's timer away.
    fn leave_backoff(&mut self, id: MessageId, until: Moment) {
        self.timers.cancel(until, Timer::Retry(id));
        if self.requests.live(id).body == Body::Open {
            self.sessions.forget_forgivable(id);
        }
    }

    /// A back-off's timer fired.
    pub(super) fn retry(&mut self, id: MessageId) {
        self.sessions.forget_forgivable(id);
        self.requests.set_phase(id, Phase::New);
        self.make_ready(id);
    }

    /// Ends a back-off before its time.
    pub(super) fn end_backoff(&mut self, id: MessageId) {
        let Phase::Backoff { until } = self.requests.live(id).phase() else {
            return;
        };
        self.leave_backoff(id, until);
        self.requests.set_phase(id, Phase::New);
        self.make_ready(id);
    }

    /// A new reader needs this request: ends its back-off, unless that happened a moment ago.
    pub(super) fn rearm(&mut self, id: MessageId) {
        let request = self.requests.live(id);
        if self.now.since(request.armed) >= self.config.rearm_interval {
            self.end_backoff(id);
        }
    }

    /// Drops a READ that is not handed out, that no reader wants and that was made for one.
    pub(super) fn prune_read(&mut self, id: MessageId) {
        if let Body::Read { origin, .. } = self.requests.live(id).body
            && origin == Origin::Reader
        {
            self.drop_unwanted_read(id);
        }
    }

    /// Drops a READ that is not handed out and that no reader wants, a prefetch too.
    pub(super) fn drop_unwanted_read(&mut self, id: MessageId) {
        let request = self.requests.live(id);
        if let Body::Read { range, .. } = request.body
            && request.delivered_with().is_none()
            && !self.waiters.want(request.object, range)
        {
            self.remove_request(id);
        }
    }

    /// Tells the shell that the session can take something, if it can and the shell does not know.
    pub(super) fn announce(&mut self, id: SessionId) {
        let session = self.sessions.live_mut(id);
        if session.signal == Signal::Quiet && session.is_ready(&self.opens) {
            session.signal = Signal::Told;
            self.events.push_back(Event::SessionReady { session: id });
        }
    }

    /// An OPEN is there for whoever is first: the session with the fewest leases is told first.
    fn announce_to_all(&mut self) {
        let quiet = self.sessions.iter().filter(|(_, session)| {
            session.signal == Signal::Quiet && session.flow == Flow::Flowing && session.credits > 0
        });
        let mut by_load: alloc::vec::Vec<(usize, SessionId)> = quiet
            .map(|(id, session)| (session.leases.len(), id))
            .collect();
        by_load.sort_unstable();
        for (_, session) in by_load {
            self.announce(session);
        }
    }
}
