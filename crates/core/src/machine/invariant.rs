//! The invariants, in words and as assertions over all tables.

use holdfast_proto::MessageId;

use super::Core;
use crate::object::{Object, Outage, State, Usage};
use crate::request::{Body, Phase, Request};
use crate::session::{Flow, Service, Session, Signal};
use crate::timer::Timer;
use crate::{LeaseId, ObjectId, OutagePolicy, SessionId};

impl Core {
    /// Asserts every invariant between the tables. Scans everything: for tests and model checkers.
    ///
    /// # Panics
    /// When an invariant does not hold, which is an error in this crate.
    pub fn check_invariants(&self) {
        self.waiters.check();
        for (id, object) in self.objects.iter() {
            self.check_object(id, object);
        }
        for (id, request) in self.requests.iter() {
            self.check_request(id, request);
        }
        for (id, lease) in self.leases.iter() {
            assert!(self.sessions.live(lease.session).leases.contains(&id));
            self.check_lease(id, lease.object);
        }
        for (id, session) in self.sessions.iter() {
            self.check_session(id, session);
        }
        self.check_shares();
        self.check_read_table();
        self.check_waiters();
        self.check_timers();
        for id in &self.opens {
            assert_eq!(self.requests.live(*id).phase(), Phase::New);
            assert_eq!(self.requests.live(*id).body, Body::Open);
        }
        let serving = self
            .sessions
            .iter()
            .filter(|(_, s)| s.service == Service::Serving);
        assert_eq!(serving.count(), self.sessions.serving());
    }

    /// An object with a READ that wants bytes is OPEN or has an OPEN under way; an OPEN under way is wanted or handed out.
    fn check_object(&self, id: ObjectId, object: &Object) {
        let wants = self.reads.wants(id);
        match object.state() {
            State::Close => {
                assert!(!self.reads.has(id), "READs of {id} wait for nobody");
                assert!(self.waiters.first_of(id).is_none());
            }
            State::Opening { open } | State::Reopening { open } => {
                let request = self.requests.live(open);
                assert_eq!((request.object, request.body), (id, Body::Open));
                let wanted = wants || self.waiters.first_opener(id).is_some();
                assert!(wanted || request.delivered_with().is_some());
                assert_eq!(self.reads.covered_of(id).next(), None);
            }
            State::Open { lease, usage } => {
                assert_eq!(self.leases.live(lease).object, id);
                assert!(object.size_bytes.is_some());
                assert!(self.waiters.first_opener(id).is_none());
                self.check_usage(id, lease, usage);
            }
            State::Dropping { lease, close } => {
                let session = self.leases.live(lease).session;
                assert_eq!(
                    self.requests.live(close).body,
                    Body::Close { lease, session }
                );
                assert!(!self.reads.has(id) && self.waiters.first_of(id).is_none());
            }
        }
        if let State::Opening { .. } = object.state() {
            assert!(!wants, "a CLOSE object with READs is REOPENING");
        }
        self.check_outage(id, object);
    }

    /// An OPEN object without READs is idle or about to be closed, and only such a one.
    fn check_usage(&self, id: ObjectId, lease: LeaseId, usage: Usage) {
        let session = self.leases.live(lease).session;
        match usage {
            Usage::Busy => assert!(self.reads.has(id)),
            Usage::Idle { turn } => {
                assert!(!self.reads.has(id));
                assert!(self.sessions.live(session).idle.contains(&(turn, id)));
            }
            Usage::Closing { close } => {
                assert!(!self.reads.has(id));
                assert_eq!(
                    self.requests.live(close).body,
                    Body::Close { lease, session }
                );
                assert_eq!(self.requests.live(close).phase(), Phase::New);
            }
        }
    }

    /// A running outage has its timer, and only objects with a deadline have outages.
    fn check_outage(&self, id: ObjectId, object: &Object) {
        match object.outage {
            Outage::None => {}
            Outage::Expired { .. } => assert!(object.policy != OutagePolicy::Wait),
            Outage::Running { deadline, .. } => {
                assert!(object.policy != OutagePolicy::Wait);
                assert!(self.timers.is_set(deadline, Timer::OutageDeadline(id)));
            }
        }
        if object.policy != OutagePolicy::Wait
            && self.sessions.serving() == 0
            && self.waiters.first_of(id).is_some()
        {
            assert!(matches!(object.outage, Outage::Running { .. }));
        }
    }

    /// A request stands in exactly the queue that its phase, its kind and its object's state say.
    fn check_request(&self, id: MessageId, request: &Request) {
        match request.phase() {
            Phase::New => {}
            Phase::Backoff { until } => assert!(self.timers.is_set(until, Timer::Retry(id))),
            Phase::Delivered { lease } | Phase::Covered { lease } => {
                if !matches!(request.body, Body::Close { .. }) {
                    let session = self.leases.live(lease).session;
                    assert!(self.sessions.live(session).delivered.contains(&id));
                }
            }
        }
        self.check_queues(id, request);
    }

    /// H08: an object has no more READs on their way than its share, and parks none while there is room.
    fn check_shares(&self) {
        let max = self.config.object_reads_max;
        for (lease, active, parked) in self.shares.iter() {
            let held = self.leases.live(lease);
            let ready = self.sessions.live(held.session).reads.iter();
            let ready = ready.filter(|id| self.requests.live(**id).object == held.object);
            let handed_out = self.requests.iter().filter(|(_, request)| {
                matches!(request.body, Body::Read { .. }) && request.delivered_with() == Some(lease)
            });
            assert_eq!(active, ready.count() + handed_out.count());
            assert!(active <= max && (parked == 0 || active == max));
        }
    }

    fn check_queues(&self, id: MessageId, request: &Request) {
        let new = request.phase() == Phase::New;
        match request.body {
            Body::Open => {
                assert_eq!(self.opens.contains(&id), new);
                let state = self.objects.live(request.object).state();
                assert_eq!(state.open_request(), Some(id));
            }
            Body::Read { range, .. } => {
                let lease = self.objects.live(request.object).state().open_lease();
                let holder = lease.map(|lease| self.leases.live(lease).session);
                for (session, record) in self.sessions.iter() {
                    let parked = lease.is_some_and(|lease| self.shares.is_parked(lease, id));
                    assert!(new || !parked);
                    let ready = new && holder == Some(session) && !parked;
                    assert_eq!(record.reads.contains(&id), ready);
                }
                assert!(
                    request
                        .delivered_with()
                        .is_none_or(|with| lease == Some(with))
                );
                if !matches!(request.phase(), Phase::Covered { .. }) {
                    let entry = self.reads.at(request.object, range.offset);
                    assert_eq!(entry, Some((range, id)));
                }
            }
            Body::Close { session, .. } => {
                let session = self.sessions.live(session);
                assert_eq!(session.closes.contains(&id), new);
                assert_eq!(session.unconfirmed_close == Some(id), !new);
            }
        }
    }

    /// Every live lease is that of an OPEN handed out, of an OPEN object, or of one being dropped.
    fn check_lease(&self, id: LeaseId, object: ObjectId) {
        match self.objects.live(object).state() {
            State::Close => panic!("object {object} is CLOSE and has lease {id}"),
            State::Opening { open } | State::Reopening { open } => {
                assert_eq!(self.requests.live(open).delivered_with(), Some(id));
            }
            State::Open { lease, .. } | State::Dropping { lease, .. } => assert_eq!(lease, id),
        }
    }

    /// A session names only what lives, and what can take something was told so.
    fn check_session(&self, id: SessionId, session: &Session) {
        for lease in &session.leases {
            assert_eq!(self.leases.live(*lease).session, id);
        }
        for &(turn, object) in &session.idle {
            let state = self.objects.live(object).state();
            let State::Open { lease, usage } = state else {
                panic!("object {object} is idle in session {id} and not OPEN");
            };
            assert_eq!(self.leases.live(lease).session, id);
            assert_eq!(usage, Usage::Idle { turn });
        }
        for request in &session.delivered {
            let lease = self.requests.live(*request).delivered_with();
            assert!(lease.is_some_and(|lease| session.leases.contains(&lease)));
        }
        for open in &session.forgivable {
            let request = self.requests.live(*open);
            assert_eq!(request.body, Body::Open);
            assert!(matches!(request.phase(), Phase::Backoff { .. }));
        }
        for request in session.reads.iter().chain(&session.closes) {
            assert_eq!(self.requests.live(*request).phase(), Phase::New);
        }
        let kept = session.leases.len().saturating_sub(session.closes.len());
        let limit = self.config.open_objects_per_session_max;
        assert!(kept <= limit || session.idle.is_empty());
        match session.flow {
            Flow::Paused { until } => assert!(self.timers.is_set(until, Timer::Resume(id))),
            Flow::Flowing | Flow::Stalled => {}
            Flow::Ended => panic!("session {id} ended and is still there"),
        }
        let told = session.signal == Signal::Told;
        assert!(told || !self.is_ready(id), "session {id} was not told");
    }

    /// READs of an object are disjoint, and each is wanted, a prefetch, or in a daemon's hands.
    fn check_read_table(&self) {
        let mut last = None;
        for (object, range, id) in self.reads.iter() {
            if let Some((before, end)) = last {
                assert!(
                    before != object || end <= range.offset,
                    "READ {id} overlaps"
                );
            }
            last = Some((object, range.end()));
            let request = self.requests.live(id);
            let Body::Read { range: own, origin } = request.body else {
                panic!("request {id} is no READ");
            };
            assert_eq!((request.object, own), (object, range));
            let wanted = self.waiters.want(object, range)
                || origin == crate::request::Origin::Prefetch
                || request.delivered_with().is_some();
            assert!(wanted, "READ {id} is wanted by nobody");
        }
        for (object, id) in self.reads.covered() {
            let request = self.requests.live(id);
            assert_eq!(request.object, object);
            assert!(matches!(request.phase(), Phase::Covered { .. }));
        }
    }

    /// Every piece that a reader waits for lies in one READ.
    fn check_waiters(&self) {
        for (object, reader, piece) in self.waiters.all_pieces() {
            let read = self.reads.at(object, piece.offset);
            let inside = read.is_some_and(|(range, _)| range.contains(piece));
            assert!(inside, "nobody asks for {piece:?} of reader {reader}");
        }
        for (_, object) in self.waiters.readers() {
            assert!(self.objects.get(object).is_some());
        }
    }

    /// There is a timer for each that must have one (asserted above), and no other.
    fn check_timers(&self) {
        let requests = self.requests.iter();
        let retries = requests.filter(|(_, r)| matches!(r.phase(), Phase::Backoff { .. }));
        let objects = self.objects.iter();
        let outages = objects.filter(|(_, o)| matches!(o.outage, Outage::Running { .. }));
        let sessions = self.sessions.iter();
        let pauses = sessions.filter(|(_, s)| matches!(s.flow, Flow::Paused { .. }));
        let owners = retries.count() + outages.count() + pauses.count();
        assert_eq!(owners, self.timers.len());
    }
}
