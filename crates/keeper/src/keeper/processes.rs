//! Starting processes, and what their deaths and silences bring.

use std::io;
use std::time::Instant;

use rustix::process::Signal;

use super::wind_down::Phase;
use super::{ExitReason, Keeper};
use crate::config::Role;
use crate::event_loop::Token;
use crate::slot::{Running, Stage};
use crate::spawn::{Child, PreparedRole};
use crate::status::Cause;

impl Keeper {
    pub(super) fn start_due(&mut self, now: Instant) {
        for index in 0..self.slots.len() {
            let Some(slot) = self.slots.get(index).filter(|slot| slot.is_due(now)) else {
                continue;
            };
            let started = self.start(self.role(slot));
            let Some(slot) = self.slots.get_mut(index) else {
                continue;
            };
            match started {
                Ok(child) => slot.started(child, Instant::now()),
                Err(error) => {
                    tracing::error!(%error, "a process cannot be started; it will be tried again");
                    slot.start_failed(now);
                }
            }
        }
    }

    pub(super) fn start(&self, role: &PreparedRole) -> io::Result<Child> {
        let child = role.start(&self.store.select(&role.inherits))?;
        if let Err(errno) = self.events.watch(child.pidfd(), Token::Child(child.pid())) {
            // A process whose death would not be seen must not run.
            child.signal(Signal::KILL);
            child.wait();
            return Err(errno.into());
        }
        tracing::info!(role = ?role.role, pid = child.pid(), "started");
        Ok(child)
    }

    pub(super) fn reap(&mut self, pid: u32, now: Instant) {
        // What it sent while it lived is in the queue by now, and its pid cannot be another's before it is reaped.
        self.take_notifications(now);
        if let Some(index) = self.lingering.iter().position(|child| child.pid() == pid) {
            if self
                .lingering
                .get(index)
                .is_some_and(|child| child.reap().is_some())
            {
                let child = self.lingering.remove(index);
                self.events.forget(child.pidfd());
            }
            return;
        }
        let Some(index) = self.slot_of(pid) else {
            return;
        };
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        let Some(cause) = slot.running().and_then(|running| running.child.reap()) else {
            return;
        };
        let Some(dead) = slot.died(cause, now) else {
            return;
        };
        self.events.forget(dead.child.pidfd());
        self.buried(index, &dead, cause, now);
    }

    /// What a death means for the instance.
    pub(super) fn buried(&mut self, index: usize, dead: &Running, cause: Cause, now: Instant) {
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        let role = self.roles.get(slot.role).map(|role| role.role);
        tracing::warn!(?role, pid = dead.child.pid(), ?cause, stage = ?dead.stage, "ended");
        match self.phase {
            Phase::Serving if role == Some(Role::Engine) && said_farewell(dead.stage, cause) => {
                self.stop_daemons(ExitReason::WoundDown, now);
            }
            Phase::Serving | Phase::StoppingEngine(_) => {}
            Phase::StoppingDaemons(..) | Phase::Over(_) => {
                slot.end();
            }
        }
    }

    pub(super) fn slot_of(&self, pid: u32) -> Option<usize> {
        self.slots.iter().position(|slot| {
            slot.running()
                .is_some_and(|running| running.child.pid() == pid)
        })
    }

    /// Killed processes that do not die in time make room for their successors (H05).
    pub(super) fn give_up_undead(&mut self, now: Instant) {
        for slot in &mut self.slots {
            let overdue = slot
                .running()
                .and_then(Running::linger_until)
                .is_some_and(|until| until <= now);
            if let Some(undead) = overdue.then(|| slot.died(Cause::Watchdog, now)).flatten() {
                tracing::error!(
                    pid = undead.child.pid(),
                    "killed, but stuck in the kernel; its successor starts now"
                );
                self.lingering.push(undead.child);
            }
        }
    }

    pub(super) fn watch_silence(&mut self, now: Instant) {
        let Some(punctual) = self.tick.pass(now) else {
            return;
        };
        // Signs of life that came in time but were not read yet count.
        self.take_notifications(now);
        for slot in &mut self.slots {
            let Some(role) = self.roles.get(slot.role) else {
                continue;
            };
            let Some(running) = slot.running_mut() else {
                continue;
            };
            if running.add_silence(role, punctual) {
                tracing::error!(pid = running.child.pid(), stage = ?running.stage, "silent for too long: killed");
                running.kill_as_hung(now);
            }
        }
    }
}

/// The engine's regular end: it said `STOPPING=1` and exited with 0.
fn said_farewell(stage: Stage, cause: Cause) -> bool {
    matches!((stage, cause), (Stage::Stopping { .. }, Cause::Exit(0)))
}
