//! Sessions: what each may take, in which order, and what it holds.

use alloc::collections::{BTreeMap, BTreeSet};

use holdfast_proto::MessageId;

use crate::lap::Lap;
use crate::moment::Moment;
use crate::{LeaseId, ObjectId, SessionId};

/// Whether anything can be handed to the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Flow {
    /// It can.
    Flowing,
    /// Its socket is full.
    Stalled,
    /// Not before `until`, a set timer.
    Paused { until: Moment },
    /// It is being taken apart.
    Ended,
}

/// Whether the shell knows that the session can take something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Signal {
    /// It was not told since it last found nothing.
    Quiet,
    /// It was told.
    Told,
}

/// Whether the session ever offered to work. One that never did cannot end an outage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Service {
    /// No credit yet.
    Silent,
    /// It granted credits.
    Serving,
}

/// One session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Session {
    pub(crate) credits: u32,
    pub(crate) flow: Flow,
    pub(crate) signal: Signal,
    pub(crate) service: Service,
    pub(crate) lap: Lap,
    /// New READs of the objects it holds open.
    pub(crate) reads: BTreeSet<MessageId>,
    /// New CLOSEs for it.
    pub(crate) closes: BTreeSet<MessageId>,
    /// OPENs and READs it was handed and has not answered.
    pub(crate) delivered: BTreeSet<MessageId>,
    /// A CLOSE just handed out, whose delivery can still fail.
    pub(crate) unconfirmed_close: Option<MessageId>,
    pub(crate) leases: BTreeSet<LeaseId>,
    /// OPENs in back-off because it closed their leases: a `restore` says that this was a death and no habit.
    pub(crate) forgivable: BTreeSet<MessageId>,
    /// Open objects without READs, least recently used first.
    pub(crate) idle: BTreeSet<(u64, ObjectId)>,
    next_turn: u64,
}

impl Session {
    fn new() -> Self {
        Self {
            credits: 0,
            flow: Flow::Flowing,
            signal: Signal::Quiet,
            service: Service::Silent,
            lap: Lap::default(),
            reads: BTreeSet::new(),
            closes: BTreeSet::new(),
            delivered: BTreeSet::new(),
            unconfirmed_close: None,
            leases: BTreeSet::new(),
            forgivable: BTreeSet::new(),
            idle: BTreeSet::new(),
            next_turn: 0,
        }
    }

    /// Whether there is anything that it may take.
    pub(crate) fn is_ready(&self, opens: &BTreeSet<MessageId>) -> bool {
        self.flow == Flow::Flowing
            && (!self.closes.is_empty()
                || self.credits > 0 && !(opens.is_empty() && self.reads.is_empty()))
    }

    /// Takes the number of the request whose turn it is. OPEN and READ need a credit; CLOSE needs none.
    ///
    /// `newest` is the number that the next new request will get.
    pub(crate) fn select(
        &mut self,
        opens: &BTreeSet<MessageId>,
        newest: MessageId,
    ) -> Option<MessageId> {
        if !self.is_ready(opens) {
            return None;
        }
        let in_lap = self.first_from(self.lap.cursor, opens)?;
        if let Some(lap) = self.lap.after(in_lap) {
            self.lap = lap;
            return Some(in_lap);
        }
        let lap = Lap::from(newest);
        let oldest = self.first_from(lap.cursor, opens)?;
        self.lap = lap.after(oldest).expect("a whole lap has every number");
        Some(oldest)
    }

    /// The first number at or after `cursor` that it may take, else the smallest.
    fn first_from(&self, cursor: MessageId, opens: &BTreeSet<MessageId>) -> Option<MessageId> {
        let none = BTreeSet::new();
        let (opens, reads) = match self.credits {
            0 => (&none, &none),
            _ => (opens, &self.reads),
        };
        let queues = [opens, reads, &self.closes];
        let at_or_after = queues.iter().filter_map(|q| q.range(cursor..).next());
        let from_start = queues.iter().filter_map(|queue| queue.first());
        at_or_after.min().or_else(|| from_start.min()).copied()
    }

    pub(crate) fn enter_idle(&mut self, object: ObjectId) -> u64 {
        let turn = self.next_turn;
        self.next_turn += 1;
        self.idle.insert((turn, object));
        turn
    }
}

/// All sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Sessions {
    by_id: BTreeMap<SessionId, Session>,
    next: u64,
    serving: usize,
}

impl Sessions {
    pub(crate) fn insert(&mut self) -> SessionId {
        let id = SessionId(self.next);
        self.next += 1;
        self.by_id.insert(id, Session::new());
        id
    }

    pub(crate) fn remove(&mut self, id: SessionId) -> Session {
        let session = self.by_id.remove(&id).expect("only a live session ends");
        self.serving -= usize::from(session.service == Service::Serving);
        session
    }

    pub(crate) fn get(&self, id: SessionId) -> Option<&Session> {
        self.by_id.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        self.by_id.get_mut(&id)
    }

    /// The session `id`, which the caller knows to live because another table names it.
    pub(crate) fn live(&self, id: SessionId) -> &Session {
        self.by_id.get(&id).expect("a named session lives")
    }

    pub(crate) fn live_mut(&mut self, id: SessionId) -> &mut Session {
        self.by_id.get_mut(&id).expect("a named session lives")
    }

    /// Notes that the session offers to work.
    pub(crate) fn note_serving(&mut self, id: SessionId) {
        let session = self.by_id.get_mut(&id).expect("a named session lives");
        if session.service == Service::Silent {
            session.service = Service::Serving;
            self.serving += 1;
        }
    }

    /// The OPEN is not in back-off any more.
    pub(crate) fn forget_forgivable(&mut self, id: MessageId) {
        for session in self.by_id.values_mut() {
            session.forgivable.remove(&id);
        }
    }

    /// Sessions that ever offered to work.
    pub(crate) fn serving(&self) -> usize {
        self.serving
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (SessionId, &Session)> {
        self.by_id.iter().map(|(id, session)| (*id, session))
    }
}
