//! Answering status clients.

use std::time::Instant;

use super::Keeper;
use crate::event_loop::Token;
use crate::spawn::Child;
use crate::status::KeeperStatus;

impl Keeper {
    pub(super) fn answer_status(&mut self, now: Instant) {
        while let Some(stream) = self.status.accept() {
            let mut answer = serde_json::to_vec(&self.snapshot(now))
                .expect("the type has only string and integer keys");
            answer.push(b'\n');
            if let Some(slow) = self.status.answer(stream, answer) {
                let token = Token::StatusClient(slow.number);
                if let Err(errno) = self.events.watch_writable(slow.descriptor, token) {
                    tracing::warn!(%errno, "a slow status client cannot be waited for");
                }
            }
        }
    }

    pub(super) fn snapshot(&self, now: Instant) -> KeeperStatus {
        KeeperStatus {
            pid: std::process::id(),
            processes: self
                .slots
                .iter()
                .map(|slot| slot.status(self.role(slot), now))
                .collect(),
            stored_descriptors: self.store.names().map(str::to_owned).collect(),
            lingering: self.lingering.iter().map(Child::pid).collect(),
        }
    }
}
