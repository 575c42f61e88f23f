//! A core with a clock of its own, and short words for what tests do to it. Checks every invariant after every call.
#![allow(dead_code, reason = "each test file uses its part")]

use std::time::Duration;

use holdfast_core::{
    Config, Core, Delivery, DeliveryBody, Event, LeaseId, ObjectId, OutagePolicy, ReaderId,
    ReplyError, SessionId,
};
use holdfast_proto::{BLOCK_BYTES, ByteRange, Errno, MessageId};

pub const SIZE_BYTES: u64 = 1 << 30;

pub struct Rig {
    pub core: Core,
    pub now: Duration,
}

/// Blocks `first..first + count` as bytes.
pub fn blocks(first: u64, count: u64) -> ByteRange {
    ByteRange::new(first * BLOCK_BYTES, count * BLOCK_BYTES).expect("a small range")
}

pub fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub fn ready(reader: u64) -> Event {
    Event::ReaderReady {
        reader: ReaderId(reader),
    }
}

pub fn failed(reader: u64, errno: Errno) -> Event {
    Event::ReaderFailed {
        reader: ReaderId(reader),
        errno,
    }
}

pub fn lease_of(delivery: &Delivery) -> LeaseId {
    match delivery.body {
        DeliveryBody::Open { lease }
        | DeliveryBody::Read { lease, .. }
        | DeliveryBody::Close { lease } => lease,
    }
}

pub fn is_open(delivery: &Delivery) -> bool {
    matches!(delivery.body, DeliveryBody::Open { .. })
}

pub fn range_of(delivery: &Delivery) -> ByteRange {
    match delivery.body {
        DeliveryBody::Read { range, .. } => range,
        DeliveryBody::Open { .. } | DeliveryBody::Close { .. } => panic!("{delivery:?} is no READ"),
    }
}

impl Default for Rig {
    fn default() -> Self {
        Self::new(Config::default())
    }
}

impl Rig {
    pub fn new(config: Config) -> Self {
        Self {
            core: Core::new(config),
            now: ms(1000),
        }
    }

    pub fn object(&mut self) -> ObjectId {
        self.core.insert_object(OutagePolicy::Wait)
    }

    pub fn eio_object(&mut self, after_ms: u64) -> ObjectId {
        self.core.insert_object(OutagePolicy::Eio {
            after: ms(after_ms),
        })
    }

    pub fn session(&mut self, credits: u32) -> SessionId {
        let session = self.core.session_started(self.now);
        if credits > 0 {
            self.core.grant_credits(self.now, session, credits);
        }
        session
    }

    /// An object that `session` holds open, and its lease.
    pub fn open_object(&mut self, session: SessionId) -> (ObjectId, LeaseId) {
        let object = self.object();
        self.core.open(self.now, object, ReaderId(u64::MAX));
        let open = self.take(session);
        assert!(is_open(&open), "{open:?}");
        self.copen(session, open.msg_id, Ok(SIZE_BYTES))
            .expect("it was handed out");
        self.core.grant_credits(self.now, session, 1);
        self.other_events();
        (object, lease_of(&open))
    }

    pub fn open(&mut self, object: ObjectId, reader: u64) {
        self.core.open(self.now, object, ReaderId(reader));
        self.check();
    }

    pub fn read(&mut self, object: ObjectId, reader: u64, missing: ByteRange) {
        self.core
            .read(self.now, object, ReaderId(reader), &[missing]);
        self.check();
    }

    pub fn take(&mut self, session: SessionId) -> Delivery {
        self.try_take(session).expect("something is ready")
    }

    pub fn try_take(&mut self, session: SessionId) -> Option<Delivery> {
        let ready = self.core.is_ready(session);
        let delivery = self.core.next_delivery(self.now, session);
        assert_eq!(ready, delivery.is_some());
        self.check();
        delivery
    }

    pub fn take_all(&mut self, session: SessionId) -> Vec<Delivery> {
        core::iter::from_fn(|| self.try_take(session)).collect()
    }

    pub fn copen(
        &mut self,
        session: SessionId,
        id: MessageId,
        answer: Result<u64, Errno>,
    ) -> Result<ObjectId, ReplyError> {
        let result = self.core.copen(self.now, session, id, answer);
        self.check();
        result
    }

    pub fn cread(
        &mut self,
        lease: LeaseId,
        id: MessageId,
        answer: Result<(), Errno>,
    ) -> Result<ObjectId, ReplyError> {
        let result = self.core.cread(self.now, lease, id, answer);
        self.check();
        result
    }

    pub fn present(&mut self, lease: LeaseId, range: ByteRange) -> Result<ObjectId, ReplyError> {
        let result = self.core.present(self.now, lease, range);
        self.check();
        result
    }

    pub fn end(&mut self, session: SessionId) {
        self.core.session_ended(self.now, session);
        self.check();
    }

    pub fn restore(&mut self, session: SessionId, credits: u32) {
        self.core.restore(self.now, session);
        self.check();
        self.core.grant_credits(self.now, session, credits);
        self.check();
    }

    pub fn close_lease(&mut self, lease: LeaseId) {
        self.core.lease_closed(self.now, lease);
        self.check();
    }

    /// Lets time pass, stopping at each moment at which something is to be done.
    pub fn wait(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(at) = self.core.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.core.handle_timeout(self.now);
            self.check();
        }
        self.now = end;
    }

    /// Everything that happened, oldest first.
    pub fn events(&mut self) -> Vec<Event> {
        core::iter::from_fn(|| self.core.poll_event()).collect()
    }

    /// What happened to readers.
    pub fn reader_events(&mut self) -> Vec<Event> {
        let mut events = self.events();
        events.retain(|event| {
            matches!(
                event,
                Event::ReaderReady { .. } | Event::ReaderFailed { .. }
            )
        });
        events
    }

    fn other_events(&mut self) {
        self.events();
    }

    /// Serves everything like a good daemon until nothing is left to take; gives the number of deliveries.
    pub fn serve(&mut self, session: SessionId) -> usize {
        let mut count = 0;
        while let Some(delivery) = self.try_take(session) {
            count += 1;
            match delivery.body {
                DeliveryBody::Open { .. } => {
                    self.copen(session, delivery.msg_id, Ok(SIZE_BYTES))
                        .expect("handed out");
                }
                DeliveryBody::Read { lease, .. } => {
                    self.cread(lease, delivery.msg_id, Ok(()))
                        .expect("handed out");
                }
                DeliveryBody::Close { .. } => continue,
            }
            self.core.grant_credits(self.now, session, 1);
        }
        count
    }

    pub fn check(&self) {
        self.core.check_invariants();
    }
}
