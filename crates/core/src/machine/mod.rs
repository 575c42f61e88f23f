//! The machine itself: the tables, and one file for each kind of thing that can happen.

mod delivery;
mod gauge;
mod invariant;
mod object;
mod outage;
mod queue;
mod reader;
mod reply;
mod session;

use alloc::collections::{BTreeSet, VecDeque};
use core::time::Duration;

use holdfast_proto::{BLOCK_BYTES, MessageId};

use crate::counters::Tally;
use crate::lease::Leases;
use crate::moment::Moment;
use crate::object::Objects;
use crate::read_table::ReadTable;
use crate::request::Requests;
use crate::session::Sessions;
use crate::share::Shares;
use crate::timer::{Timer, Timers};
use crate::waiter::Waiters;
use crate::{Config, Event};

/// The whole state of one cache's on-demand mode; see the crate's documentation.
///
/// `now` of every call is the time since an arbitrary start. An earlier `now` than one seen before counts as that one.
/// After each call the shell takes all events ([`Core::poll_event`]) and asks when to come back
/// ([`Core::poll_timeout`]).
///
/// Two cores that compare equal behave equally ever after (their [`crate::Counters`] may differ).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Core {
    config: Config,
    now: Moment,
    objects: Objects,
    requests: Requests,
    reads: ReadTable,
    waiters: Waiters,
    leases: Leases,
    shares: Shares,
    sessions: Sessions,
    /// New OPENs, for any session.
    opens: BTreeSet<MessageId>,
    timers: Timers,
    events: VecDeque<Event>,
    counters: Tally,
}

impl Core {
    /// A core without objects, sessions or readers.
    ///
    /// # Panics
    /// When a limit of `config` that must be at least 1 is 0, or `read_len_max_bytes` is no multiple of 4096.
    #[must_use]
    pub fn new(config: Config) -> Self {
        assert!(config.open_attempts_max > 0, "OPEN needs an attempt");
        assert!(config.read_attempts_max > 0, "READ needs an attempt");
        assert!(config.object_reads_max > 0, "an object needs a READ");
        assert!(
            config.read_len_max_bytes > 0 && config.read_len_max_bytes.is_multiple_of(BLOCK_BYTES),
            "a READ is made of whole blocks"
        );
        Self {
            requests: Requests::new(config.first_message_id),
            config,
            now: Moment::default(),
            objects: Objects::default(),
            reads: ReadTable::default(),
            waiters: Waiters::default(),
            leases: Leases::default(),
            shares: Shares::default(),
            sessions: Sessions::default(),
            opens: BTreeSet::new(),
            timers: Timers::default(),
            events: VecDeque::new(),
            counters: Tally::default(),
        }
    }

    /// The oldest event that was not taken yet.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call [`Core::handle_timeout`], since the shell's start; `None`: nothing waits for time.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.timers.first().map(Duration::from)
    }

    /// Does what was to be done by `now`. May be called at any time.
    pub fn handle_timeout(&mut self, now: Duration) {
        self.advance(now);
        while let Some(timer) = self.timers.pop_due(self.now) {
            match timer {
                Timer::Retry(request) => self.retry(request),
                Timer::OutageDeadline(object) => self.expire_outage(object),
                Timer::Resume(session) => self.resume(session),
            }
        }
    }

    fn advance(&mut self, now: Duration) {
        self.now = self.now.max(Moment::from(now));
    }
}
