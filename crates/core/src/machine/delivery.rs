//! Requests are handed to sessions: cyclically, against credits, and without loss when that fails.

use core::time::Duration;

use holdfast_proto::{ByteRange, MessageId};

use super::Core;
use crate::object::State;
use crate::request::{Body, Phase};
use crate::session::{Flow, Signal};
use crate::timer::Timer;
use crate::{Delivery, DeliveryBody, DeliveryRetry, LeaseId, SessionId};

impl Core {
    /// Whether [`Core::next_delivery`] has something for the session.
    #[must_use]
    pub fn is_ready(&self, session: SessionId) -> bool {
        let session = self.sessions.get(session);
        session.is_some_and(|session| session.is_ready(&self.opens))
    }

    /// The session's next request, in cyclic order of the numbers; from now on it counts as handed out.
    ///
    /// An OPEN or READ takes one credit. When the message cannot be sent, call [`Core::delivery_failed`] before
    /// anything else. `None` for a session that ended.
    pub fn next_delivery(&mut self, now: Duration, session: SessionId) -> Option<Delivery> {
        self.advance(now);
        self.confirm_close(session);
        let taker = self.sessions.get_mut(session)?;
        let Some(id) = taker.select(&self.opens, self.requests.newest()) else {
            taker.signal = Signal::Quiet;
            return None;
        };
        let (object, body) = {
            let request = self.requests.live(id);
            (request.object, request.body)
        };
        let body = match body {
            Body::Open => self.deliver_open(session, id),
            Body::Read { range, .. } => self.deliver_read(session, id, range),
            Body::Close { lease, .. } => self.deliver_close(session, id, lease),
        };
        self.counters.deliveries += 1;
        self.close_surplus(session);
        self.quiet_if_idle(session);
        Some(Delivery {
            msg_id: id,
            object,
            body,
        })
    }

    fn deliver_open(&mut self, session: SessionId, id: MessageId) -> DeliveryBody {
        self.unready(id);
        let lease = self.leases.insert(self.requests.live(id).object, session);
        self.sessions.live_mut(session).leases.insert(lease);
        self.hand_out(session, id, lease);
        DeliveryBody::Open { lease }
    }

    fn deliver_read(
        &mut self,
        session: SessionId,
        id: MessageId,
        range: ByteRange,
    ) -> DeliveryBody {
        // It keeps its place in the object's share until it is answered.
        self.sessions.live_mut(session).reads.remove(&id);
        let state = self.objects.live(self.requests.live(id).object).state();
        let lease = state.open_lease().expect("a ready READ's object is OPEN");
        self.hand_out(session, id, lease);
        DeliveryBody::Read { lease, range }
    }

    fn hand_out(&mut self, session: SessionId, id: MessageId, lease: LeaseId) {
        let session = self.sessions.live_mut(session);
        session.credits -= 1;
        session.delivered.insert(id);
        self.requests.set_phase(id, Phase::Delivered { lease });
    }

    /// To hand a CLOSE out is to complete it: the lease has ended.
    fn deliver_close(&mut self, session: SessionId, id: MessageId, lease: LeaseId) -> DeliveryBody {
        self.unready(id);
        self.sessions.live_mut(session).unconfirmed_close = Some(id);
        self.requests.set_phase(id, Phase::Delivered { lease });
        if self.leases.get(lease).is_some() {
            let object = self.requests.live(id).object;
            match self.objects.live(object).state() {
                State::Open { .. } => {
                    self.objects.set_state(object, State::Close);
                    self.end_lease(lease);
                }
                State::Dropping { .. } => {
                    self.end_lease(lease);
                    self.remove_object(object);
                }
                State::Close | State::Opening { .. } | State::Reopening { .. } => {
                    unreachable!(
                        "the object of a live lease is OPEN or DROPPING when it gets a CLOSE"
                    )
                }
            }
        }
        DeliveryBody::Close { lease }
    }

    /// The last CLOSE was sent, since the shell asks for more: forgets it.
    fn confirm_close(&mut self, session: SessionId) {
        let session = self.sessions.get(session);
        if let Some(id) = session.and_then(|session| session.unconfirmed_close) {
            self.remove_request(id);
        }
    }

    /// The delivery could not be sent. Nothing is consumed: the request is new again, and the credit is back (N8).
    ///
    /// The lease that an OPEN brought is void. To be called once for a delivery that failed, also when the request was
    /// dropped meanwhile (its credit is back then).
    pub fn delivery_failed(
        &mut self,
        now: Duration,
        session: SessionId,
        id: MessageId,
        retry: DeliveryRetry,
    ) {
        self.advance(now);
        let Some(sender) = self.sessions.get_mut(session) else {
            return;
        };
        self.counters.deliveries_failed += 1;
        let is_close = sender.unconfirmed_close == Some(id);
        let is_held = sender.delivered.contains(&id);
        if is_close || is_held {
            sender.lap = sender.lap.back_to(id);
        }
        match (retry, is_close) {
            (DeliveryRetry::WhenWritable, _) => self.stop(session, Flow::Stalled),
            (DeliveryRetry::AfterBackoff, true) => self.pause(session),
            (DeliveryRetry::AfterBackoff, false) => {}
        }
        if is_close {
            self.take_back(id);
            self.make_ready(id);
        } else {
            if is_held {
                self.undeliver(session, id, retry);
            }
            let sender = self.sessions.live_mut(session);
            sender.credits = sender.credits.saturating_add(1);
            self.announce(session);
        }
        self.quiet_if_idle(session);
    }

    fn undeliver(&mut self, session: SessionId, id: MessageId, retry: DeliveryRetry) {
        let object = self.requests.live(id).object;
        let phase = self.requests.live(id).phase();
        let opened = self.open_request(session, id);
        if let Phase::Covered { .. } = phase {
            self.remove_request(id);
        } else {
            self.take_back(id);
            match retry {
                DeliveryRetry::WhenWritable => self.make_ready(id),
                DeliveryRetry::AfterBackoff => self.back_off(id),
            }
            self.prune_read(id);
        }
        if let Some((_, lease)) = opened {
            self.end_lease(lease);
        }
        self.prune_open(object);
        self.settle(object);
    }

    /// The session's socket takes messages again.
    pub fn session_writable(&mut self, now: Duration, session: SessionId) {
        self.advance(now);
        if let Some(stalled) = self.sessions.get_mut(session)
            && stalled.flow == Flow::Stalled
        {
            self.stop(session, Flow::Flowing);
            self.announce(session);
        }
    }

    /// A pause's timer fired.
    pub(super) fn resume(&mut self, session: SessionId) {
        self.sessions.live_mut(session).flow = Flow::Flowing;
        self.announce(session);
    }

    fn pause(&mut self, session: SessionId) {
        let until = self.now.after(self.config.backoff(1));
        self.stop(session, Flow::Paused { until });
        self.timers.set(until, Timer::Resume(session));
    }

    /// Changes whether the session is handed anything, and ends a pause that it may be in.
    pub(super) fn stop(&mut self, id: SessionId, flow: Flow) {
        let session = self.sessions.live_mut(id);
        let old = core::mem::replace(&mut session.flow, flow);
        if let Flow::Paused { until } = old {
            self.timers.cancel(until, Timer::Resume(id));
        }
    }

    /// A session that can take nothing is to be told when it can again.
    pub(super) fn quiet_if_idle(&mut self, id: SessionId) {
        let session = self.sessions.live_mut(id);
        if !session.is_ready(&self.opens) {
            session.signal = Signal::Quiet;
        }
    }
}
