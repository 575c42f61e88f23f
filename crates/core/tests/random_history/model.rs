//! The facts that a history makes, and what follows from them for what the core may say.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use holdfast_core::{
    Config, Core, Delivery, DeliveryBody, DeliveryRetry, LeaseId, ObjectId, OutagePolicy, ReaderId,
    SessionId,
};
use holdfast_proto::{BLOCK_BYTES, ByteRange, Errno, MessageId};

use crate::step::Step;

const SIZE_BYTES: u64 = 40 * BLOCK_BYTES;

/// What a reader waits for.
pub(crate) enum Want {
    Open,
    Blocks(BTreeSet<u64>),
}

pub(crate) struct Waiting {
    pub(crate) object: ObjectId,
    pub(crate) want: Want,
}

pub(crate) struct ObjectFacts {
    pub(crate) policy: OutagePolicy,
    pub(crate) dropping: bool,
    /// First evidence that it cannot be served, since bytes of it arrived last.
    pub(crate) unserved_since: Option<Duration>,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Asked {
    Open,
    Read(ByteRange),
}

#[derive(Clone, Copy)]
pub(crate) struct HandedOut {
    pub(crate) session: SessionId,
    pub(crate) lease: LeaseId,
    pub(crate) object: ObjectId,
    pub(crate) asked: Asked,
}

/// The core under test beside what is known to have happened.
pub struct Model {
    pub(crate) core: Core,
    pub(crate) now: Duration,
    pub(crate) objects: BTreeMap<ObjectId, ObjectFacts>,
    pub(crate) sessions: BTreeMap<SessionId, u32>,
    pub(crate) silent: BTreeSet<SessionId>,
    pub(crate) waiting: BTreeMap<ReaderId, Waiting>,
    pub(crate) handed_out: BTreeMap<MessageId, HandedOut>,
    /// Live leases; `true` once their OPEN was answered well.
    pub(crate) leases: BTreeMap<LeaseId, (ObjectId, SessionId, bool)>,
    pub(crate) next_reader: u64,
    /// Errors that readers of an object may get from what happened in this step.
    pub(crate) excuses: Vec<(ObjectId, Errno)>,
}

pub(crate) fn pick<K: Copy + Ord, V>(map: &BTreeMap<K, V>, index: usize) -> Option<K> {
    let count = map.len();
    (count > 0).then(|| *map.keys().nth(index % count).expect("below the count"))
}

fn blocks((first, count): (u64, u64)) -> ByteRange {
    ByteRange::new(first * BLOCK_BYTES, count * BLOCK_BYTES).expect("a small range")
}

fn block_numbers(range: ByteRange) -> impl Iterator<Item = u64> {
    range.offset / BLOCK_BYTES..range.end().div_ceil(BLOCK_BYTES)
}

impl Model {
    pub fn new() -> Self {
        let config = Config {
            open_objects_per_session_max: 2,
            read_len_max_bytes: 4 * BLOCK_BYTES,
            first_message_id: MessageId(u32::MAX - 20),
            object_reads_max: 2,
            ..Config::default()
        };
        let mut model = Self {
            core: Core::new(config),
            now: Duration::ZERO,
            objects: BTreeMap::new(),
            sessions: BTreeMap::new(),
            silent: BTreeSet::new(),
            waiting: BTreeMap::new(),
            handed_out: BTreeMap::new(),
            leases: BTreeMap::new(),
            next_reader: 0,
            excuses: Vec::new(),
        };
        model.run(&Step::InsertObject { eio_after_ms: None });
        model.run(&Step::InsertObject {
            eio_after_ms: Some(300),
        });
        model.run(&Step::StartSession);
        model
    }

    /// Runs one step and checks everything.
    pub fn run(&mut self, step: &Step) {
        self.excuses.clear();
        self.act(step);
        self.note_unserved();
        self.take_events();
        self.check();
    }

    fn act(&mut self, step: &Step) {
        match step {
            Step::InsertObject { eio_after_ms } => self.insert_object(*eio_after_ms),
            Step::DropObject { object, errno } => self.drop_object(*object, *errno),
            Step::Open { object } => self.open(*object),
            Step::Read { object, ranges } => self.read(*object, ranges),
            Step::Prefetch { object, range } => {
                if let Some(id) = pick(&self.objects, *object) {
                    self.core.prefetch(self.now, id, blocks(*range));
                }
            }
            Step::Interrupt { reader } => self.interrupt(*reader),
            Step::StartSession => {
                let id = self.core.session_started(self.now);
                self.sessions.insert(id, 0);
                self.silent.insert(id);
            }
            Step::Grant { session, credits } => self.grant(*session, *credits),
            Step::EndSession { session } => self.end_session(*session),
            Step::Restore { session } => self.restore(*session),
            Step::Take { session, count } => self.take(*session, *count),
            Step::FailDelivery { session, retry } => self.fail_delivery(*session, *retry),
            Step::Writable { session } => {
                if let Some(id) = pick(&self.sessions, *session) {
                    self.core.session_writable(self.now, id);
                }
            }
            Step::AnswerOpen { which, errno } => self.answer_open(*which, Errno::new(*errno)),
            Step::AnswerRead { which, errno } => self.answer_read(*which, Errno::new(*errno)),
            Step::Present { lease, range } => self.present(*lease, blocks(*range)),
            Step::CloseLease { lease } => self.close_lease(*lease),
            Step::Garbage {
                session,
                lease,
                msg_id,
            } => self.garbage(*session, *lease, *msg_id),
            Step::Wait { ms } => {
                self.now += Duration::from_millis(*ms);
                self.core.handle_timeout(self.now);
            }
        }
    }

    fn insert_object(&mut self, eio_after_ms: Option<u64>) {
        let policy = eio_after_ms.map_or(OutagePolicy::Wait, |ms| OutagePolicy::Eio {
            after: Duration::from_millis(ms),
        });
        let facts = ObjectFacts {
            policy,
            dropping: false,
            unserved_since: None,
        };
        self.objects.insert(self.core.insert_object(policy), facts);
    }

    fn drop_object(&mut self, index: usize, errno: i32) {
        let Some(id) = pick(&self.objects, index) else {
            return;
        };
        let errno = Errno::new(errno).expect("an errno");
        self.core.drop_object(self.now, id, errno);
        self.objects.get_mut(&id).expect("picked").dropping = true;
        self.excuses.push((id, errno));
        self.handed_out.retain(|_, request| request.object != id);
    }

    fn new_reader(&mut self, object: ObjectId, want: Want) -> ReaderId {
        let reader = ReaderId(self.next_reader);
        self.next_reader += 1;
        self.waiting.insert(reader, Waiting { object, want });
        if self.objects[&object].dropping {
            self.excuses.push((object, Errno::EIO));
        }
        reader
    }

    fn open(&mut self, index: usize) {
        let Some(id) = pick(&self.objects, index) else {
            return;
        };
        let reader = self.new_reader(id, Want::Open);
        self.core.open(self.now, id, reader);
    }

    fn read(&mut self, index: usize, ranges: &[(u64, u64)]) {
        let Some(id) = pick(&self.objects, index) else {
            return;
        };
        let wanted: BTreeSet<u64> = ranges
            .iter()
            .flat_map(|range| block_numbers(blocks(*range)))
            .collect();
        let mut missing: Vec<ByteRange> = Vec::new();
        for &block in &wanted {
            let range = blocks((block, 1));
            match missing.last_mut() {
                Some(last) if last.end() == range.offset => {
                    *last = last.merge(range).expect("adjacent")
                }
                _ => missing.push(range),
            }
        }
        let reader = self.new_reader(id, Want::Blocks(wanted));
        self.core.read(self.now, id, reader, &missing);
    }

    fn interrupt(&mut self, index: usize) {
        let Some(reader) = pick(&self.waiting, index) else {
            assert!(!self.core.interrupt(self.now, ReaderId(u64::MAX)));
            return;
        };
        assert!(self.core.interrupt(self.now, reader));
        assert!(!self.core.interrupt(self.now, reader));
        self.waiting.remove(&reader);
    }

    fn grant(&mut self, index: usize, credits: u32) {
        let Some(id) = pick(&self.sessions, index) else {
            return;
        };
        self.core.grant_credits(self.now, id, credits);
        *self.sessions.get_mut(&id).expect("picked") += credits;
        self.silent.remove(&id);
    }

    fn end_session(&mut self, index: usize) {
        let Some(id) = pick(&self.sessions, index) else {
            return;
        };
        self.core.session_ended(self.now, id);
        self.sessions.remove(&id);
        self.silent.remove(&id);
        self.handed_out.retain(|_, request| request.session != id);
        assert_eq!(self.core.next_delivery(self.now, id), None);
    }

    fn restore(&mut self, index: usize) {
        let Some(id) = pick(&self.sessions, index) else {
            return;
        };
        self.core.restore(self.now, id);
        self.sessions.insert(id, 0);
        self.handed_out.retain(|_, request| request.session != id);
    }

    fn take(&mut self, index: usize, count: usize) {
        let Some(id) = pick(&self.sessions, index) else {
            return;
        };
        for _ in 0..count {
            let ready = self.core.is_ready(id);
            let delivery = self.core.next_delivery(self.now, id);
            assert_eq!(ready, delivery.is_some(), "readiness tells the truth");
            let Some(delivery) = delivery else { return };
            self.note_delivery(id, delivery);
        }
    }

    fn note_delivery(&mut self, session: SessionId, delivery: Delivery) {
        let (lease, asked) = match delivery.body {
            DeliveryBody::Close { .. } => return,
            DeliveryBody::Open { lease } => {
                let twice = self
                    .leases
                    .values()
                    .any(|(object, _, _)| *object == delivery.object);
                assert!(!twice, "an object has one live lease");
                self.leases.insert(lease, (delivery.object, session, false));
                (lease, Asked::Open)
            }
            DeliveryBody::Read { lease, range } => {
                assert_eq!(self.leases[&lease], (delivery.object, session, true));
                (lease, Asked::Read(range))
            }
        };
        let credits = self.sessions.get_mut(&session).expect("it took something");
        *credits = credits.checked_sub(1).expect("a delivery needs a credit");
        let request = HandedOut {
            session,
            lease,
            object: delivery.object,
            asked,
        };
        let old = self.handed_out.insert(delivery.msg_id, request);
        assert!(old.is_none(), "{delivery:?} is in somebody's hands already");
    }

    fn fail_delivery(&mut self, index: usize, retry: DeliveryRetry) {
        let Some(id) = pick(&self.sessions, index) else {
            return;
        };
        let Some(delivery) = self.core.next_delivery(self.now, id) else {
            return;
        };
        self.note_delivery(id, delivery);
        self.core
            .delivery_failed(self.now, id, delivery.msg_id, retry);
        if self.handed_out.remove(&delivery.msg_id).is_some() {
            *self.sessions.get_mut(&id).expect("picked") += 1;
        }
        if retry == DeliveryRetry::WhenWritable {
            assert!(!self.core.is_ready(id), "a full socket is not ready");
        }
    }

    pub(crate) fn handed(&self, index: usize, open: bool) -> Option<(MessageId, HandedOut)> {
        let fitting = self
            .handed_out
            .iter()
            .filter(|(_, r)| (r.asked == Asked::Open) == open);
        let all: Vec<_> = fitting.map(|(id, request)| (*id, *request)).collect();
        (!all.is_empty()).then(|| all[index % all.len()])
    }

    fn answer_open(&mut self, index: usize, errno: Option<Errno>) {
        let Some((id, request)) = self.handed(index, true) else {
            return;
        };
        assert_eq!(
            self.core.open_request(request.session, id),
            Some((request.object, request.lease))
        );
        let answer = errno.map_or(Ok(SIZE_BYTES), Err);
        assert_eq!(
            self.core.copen(self.now, request.session, id, answer),
            Ok(request.object)
        );
        assert!(
            self.core
                .copen(self.now, request.session, id, answer)
                .is_err(),
            "twice"
        );
        self.handed_out.remove(&id);
        match errno {
            None => {
                self.leases.get_mut(&request.lease).expect("live").2 = true;
                self.satisfy_opens(request.object);
            }
            Some(errno) => self.excuse(request.object, errno),
        }
    }

    fn satisfy_opens(&mut self, object: ObjectId) {
        for waiting in self.waiting.values_mut().filter(|w| w.object == object) {
            if let Want::Open = waiting.want {
                waiting.want = Want::Blocks(BTreeSet::new());
            }
        }
    }

    fn excuse(&mut self, object: ObjectId, errno: Errno) {
        if errno.is_outage() {
            self.objects
                .get_mut(&object)
                .expect("live")
                .unserved_since
                .get_or_insert(self.now);
        } else {
            self.excuses.push((object, errno));
        }
    }

    fn answer_read(&mut self, index: usize, errno: Option<Errno>) {
        let Some((id, request)) = self.handed(index, false) else {
            return;
        };
        let Asked::Read(asked) = request.asked else {
            unreachable!()
        };
        let (object, range) = self
            .core
            .read_request(request.lease, id)
            .expect("handed out");
        assert_eq!(object, request.object);
        assert!(asked.contains(range), "a READ only shrinks");
        let answer = errno.map_or(Ok(()), Err);
        assert_eq!(
            self.core.cread(self.now, request.lease, id, answer),
            Ok(object)
        );
        assert!(
            self.core
                .cread(self.now, request.lease, id, answer)
                .is_err(),
            "twice"
        );
        self.handed_out.remove(&id);
        match errno {
            None => self.arrived(object, range),
            Some(errno) => self.excuse(object, errno),
        }
    }

    fn present(&mut self, index: usize, range: ByteRange) {
        let Some(lease) = pick(&self.leases, index) else {
            return;
        };
        let (object, _, open) = self.leases[&lease];
        let allowed = open && !self.objects[&object].dropping;
        let answer = self.core.present(self.now, lease, range);
        assert_eq!(answer.is_ok(), allowed);
        if allowed {
            self.arrived(object, range);
        }
    }

    fn arrived(&mut self, object: ObjectId, range: ByteRange) {
        self.objects.get_mut(&object).expect("live").unserved_since = None;
        for waiting in self.waiting.values_mut().filter(|w| w.object == object) {
            if let Want::Blocks(blocks) = &mut waiting.want {
                block_numbers(range).for_each(|block| {
                    blocks.remove(&block);
                });
            }
        }
    }

    fn close_lease(&mut self, index: usize) {
        let Some(lease) = pick(&self.leases, index) else {
            return;
        };
        let (object, _, _) = self.leases[&lease];
        self.core.lease_closed(self.now, lease);
        self.handed_out.retain(|_, request| request.lease != lease);
        if let Some(facts) = self.objects.get_mut(&object) {
            facts.unserved_since.get_or_insert(self.now);
        }
    }

    /// Answers to what was never asked, or of another session: refused, and nothing changes.
    fn garbage(&mut self, session: usize, lease: usize, msg_id: u32) {
        let id = MessageId(msg_id.wrapping_sub(20));
        let before = self.core.clone();
        if let Some(session) = pick(&self.sessions, session) {
            let theirs = self
                .handed_out
                .get(&id)
                .is_some_and(|r| r.session == session && r.asked == Asked::Open);
            if !theirs {
                assert!(self.core.copen(self.now, session, id, Ok(1)).is_err());
            }
        }
        if let Some(lease) = pick(&self.leases, lease) {
            let theirs = self
                .handed_out
                .get(&id)
                .is_some_and(|r| r.lease == lease && r.asked != Asked::Open);
            if !theirs {
                assert!(self.core.cread(self.now, lease, id, Ok(())).is_err());
            }
        }
        assert_eq!(before.requests_in_flight(), self.core.requests_in_flight());
        assert_eq!(before.requests_new(), self.core.requests_new());
        assert_eq!(before.waiting_readers(), self.core.waiting_readers());
    }
}
