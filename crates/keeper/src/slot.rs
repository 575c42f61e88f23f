//! One place for a process: who fills it now, how far that process is, and what became of its predecessors.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::restart::{Health, RestartPolicy};
use crate::spawn::{Child, PreparedRole};
use crate::status::{Cause, ProcessState, ProcessStatus, RestartCounts};

/// How long after SIGKILL a process may be undead (stuck in the kernel, hazard H05) before its successor starts anyway:
/// with the signal queued it runs no instruction of its own any more.
pub(crate) const LINGER_AFTER_KILL: Duration = Duration::from_secs(1);

/// How far a running process is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Stage {
    /// Started; has not said `READY=1`.
    Starting,
    /// Said `READY=1`.
    Ready { since: Instant },
    /// Said `STOPPING=1`. `ready_since` as before that.
    Stopping { ready_since: Option<Instant> },
    /// The keeper queued SIGKILL because it was silent too long.
    WatchdogKilled {
        since: Instant,
        ready_since: Option<Instant>,
    },
}

impl Stage {
    fn ready_since(self) -> Option<Instant> {
        match self {
            Stage::Starting => None,
            Stage::Ready { since } => Some(since),
            Stage::Stopping { ready_since } | Stage::WatchdogKilled { ready_since, .. } => {
                ready_since
            }
        }
    }
}

/// A process in a slot.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) stage: Stage,
    started: Instant,
    /// Punctual time since its last notification.
    silence: Duration,
    status_text: String,
}

/// Who fills the slot.
#[derive(Debug)]
pub(crate) enum Occupant {
    /// Nobody; a process is to be started at this time.
    Due { at: Instant },
    /// A process that is not known to be dead.
    Running(Running),
    /// Nobody, for good: the instance winds down.
    Ended,
}

/// A slot.
#[derive(Debug)]
pub(crate) struct Slot {
    /// Index of the role in the keeper's list.
    pub(crate) role: usize,
    pub(crate) occupant: Occupant,
    policy: RestartPolicy,
    counts: RestartCounts,
}

impl Slot {
    pub(crate) fn new(role: usize, now: Instant) -> Slot {
        Slot {
            role,
            occupant: Occupant::Due { at: now },
            policy: RestartPolicy::default(),
            counts: RestartCounts::default(),
        }
    }

    pub(crate) fn running(&self) -> Option<&Running> {
        match &self.occupant {
            Occupant::Running(running) => Some(running),
            Occupant::Due { .. } | Occupant::Ended => None,
        }
    }

    pub(crate) fn running_mut(&mut self) -> Option<&mut Running> {
        match &mut self.occupant {
            Occupant::Running(running) => Some(running),
            Occupant::Due { .. } | Occupant::Ended => None,
        }
    }

    pub(crate) fn is_due(&self, now: Instant) -> bool {
        match self.occupant {
            Occupant::Due { at } => at <= now,
            Occupant::Running(_) | Occupant::Ended => false,
        }
    }

    /// A process was started.
    pub(crate) fn started(&mut self, child: Child, now: Instant) {
        assert!(self.running().is_none(), "a slot holds one process");
        let running = Running {
            child,
            stage: Stage::Starting,
            started: now,
            silence: Duration::ZERO,
            status_text: String::new(),
        };
        self.occupant = Occupant::Running(running);
    }

    /// No process could be started.
    pub(crate) fn start_failed(&mut self, now: Instant) {
        self.schedule(Cause::SpawnFailed, Health::NeverReady, now);
    }

    /// The process is dead, or given up as undead: makes a successor due and hands the process out.
    pub(crate) fn died(&mut self, cause: Cause, now: Instant) -> Option<Running> {
        let Occupant::Running(running) =
            std::mem::replace(&mut self.occupant, Occupant::Due { at: now })
        else {
            return None;
        };
        let ready_for = running
            .stage
            .ready_since()
            .map(|since| now.saturating_duration_since(since));
        let cause = match running.stage {
            Stage::WatchdogKilled { .. } => Cause::Watchdog,
            Stage::Starting | Stage::Ready { .. } | Stage::Stopping { .. } => cause,
        };
        self.schedule(
            cause,
            ready_for.map_or(Health::NeverReady, Health::ReadyFor),
            now,
        );
        Some(running)
    }

    fn schedule(&mut self, cause: Cause, health: Health, now: Instant) {
        self.counts.count(cause);
        self.occupant = Occupant::Due {
            at: now + self.policy.died(cause, health),
        };
    }

    /// Ends the slot for good; a process in it is handed out.
    pub(crate) fn end(&mut self) -> Option<Running> {
        match std::mem::replace(&mut self.occupant, Occupant::Ended) {
            Occupant::Running(running) => Some(running),
            Occupant::Due { .. } | Occupant::Ended => None,
        }
    }

    /// What the outside may know.
    pub(crate) fn status(&self, role: &PreparedRole, now: Instant) -> ProcessStatus {
        let running = self.running();
        let age = running.map(|running| now.saturating_duration_since(running.started));
        ProcessStatus {
            role: role.role,
            pid: running.map(|running| running.child.pid()),
            restarts: self.counts.total(),
            restarts_by_cause: self.counts.clone(),
            age_ms: age.map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
            state: self.state(),
            status_text: running
                .map(|running| running.status_text.clone())
                .unwrap_or_default(),
        }
    }

    fn state(&self) -> ProcessState {
        match &self.occupant {
            Occupant::Due { .. } => ProcessState::BackingOff,
            Occupant::Ended => ProcessState::Ended,
            Occupant::Running(running) => match running.stage {
                Stage::Starting => ProcessState::Starting,
                Stage::Ready { .. } => ProcessState::Ready,
                Stage::Stopping { .. } => ProcessState::Stopping,
                Stage::WatchdogKilled { .. } => ProcessState::Killed,
            },
        }
    }
}

impl Running {
    /// Any sign of life.
    pub(crate) fn heard(&mut self) {
        self.silence = Duration::ZERO;
    }

    pub(crate) fn ready(&mut self, now: Instant) {
        match self.stage {
            Stage::Starting => self.stage = Stage::Ready { since: now },
            Stage::Ready { .. } | Stage::Stopping { .. } | Stage::WatchdogKilled { .. } => {}
        }
    }

    pub(crate) fn stopping(&mut self) {
        match self.stage {
            Stage::Starting | Stage::Ready { .. } => {
                self.stage = Stage::Stopping {
                    ready_since: self.stage.ready_since(),
                };
            }
            Stage::Stopping { .. } | Stage::WatchdogKilled { .. } => {}
        }
    }

    pub(crate) fn set_status_text(&mut self, text: String) {
        self.status_text = text;
    }

    /// The silence that this process may keep now.
    pub(crate) fn silence_limit(&self, role: &PreparedRole) -> Option<Duration> {
        match self.stage {
            Stage::Starting => Some(role.start_timeout),
            Stage::Ready { .. } => role.watchdog,
            // The way down may be long (an unmount waits for its users); who asked for it has a deadline of its own.
            Stage::Stopping { .. } | Stage::WatchdogKilled { .. } => None,
        }
    }

    /// Adds punctual time to the silence; true if that is too much now.
    pub(crate) fn add_silence(&mut self, role: &PreparedRole, punctual: Duration) -> bool {
        self.silence = self.silence.saturating_add(punctual);
        self.silence_limit(role)
            .is_some_and(|limit| self.silence > limit)
    }

    /// Queues SIGKILL because of silence, once.
    pub(crate) fn kill_as_hung(&mut self, now: Instant) {
        match self.stage {
            Stage::WatchdogKilled { .. } => {}
            Stage::Starting | Stage::Ready { .. } | Stage::Stopping { .. } => {
                self.child.signal(Signal::KILL);
                self.stage = Stage::WatchdogKilled {
                    since: now,
                    ready_since: self.stage.ready_since(),
                };
            }
        }
    }

    /// When the slot stops waiting for this killed process's death.
    pub(crate) fn linger_until(&self) -> Option<Instant> {
        match self.stage {
            Stage::WatchdogKilled { since, .. } => Some(since + LINGER_AFTER_KILL),
            Stage::Starting | Stage::Ready { .. } | Stage::Stopping { .. } => None,
        }
    }
}
