//! Taking notifications in: only a live child is heard.

use std::os::fd::OwnedFd;
use std::time::Instant;

use super::Keeper;
use crate::notify::{Notification, Report, StoreRequest};
use crate::notify_socket::{Datagram, Received};
use crate::store::Outcome;

/// Notifications handled in one go; a child that floods the socket must not keep the loop from the others.
const NOTIFICATIONS_PER_TURN: usize = 10_000;

impl Keeper {
    /// Takes in what was sent so far.
    pub(super) fn take_notifications(&mut self, now: Instant) {
        for _ in 0..NOTIFICATIONS_PER_TURN {
            match self.notify.receive() {
                Ok(Received::Datagram(datagram)) => self.notified(datagram, now),
                Ok(Received::Refused(refusal)) => {
                    tracing::warn!(%refusal, "a notification was dropped")
                }
                Ok(Received::Empty) => return,
                Err(errno) => {
                    tracing::error!(%errno, "the notification socket cannot be read");
                    return;
                }
            }
        }
    }

    pub(super) fn notified(&mut self, datagram: Datagram, now: Instant) {
        let pid = datagram.sender.pid.as_raw_pid().unsigned_abs();
        let Some(running) = self
            .slot_of(pid)
            .and_then(|index| self.slots.get_mut(index)?.running_mut())
        else {
            tracing::warn!(
                pid,
                "a notification from a process that is no child was dropped"
            );
            return;
        };
        let Some(notification) = Notification::parse(&datagram.text) else {
            tracing::warn!(pid, "a notification that is no text was dropped");
            return;
        };
        running.heard();
        for report in notification.reports {
            match report {
                Report::Ready => running.ready(now),
                Report::Stopping => running.stopping(),
                Report::Alive => {}
                Report::Hung => running.kill_as_hung(now),
                Report::Status(text) => running.set_status_text(text),
            }
        }
        match notification.store {
            StoreRequest::None => {}
            StoreRequest::Keep(name) => self.keep(pid, &name, datagram.descriptors),
            StoreRequest::Remove(name) => {
                let count = self.store.remove(&name);
                tracing::info!(pid, name, count, "descriptors removed");
            }
            StoreRequest::Malformed => {
                tracing::warn!(pid, "a malformed descriptor store request was dropped")
            }
        }
    }

    pub(super) fn keep(&mut self, pid: u32, name: &str, descriptors: Vec<OwnedFd>) {
        for descriptor in descriptors {
            match self.store.keep(name, descriptor) {
                Outcome::Stored => tracing::info!(pid, name, "descriptor stored"),
                Outcome::Duplicate => tracing::debug!(pid, name, "descriptor is stored already"),
                Outcome::Full => tracing::error!(
                    pid,
                    name,
                    "the descriptor store is full: descriptor dropped"
                ),
            }
        }
    }
}
