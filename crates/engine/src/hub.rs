//! The core with what only a process has: a clock, the objects behind its numbers, and who waits.
//!
//! Everything here happens under one lock, which is held for table work only, never over a system
//! call that can block. What the core decides is collected in [`Hub::drain`] and done by others:
//! woken readers go to the workers, deliveries to the device loop.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use holdfast_core::{Config, Core, Event, LeaseId, ObjectId, ReaderId, SessionId};
use holdfast_fuse::RequestId;
use holdfast_proto::{ByteRange, Errno};

use crate::fs::waiting::Waiting;
use crate::objects::{CachedObject, Serial};

/// What a waiting request needs of an object.
#[derive(Debug, Clone)]
pub enum Need {
    /// Its size, hence an answered OPEN.
    Opened(Arc<CachedObject>),
    /// These bytes, within its size.
    Bytes(Arc<CachedObject>, ByteRange),
}

impl Need {
    /// The object that is needed.
    #[must_use]
    pub fn object(&self) -> &Arc<CachedObject> {
        match self {
            Self::Opened(object) | Self::Bytes(object, _) => object,
        }
    }
}

/// A waiting request whose time has come, and how it went.
pub type Woken = (Box<Waiting>, Result<(), Errno>);

/// What the core decided, sorted by who has to do it.
#[derive(Debug, Default)]
pub struct Decisions {
    /// For the workers.
    pub woken: Vec<Woken>,
    /// Whether the device loop has something to do.
    pub device: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Hub {
    /// The state machine.
    pub core: Core,
    started: Instant,
    ids: HashMap<Serial, ObjectId>,
    objects: HashMap<ObjectId, Arc<CachedObject>>,
    waiting: HashMap<ReaderId, Box<Waiting>>,
    by_request: HashMap<(u64, RequestId), ReaderId>,
    next_reader: u64,
    /// For the device loop: sessions that can take a request.
    pub ready_sessions: Vec<SessionId>,
    /// For the device loop: leases that ended.
    pub ended_leases: Vec<LeaseId>,
    /// When the device loop wakes up by itself, as far as it knows.
    alarm: Option<Duration>,
}

impl Hub {
    /// A hub without objects, readers or sessions.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            core: Core::new(config),
            started: Instant::now(),
            ids: HashMap::new(),
            objects: HashMap::new(),
            waiting: HashMap::new(),
            by_request: HashMap::new(),
            next_reader: 0,
            ready_sessions: Vec::new(),
            ended_leases: Vec::new(),
            alarm: None,
        }
    }

    /// The core's time.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// The object with this number.
    #[must_use]
    pub fn object(&self, id: ObjectId) -> Option<&Arc<CachedObject>> {
        self.objects.get(&id)
    }

    /// Puts `waiting` to sleep until `need` is met. Gives it back when nothing is missing.
    pub fn wait(&mut self, waiting: Box<Waiting>, need: &Need) -> Option<Box<Waiting>> {
        let object = self.enter(need.object());
        let now = self.now();
        let reader = ReaderId(self.next_reader);
        match need {
            Need::Opened(stored) if stored.stored.size().is_some() => return Some(waiting),
            Need::Opened(_) => {
                self.sleep(reader, waiting);
                self.core.open(now, object, reader);
            }
            Need::Bytes(stored, range) => {
                // Computed under the lock: what is marked from here on wakes this reader.
                let missing = stored.stored.missing(*range);
                if missing.is_empty() {
                    return Some(waiting);
                }
                self.sleep(reader, waiting);
                self.core.read(now, object, reader, &missing);
            }
        }
        None
    }

    /// Fetches what is missing of `range`, for nobody in particular.
    pub fn prefetch(&mut self, object: &Arc<CachedObject>, range: ByteRange) {
        let id = self.enter(object);
        let now = self.now();
        for missing in object.stored.missing(range) {
            self.core.prefetch(now, id, missing);
        }
    }

    /// Forgets the object: whoever still waits for it gets `errno`.
    pub fn leave(&mut self, object: &CachedObject, errno: Errno) {
        if let Some(id) = self.ids.remove(&object.serial) {
            let now = self.now();
            self.core.drop_object(now, id, errno);
        }
    }

    /// The reader behind a FUSE request that waits, if it does.
    #[must_use]
    pub fn reader_of(&self, mount: u64, request: RequestId) -> Option<(ReaderId, u32)> {
        let reader = self.by_request.get(&(mount, request))?;
        Some((*reader, self.waiting.get(reader)?.tid))
    }

    /// Takes a waiting request out, so that the caller can answer it; nothing will wake it.
    pub fn interrupt(&mut self, reader: ReaderId) -> Option<Box<Waiting>> {
        let now = self.now();
        let was_waiting = self.core.interrupt(now, reader);
        let waiting = self.awake(reader);
        assert_eq!(
            was_waiting,
            waiting.is_some(),
            "core and hub agree on who waits"
        );
        waiting
    }

    /// Takes all requests of a mount that is gone out; nobody wants an answer.
    pub fn abandon_mount(&mut self, mount: u64) {
        let readers: Vec<ReaderId> = self
            .by_request
            .iter()
            .filter_map(|((of, _), reader)| (*of == mount).then_some(*reader))
            .collect();
        for reader in readers {
            drop(self.interrupt(reader));
        }
    }

    /// Collects what the core decided.
    pub fn drain(&mut self) -> Decisions {
        let mut decisions = Decisions::default();
        while let Some(event) = self.core.poll_event() {
            match event {
                Event::ReaderReady { reader } => {
                    decisions
                        .woken
                        .extend(self.awake(reader).map(|waiting| (waiting, Ok(()))));
                }
                Event::ReaderFailed { reader, errno } => {
                    decisions
                        .woken
                        .extend(self.awake(reader).map(|waiting| (waiting, Err(errno))));
                }
                Event::SessionReady { session } => {
                    self.ready_sessions.push(session);
                    decisions.device = true;
                }
                Event::LeaseEnded { lease, .. } => {
                    self.ended_leases.push(lease);
                    decisions.device = true;
                }
                Event::ObjectGone { object } => {
                    self.objects.remove(&object);
                }
            }
        }
        let due = self.core.poll_timeout();
        if due.is_some_and(|due| self.alarm.is_none_or(|alarm| due < alarm)) {
            // The device loop sleeps longer than that, or for ever.
            self.alarm = due;
            decisions.device = true;
        }
        decisions
    }

    /// How long the device loop may sleep; `None`: until somebody wakes it. It is woken when the core
    /// wants to be called earlier than was said here.
    pub fn set_alarm(&mut self) -> Option<Duration> {
        self.alarm = self.core.poll_timeout();
        Some(self.alarm?.saturating_sub(self.now()))
    }

    /// The core's number for `object`, given now if it has none.
    fn enter(&mut self, object: &Arc<CachedObject>) -> ObjectId {
        if let Some(id) = self.ids.get(&object.serial) {
            return *id;
        }
        let id = self.core.insert_object(object.outage);
        self.ids.insert(object.serial, id);
        self.objects.insert(id, Arc::clone(object));
        id
    }

    fn sleep(&mut self, reader: ReaderId, waiting: Box<Waiting>) {
        self.next_reader += 1;
        self.by_request
            .insert((waiting.mount.id, waiting.unique.id()), reader);
        self.waiting.insert(reader, waiting);
    }

    fn awake(&mut self, reader: ReaderId) -> Option<Box<Waiting>> {
        let waiting = self.waiting.remove(&reader)?;
        let key = (waiting.mount.id, waiting.unique.id());
        // A resent request sleeps under the same key: take away only what is ours.
        if self.by_request.get(&key) == Some(&reader) {
            self.by_request.remove(&key);
        }
        Some(waiting)
    }
}
