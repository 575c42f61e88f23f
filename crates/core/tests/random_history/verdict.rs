//! What the core may say, given the facts, and how a history must end.

use holdfast_core::{Event, ObjectState, OutagePolicy, ReaderId};
use holdfast_proto::Errno;

use crate::model::{Asked, Model, Want};
use crate::step::Step;

impl Model {
    /// Without a session that serves, what is waited for is in an outage.
    pub(crate) fn note_unserved(&mut self) {
        if self.sessions.len() > self.silent.len() {
            return;
        }
        for waiting in self.waiting.values() {
            if let Some(facts) = self.objects.get_mut(&waiting.object) {
                facts.unserved_since.get_or_insert(self.now);
            }
        }
    }

    pub(crate) fn take_events(&mut self) {
        while let Some(event) = self.core.poll_event() {
            match event {
                Event::ReaderReady { reader } => self.check_ready(reader),
                Event::ReaderFailed { reader, errno } => self.check_failed(reader, errno),
                Event::SessionReady { .. } => {}
                Event::LeaseEnded { lease, object } => {
                    let (of, _, _) = self.leases.remove(&lease).expect("it lived until now");
                    assert_eq!(of, object);
                    self.handed_out.retain(|_, request| request.lease != lease);
                }
                Event::ObjectGone { object } => {
                    let facts = self.objects.remove(&object).expect("it lived until now");
                    assert!(facts.dropping);
                }
            }
        }
    }

    fn check_ready(&mut self, reader: ReaderId) {
        let waiting = self
            .waiting
            .remove(&reader)
            .expect("it waited, and got no event before");
        match waiting.want {
            Want::Open => assert!(self.core.object_size(waiting.object).is_some()),
            Want::Blocks(blocks) => assert!(blocks.is_empty(), "{blocks:?} never came"),
        }
    }

    fn check_failed(&mut self, reader: ReaderId, errno: Errno) {
        let waiting = self
            .waiting
            .remove(&reader)
            .expect("it waited, and got no event before");
        if self.excuses.contains(&(waiting.object, errno)) {
            return;
        }
        let facts = &self.objects[&waiting.object];
        let OutagePolicy::Eio { after } = facts.policy else {
            panic!("{reader} failed with {errno} though it was to wait");
        };
        let since = facts.unserved_since.expect("there was an outage");
        assert!(
            errno == Errno::EIO && since + after <= self.now,
            "{reader} failed too early"
        );
    }

    pub(crate) fn check(&self) {
        self.core.check_invariants();
        assert_eq!(self.core.waiting_readers(), self.waiting.len());
        for (reader, waiting) in &self.waiting {
            if let Want::Blocks(blocks) = &waiting.want {
                assert!(!blocks.is_empty(), "{reader} has all and was not told");
            }
        }
        for (id, request) in &self.handed_out {
            match request.asked {
                Asked::Open => assert!(self.core.open_request(request.session, *id).is_some()),
                Asked::Read(_) => assert!(self.core.read_request(request.lease, *id).is_some()),
            }
        }
        for (lease, (object, session, _)) in &self.leases {
            assert_eq!(self.core.lease(*lease), Some((*object, *session)));
        }
        for (session, credits) in &self.sessions {
            assert_eq!(self.core.credits(*session), Some(*credits));
        }
    }

    /// All daemons die and one good one comes: every reader that waits must be served by it.
    pub fn finish(mut self) {
        while !self.sessions.is_empty() {
            self.run(&Step::EndSession { session: 0 });
        }
        assert!(self.leases.is_empty(), "leases die with their sessions");
        assert!(self.handed_out.is_empty());
        self.run(&Step::StartSession);
        for _ in 0..2000 {
            self.run(&Step::Grant {
                session: 0,
                credits: 4,
            });
            self.run(&Step::Take {
                session: 0,
                count: 4,
            });
            while self.handed(0, true).is_some() {
                self.run(&Step::AnswerOpen { which: 0, errno: 0 });
            }
            while self.handed(0, false).is_some() {
                self.run(&Step::AnswerRead { which: 0, errno: 0 });
            }
            let due = self.core.poll_timeout();
            if self.waiting.is_empty() && self.core.requests_new() == 0 && due.is_none() {
                break;
            }
            self.now = self.now.max(due.unwrap_or_default());
            self.run(&Step::Wait { ms: 0 });
        }
        assert!(self.waiting.is_empty(), "somebody waits for ever");
        self.run(&Step::Take {
            session: 0,
            count: 1000,
        });
        assert_eq!(self.core.requests_new() + self.core.requests_in_flight(), 0);
        self.check_end();
    }

    fn check_end(&self) {
        assert_eq!(self.core.poll_timeout(), None, "nothing waits for time");
        for id in self.objects.keys() {
            let state = self.core.object_state(*id);
            assert!(
                matches!(state, Some(ObjectState::Close | ObjectState::Open)),
                "{state:?}"
            );
        }
    }
}
