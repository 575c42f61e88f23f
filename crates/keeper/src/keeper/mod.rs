//! The keeper itself: one thread, one loop, over slots, store and sockets.

mod answer;
mod notifications;
mod processes;
mod wind_down;

use std::io;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use self::wind_down::Phase;
use crate::config::{ConfigError, KeeperConfig};
use crate::event_loop::{EventLoop, Token};
use crate::notify_socket::{DESCRIPTORS_PER_MESSAGE_MAX, NotifySocket};
use crate::run_dir::{RunDir, RunDirError};
use crate::signals::Signals;
use crate::slot::{Occupant, Slot};
use crate::spawn::{Child, PrepareError, PreparedRole};
use crate::status;
use crate::status_socket::StatusSocket;
use crate::store::{DESCRIPTORS_MAX, DescriptorStore};
use crate::watchdog::Tick;

/// File name of the notification socket in the run directory.
const NOTIFY_SOCKET_NAME: &str = "notify.sock";
/// The keeper is the last that should die for memory. Best effort.
const OWN_OOM_SCORE_ADJUST: &str = "-900";
/// Descriptors that the keeper needs beside the store: its sockets, pidfds, clients, and copies made while it forks.
const OWN_DESCRIPTORS: u64 = 256;

/// Why [`run`] returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitReason {
    /// The engine said `STOPPING=1` and exited with 0: nothing is mounted any more.
    WoundDown,
    /// SIGTERM or SIGINT told the keeper to end the instance.
    Terminated,
}

/// Why a keeper could not start or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A role cannot be executed as configured.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// The run directory cannot be used; among others because another keeper runs in it.
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    /// A socket, signal handler or the epoll set cannot be made.
    #[error("the keeper cannot be set up: {0}")]
    SetUp(#[source] io::Error),
    /// epoll_wait(2) failed; the keeper cannot see any more. Children live on.
    #[error("the keeper cannot wait for events: {0}")]
    Wait(#[source] io::Error),
    /// Too few files may be open, and there is no right to raise the limit.
    #[error(
        "only {limit} files may be open at once, {DESCRIPTORS_NEEDED} are needed: raise the hard limit (ulimit -Hn, LimitNOFILE=)"
    )]
    DescriptorLimit {
        /// The limit in force.
        limit: u64,
    },
}

/// The limit of open files that a keeper with the privilege sets.
const DESCRIPTORS_WANTED: u64 = 65_536;
/// The least with which an instance serves its readers whatever they open.
const DESCRIPTORS_NEEDED: u64 = 1024;

struct Keeper {
    roles: Vec<PreparedRole>,
    slots: Vec<Slot>,
    /// Killed processes that the kernel has not let go (H05).
    lingering: Vec<Child>,
    store: DescriptorStore,
    phase: Phase,
    tick: Tick,
    stop_grace: Duration,
    signals: Signals,
    notify: NotifySocket,
    status: StatusSocket,
    events: EventLoop,
    /// Last, so that the lock outlives the sockets' files.
    _run_dir: RunDir,
}

/// Supervises the configured processes until the instance winds down.
///
/// Owns its process for that time: it installs handlers for SIGTERM, SIGINT, SIGHUP and SIGCHLD, raises the soft limit of
/// open files to the hard one, and takes the exit statuses of the children that it started. On return no child that can
/// die is left, the stored descriptors are closed and the sockets removed. If it returns an error from the middle of its
/// life, or is killed, the children live on.
///
/// # Errors
/// See [`RunError`]; all but [`RunError::Wait`] come before any process is started.
pub fn run(config: KeeperConfig) -> Result<ExitReason, RunError> {
    let mut keeper = Keeper::new(config)?;
    loop {
        keeper.advance(Instant::now());
        if let Phase::Over(reason) = keeper.phase {
            return Ok(reason);
        }
        let timeout = keeper
            .next_due()
            .map(|due| due.saturating_duration_since(Instant::now()));
        for token in keeper
            .events
            .wait(timeout)
            .map_err(|errno| RunError::Wait(errno.into()))?
        {
            keeper.handle(token, Instant::now());
        }
    }
}

impl Keeper {
    fn new(config: KeeperConfig) -> Result<Keeper, RunError> {
        config.check()?;
        let run_dir = RunDir::open(&config.run_dir)?;
        let set_up = |errno: Errno| RunError::SetUp(errno.into());
        let signals = Signals::listen().map_err(RunError::SetUp)?;
        let notify =
            NotifySocket::bind(run_dir.socket_path(NOTIFY_SOCKET_NAME)?).map_err(set_up)?;
        let status = StatusSocket::listen(run_dir.socket_path(status::SOCKET_NAME)?)
            .map_err(RunError::SetUp)?;
        let events = EventLoop::new().map_err(set_up)?;
        events
            .watch(notify.descriptor(), Token::Notify)
            .map_err(set_up)?;
        events
            .watch(status.descriptor(), Token::StatusListener)
            .map_err(set_up)?;
        events
            .watch(signals.terminate_descriptor(), Token::Terminate)
            .map_err(set_up)?;
        events
            .watch(signals.hang_up_descriptor(), Token::HangUp)
            .map_err(set_up)?;
        let mut configured = config.roles;
        configured.sort_by_key(|role| role.role);
        let prepared = configured
            .iter()
            .map(|role| PreparedRole::new(role, notify.path()));
        let roles = prepared.collect::<Result<Vec<_>, _>>()?;
        let now = Instant::now();
        let indices = configured.iter().enumerate();
        let slots = indices
            .flat_map(|(role, config)| (0..config.count).map(move |_| Slot::new(role, now)))
            .collect();
        let _ = std::fs::write("/proc/self/oom_score_adj", OWN_OOM_SCORE_ADJUST);
        Ok(Keeper {
            roles,
            slots,
            lingering: Vec::new(),
            store: DescriptorStore::new(store_bound(raise_descriptor_limit()?)),
            phase: Phase::Serving,
            tick: Tick::default(),
            stop_grace: config.stop_grace,
            signals,
            notify,
            status,
            events,
            _run_dir: run_dir,
        })
    }

    fn role(&self, slot: &Slot) -> &PreparedRole {
        self.roles
            .get(slot.role)
            .expect("slots are made from the list of roles")
    }

    fn handle(&mut self, token: Token, now: Instant) {
        match token {
            Token::Notify => self.take_notifications(now),
            Token::Child(pid) => self.reap(pid, now),
            Token::Terminate => {
                if self.signals.take_terminate() {
                    self.terminate(now);
                }
            }
            Token::HangUp => {
                if self.signals.take_hang_up() {
                    tracing::info!("SIGHUP is ignored");
                }
            }
            Token::StatusListener => self.answer_status(now),
            Token::StatusClient(number) => self.status.writable(number),
        }
    }

    /// All that time brings.
    fn advance(&mut self, now: Instant) {
        self.watch_silence(now);
        self.give_up_undead(now);
        self.advance_wind_down(now);
        match self.phase {
            Phase::Serving => self.start_due(now),
            Phase::StoppingEngine(_) | Phase::StoppingDaemons(..) | Phase::Over(_) => {}
        }
        let limits = self
            .slots
            .iter()
            .filter_map(|slot| slot.running()?.silence_limit(self.role(slot)));
        let limit_min = match self.phase {
            Phase::Serving => limits.min(),
            Phase::StoppingEngine(_) | Phase::StoppingDaemons(..) | Phase::Over(_) => None,
        };
        self.tick.watch(now, limit_min);
    }

    /// When [`Keeper::advance`] has something to do next.
    fn next_due(&self) -> Option<Instant> {
        let slots = self.slots.iter().filter_map(|slot| match &slot.occupant {
            Occupant::Due { at } => matches!(self.phase, Phase::Serving).then_some(*at),
            Occupant::Running(running) => running.linger_until(),
            Occupant::Ended => None,
        });
        let phase = match self.phase {
            Phase::StoppingEngine(urgency) | Phase::StoppingDaemons(_, urgency) => {
                Some(urgency.due())
            }
            Phase::Serving | Phase::Over(_) => None,
        };
        slots.chain(phase).chain(self.tick.due()).min()
    }
}

/// Raises the limit of open files, for the keeper and, by inheritance, its children: with the privilege to
/// [`DESCRIPTORS_WANTED`], else the soft limit to the hard one (H16). Returns the limit in force; `None` = no limit.
///
/// # Errors
/// [`RunError::DescriptorLimit`] when it is below [`DESCRIPTORS_NEEDED`]: an instance that runs out of descriptors
/// would fail its readers, and a keeper without room would lose their mounts.
fn raise_descriptor_limit() -> Result<Option<u64>, RunError> {
    let limit = getrlimit(Resource::Nofile);
    let hard = limit.maximum.unwrap_or(u64::MAX);
    for maximum in [hard.max(DESCRIPTORS_WANTED), hard] {
        let wanted = (limit.maximum.is_some()).then_some(maximum);
        let raised = Rlimit {
            current: wanted,
            maximum: wanted,
        };
        if setrlimit(Resource::Nofile, raised).is_ok() {
            break;
        }
    }
    let in_force = getrlimit(Resource::Nofile).current;
    match in_force {
        Some(limit) if limit < DESCRIPTORS_NEEDED => Err(RunError::DescriptorLimit { limit }),
        Some(_) | None => Ok(in_force),
    }
}

/// How many descriptors may be stored so that the keeper can still receive a full message and start a process.
fn store_bound(limit: Option<u64>) -> usize {
    let reserved = OWN_DESCRIPTORS + DESCRIPTORS_PER_MESSAGE_MAX as u64;
    let room = limit.map_or(u64::MAX, |limit| limit.saturating_sub(reserved));
    usize::try_from(room)
        .unwrap_or(usize::MAX)
        .min(DESCRIPTORS_MAX)
}
