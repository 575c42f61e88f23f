//! The way down: first the engine, so that it can unmount, then the daemons; SIGTERM, then SIGKILL.

use std::time::Instant;

use rustix::process::Signal;

use super::{ExitReason, Keeper};
use crate::config::Role;
use crate::slot::{LINGER_AFTER_KILL, Running, Slot};

/// How urgently processes were asked to end.
#[derive(Debug, Clone, Copy)]
pub(super) enum Urgency {
    /// SIGTERM was sent; SIGKILL follows at this time.
    Asked { kill_at: Instant },
    /// SIGKILL was sent; at this time they are left to the kernel.
    Killed { give_up_at: Instant },
}

/// Where the instance is in its life.
#[derive(Debug, Clone, Copy)]
pub(super) enum Phase {
    /// Whoever dies is replaced.
    Serving,
    /// The engine was told to end; nobody is replaced.
    StoppingEngine(Urgency),
    /// The engine is gone for good, the daemons were told to end.
    StoppingDaemons(ExitReason, Urgency),
    /// All is done.
    Over(ExitReason),
}

impl Keeper {
    /// SIGTERM or SIGINT: first the engine, so that it can unmount, then the daemons.
    pub(super) fn terminate(&mut self, now: Instant) {
        match self.phase {
            Phase::Serving => {
                self.phase = Phase::StoppingEngine(Urgency::Asked {
                    kill_at: now + self.stop_grace,
                });
                self.signal_role(Role::Engine, Signal::TERM);
            }
            Phase::StoppingEngine(_) | Phase::StoppingDaemons(..) | Phase::Over(_) => {}
        }
    }

    /// The engine is gone for good.
    pub(super) fn stop_daemons(&mut self, reason: ExitReason, now: Instant) {
        self.phase = Phase::StoppingDaemons(
            reason,
            Urgency::Asked {
                kill_at: now + self.stop_grace,
            },
        );
        for slot in self
            .slots
            .iter_mut()
            .filter(|slot| slot.running().is_none())
        {
            slot.end();
        }
        self.signal_role(Role::Daemon, Signal::TERM);
    }

    fn running(&self, role: Role) -> impl Iterator<Item = &Running> {
        self.slots
            .iter()
            .filter(move |slot| self.role(slot).role == role)
            .filter_map(Slot::running)
    }

    fn signal_role(&self, role: Role, signal: Signal) {
        self.running(role)
            .for_each(|running| running.child.signal(signal));
    }

    /// What deaths and time bring on the way down.
    pub(super) fn advance_wind_down(&mut self, now: Instant) {
        match self.phase {
            Phase::Serving | Phase::Over(_) => {}
            Phase::StoppingEngine(urgency) => self.advance_engine_stop(urgency, now),
            Phase::StoppingDaemons(reason, urgency) => {
                self.advance_daemon_stop(reason, urgency, now)
            }
        }
    }

    fn advance_engine_stop(&mut self, urgency: Urgency, now: Instant) {
        if self.running(Role::Engine).next().is_none() {
            return self.stop_daemons(ExitReason::Terminated, now);
        }
        match urgency.step(now) {
            Step::Wait => {}
            Step::Kill(next) => {
                self.signal_role(Role::Engine, Signal::KILL);
                self.phase = Phase::StoppingEngine(next);
            }
            Step::GiveUp => self.stop_daemons(ExitReason::Terminated, now),
        }
    }

    fn advance_daemon_stop(&mut self, reason: ExitReason, urgency: Urgency, now: Instant) {
        if self.slots.iter().all(|slot| slot.running().is_none()) {
            self.phase = Phase::Over(reason);
            return;
        }
        match urgency.step(now) {
            Step::Wait => {}
            Step::Kill(next) => {
                self.signal_role(Role::Daemon, Signal::KILL);
                self.phase = Phase::StoppingDaemons(reason, next);
            }
            Step::GiveUp => {
                tracing::error!("killed processes are stuck in the kernel and are left behind");
                self.phase = Phase::Over(reason);
            }
        }
    }
}

/// What a deadline of the wind-down asks for.
enum Step {
    Wait,
    Kill(Urgency),
    GiveUp,
}

impl Urgency {
    pub(super) fn due(self) -> Instant {
        match self {
            Urgency::Asked { kill_at } => kill_at,
            Urgency::Killed { give_up_at } => give_up_at,
        }
    }

    fn step(self, now: Instant) -> Step {
        match self {
            Urgency::Asked { kill_at } if kill_at <= now => Step::Kill(Urgency::Killed {
                give_up_at: now + LINGER_AFTER_KILL,
            }),
            Urgency::Killed { give_up_at } if give_up_at <= now => Step::GiveUp,
            Urgency::Asked { .. } | Urgency::Killed { .. } => Step::Wait,
        }
    }
}
