//! Sessions start, offer to work, are taken over, end; leases close.

use alloc::vec::Vec;
use core::time::Duration;

use holdfast_proto::MessageId;

use super::Core;
use crate::lease::{Lease, Yield};
use crate::object::{State, Usage};
use crate::request::{Body, Phase};
use crate::session::Flow;
use crate::{Event, LeaseId, ObjectId, SessionId};

/// How a lease was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    /// Its session ended: nobody's fault, another daemon gets the work at once.
    SessionEnded,
    /// Its daemon closed it and lives on: with back-off where that served nobody (never a hot loop).
    LeaseClosed,
}

impl Core {
    /// A daemon connected. It gets nothing before it granted credits.
    pub fn session_started(&mut self, now: Duration) -> SessionId {
        self.advance(now);
        self.sessions.insert()
    }

    /// The daemon may be handed `credits` more OPENs and READs (H15).
    pub fn grant_credits(&mut self, now: Duration, session: SessionId, credits: u32) {
        self.advance(now);
        if let Some(granting) = self.sessions.get_mut(session) {
            granting.credits = granting.credits.saturating_add(credits);
            self.sessions.note_serving(session);
            self.announce(session);
        }
    }

    /// The session's process is dead for certain: its objects are CLOSE, what it had not answered is new again, with the same numbers.
    ///
    /// Objects that READs wait for are reopened by whichever session is first.
    pub fn session_ended(&mut self, now: Duration, id: SessionId) {
        self.advance(now);
        let Some(session) = self.sessions.get(id) else {
            return;
        };
        let leases: Vec<LeaseId> = session.leases.iter().copied().collect();
        self.counters.hand_overs += u64::from(!session.delivered.is_empty());
        self.stop(id, Flow::Ended);
        for lease in leases {
            self.lose_lease(lease, Loss::SessionEnded);
        }
        let session = self.sessions.live(id);
        let untold = session.closes.iter().chain(&session.unconfirmed_close);
        for close in untold.copied().collect::<Vec<MessageId>>() {
            self.remove_request(close);
        }
        self.sessions.remove(id);
        if self.sessions.serving() == 0 {
            self.note_all_unserved();
        }
    }

    /// `restore`: everything handed out to the session and not answered is handed out again, with the same numbers.
    ///
    /// May come at any time, any number of times. An OPEN gets a fresh lease (N5) and answers to the earlier delivery
    /// are refused (N9). The session's credits are void: the successor grants its own *after* its `restore`.
    pub fn restore(&mut self, now: Duration, id: SessionId) {
        self.advance(now);
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        session.credits = 0;
        let delivered: Vec<MessageId> = session.delivered.iter().copied().collect();
        self.counters.restores += 1;
        self.stop(id, Flow::Flowing);
        self.quiet_if_idle(id);
        for request in delivered {
            self.restore_request(request);
        }
        self.forgive(id);
        self.announce(id);
    }

    /// The leases that the session closed were closed by a death: their OPENs need not wait.
    fn forgive(&mut self, id: SessionId) {
        let forgiven = self.sessions.live(id).forgivable.clone();
        for open in forgiven {
            let request = self.requests.live_mut(open);
            request.failures = 0;
            let object = request.object;
            self.objects.live_mut(object).futile_opens = 0;
            self.end_backoff(open);
        }
    }

    /// An OPEN waits because the session closed the lease it had.
    fn back_off_after_close(&mut self, open: MessageId, session: SessionId) {
        self.back_off(open);
        self.sessions.live_mut(session).forgivable.insert(open);
    }

    fn restore_request(&mut self, id: MessageId) {
        let request = self.requests.live(id);
        let (object, body, phase) = (request.object, request.body, request.phase());
        match phase {
            Phase::Covered { .. } => self.remove_request(id),
            Phase::Delivered { lease } => {
                self.replay(id);
                if body == Body::Open {
                    self.end_lease(lease);
                }
                self.make_ready(id);
                self.drop_unwanted_read(id);
            }
            Phase::New | Phase::Backoff { .. } => {
                unreachable!("a session has only what was handed out")
            }
        }
        self.prune_open(object);
        self.settle(object);
    }

    /// Takes a request back because of what happened to its session; it starts afresh.
    fn replay(&mut self, id: MessageId) {
        self.take_back(id);
        self.requests.live_mut(id).failures = 0;
        self.counters.requests_replayed += 1;
    }

    /// The daemon hung up the lease, which is the close of the kernel's anonymous descriptor (seed 7, N3).
    ///
    /// The object is CLOSE; what was handed out with the lease is new again. Drain that session's and that lease's answers
    /// before this call (H17). Without effect on a lease that has ended.
    pub fn lease_closed(&mut self, now: Duration, lease: LeaseId) {
        self.advance(now);
        if self.leases.get(lease).is_some() {
            self.counters.leases_closed += 1;
            self.lose_lease(lease, Loss::LeaseClosed);
        }
    }

    fn lose_lease(&mut self, lease: LeaseId, loss: Loss) {
        let object = self.leases.live(lease).object;
        match self.objects.live(object).state() {
            State::Opening { open } | State::Reopening { open } => {
                self.lose_open(object, open, lease, loss);
            }
            State::Open { usage, .. } => self.lose_object(object, usage, lease, loss),
            State::Dropping { close, .. } => {
                self.remove_request(close);
                self.end_lease(lease);
                self.remove_object(object);
            }
            State::Close => unreachable!("a CLOSE object without OPEN has no lease"),
        }
    }

    /// The lease of an OPEN that was not answered yet.
    fn lose_open(&mut self, object: ObjectId, open: MessageId, lease: LeaseId, loss: Loss) {
        match loss {
            Loss::SessionEnded => {
                self.replay(open);
                self.end_lease(lease);
                self.make_ready(open);
            }
            Loss::LeaseClosed => {
                let session = self.leases.live(lease).session;
                self.take_back(open);
                self.end_lease(lease);
                self.counters.requests_replayed += 1;
                self.back_off_after_close(open, session);
                self.note_outage(object);
            }
        }
        self.drop_unwanted_reads(object);
        self.prune_open(object);
    }

    /// The lease of an object that is OPEN.
    fn lose_object(&mut self, object: ObjectId, usage: Usage, lease: LeaseId, loss: Loss) {
        let held = *self.leases.live(lease);
        self.leave_usage(object, held.session, usage);
        let covered: Vec<MessageId> = self.reads.covered_of(object).collect();
        for id in covered {
            self.remove_request(id);
        }
        let reads: Vec<MessageId> = self.reads.of(object).map(|(_, id)| id).collect();
        for id in reads {
            match self.requests.live(id).phase() {
                Phase::New => self.unready(id),
                Phase::Delivered { .. } => self.replay(id),
                Phase::Backoff { .. } => {}
                Phase::Covered { .. } => unreachable!("a covered READ wants no bytes"),
            }
        }
        self.objects.set_state(object, State::Close);
        self.end_lease(lease);
        self.drop_unwanted_reads(object);
        if self.reads.wants(object) {
            self.reopen(object, held, loss);
        }
    }

    /// Asks anew for an object that READs wait for.
    ///
    /// At once, but for an object whose leases were closed again and again without having brought a byte.
    fn reopen(&mut self, object: ObjectId, held: Lease, loss: Loss) {
        let open = self.new_open(object);
        self.objects.set_state(object, State::Reopening { open });
        let record = self.objects.live_mut(object);
        let futile_before = record.futile_opens;
        match (held.yield_so_far, loss) {
            (Yield::Bytes, _) | (_, Loss::SessionEnded) => self.make_ready(open),
            (Yield::Nothing, Loss::LeaseClosed) => {
                record.futile_opens = futile_before.saturating_add(1);
                match futile_before.checked_sub(1) {
                    None => self.make_ready(open),
                    Some(failures) => {
                        self.requests.live_mut(open).failures = failures;
                        self.back_off_after_close(open, held.session);
                    }
                }
                self.note_outage(object);
            }
        }
    }

    /// Whether the session lives.
    #[must_use]
    pub fn has_session(&self, session: SessionId) -> bool {
        self.sessions.get(session).is_some()
    }

    /// The events that were not taken yet, oldest first; for tests and model checkers.
    pub fn pending_events(&self) -> impl Iterator<Item = &Event> {
        self.events.iter()
    }
}
