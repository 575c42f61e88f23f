//! What a keeper supervises: roles, their command lines, and what each may inherit.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a supervised process is for. It decides the order of the wind-down and the defaults of [`RoleConfig::new`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Plays the kernel's part; when it says `STOPPING=1` and exits with 0 the whole instance winds down.
    Engine,
    /// Fetches from the origin; any number of them, any of them may die at any instruction.
    Daemon,
}

/// Which stored descriptors a process gets at its start (`$LISTEN_FDS`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InheritedDescriptors {
    /// None; the `LISTEN_*` variables are not set.
    None,
    /// All, in the order in which they were stored.
    All,
    /// Those stored under one of these names, in the order in which they were stored.
    Named(Vec<String>),
}

/// One role: `count` processes started from the same command line.
#[derive(Debug, Clone)]
pub struct RoleConfig {
    /// What the processes are for.
    pub role: Role,
    /// How many run at the same time. At most one engine in all (two engines on one cache would be two owners).
    pub count: u32,
    /// Program (a path with a `/`; `$PATH` is not searched) and arguments.
    pub argv: Vec<OsString>,
    /// Variables added to the keeper's own environment; they win over it. The variables of the protocols named in the
    /// crate's documentation are always the keeper's and cannot be set here.
    pub env: Vec<(OsString, OsString)>,
    /// Which stored descriptors a process gets.
    pub inherits: InheritedDescriptors,
    /// Silence after which a process that said `READY=1` is killed; `None` = it is never killed for silence. Counted
    /// only while the keeper itself ran on time.
    pub watchdog: Option<Duration>,
    /// Silence after which a process that has not said `READY=1` yet is killed. Each notification starts it anew.
    pub start_timeout: Duration,
    /// `oom_score_adj` of the processes, best effort (lowering it takes a privilege); `None` = as the keeper's.
    pub oom_score_adjust: Option<i16>,
}

impl RoleConfig {
    /// A role with one process and the defaults: an engine inherits all descriptors and is among the last that the
    /// kernel kills for memory, a daemon inherits none and goes first; no watchdog; 90 s to become ready (systemd's
    /// `DefaultTimeoutStartSec=`).
    pub fn new(role: Role, argv: Vec<OsString>) -> RoleConfig {
        let (inherits, oom_score_adjust) = match role {
            Role::Engine => (InheritedDescriptors::All, -800),
            Role::Daemon => (InheritedDescriptors::None, 200),
        };
        RoleConfig {
            role,
            count: 1,
            argv,
            env: Vec::new(),
            inherits,
            watchdog: None,
            start_timeout: Duration::from_secs(90),
            oom_score_adjust: Some(oom_score_adjust),
        }
    }
}

/// Everything a keeper needs to know.
#[derive(Debug, Clone)]
pub struct KeeperConfig {
    /// The instance's run directory; made (0700) if absent. The keeper's sockets live in it.
    pub run_dir: PathBuf,
    /// What to run. An engine is started before the daemons whatever the order here.
    pub roles: Vec<RoleConfig>,
    /// How long a process may take to exit after SIGTERM in the wind-down before it gets SIGKILL.
    pub stop_grace: Duration,
}

impl KeeperConfig {
    /// A configuration with the default grace of 10 s.
    pub fn new(run_dir: PathBuf, roles: Vec<RoleConfig>) -> KeeperConfig {
        KeeperConfig {
            run_dir,
            roles,
            stop_grace: Duration::from_secs(10),
        }
    }

    /// # Errors
    /// Every variant of [`ConfigError`], the first that holds.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let engines: u64 = self
            .roles
            .iter()
            .filter(|role| role.role == Role::Engine)
            .map(|role| u64::from(role.count))
            .sum();
        if engines > 1 {
            return Err(ConfigError::ManyEngines(engines));
        }
        if self.roles.iter().all(|role| role.count == 0) {
            return Err(ConfigError::NothingToRun);
        }
        for role in &self.roles {
            if role.watchdog.is_some_and(|limit| limit < WATCHDOG_MIN)
                || role.start_timeout < WATCHDOG_MIN
            {
                return Err(ConfigError::TimeoutTooShort(role.role));
            }
        }
        Ok(())
    }
}

/// Shorter limits would be decided by the granularity of the keeper's own tick.
const WATCHDOG_MIN: Duration = Duration::from_millis(50);

/// Why a [`KeeperConfig`] cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// More than one engine is asked for.
    #[error("{0} engines are configured; one cache has one engine")]
    ManyEngines(u64),
    /// No role has a process.
    #[error("no process is configured")]
    NothingToRun,
    /// A watchdog or start timeout is below 50 ms.
    #[error("a watchdog or start timeout of the {0:?} role is below 50 ms")]
    TimeoutTooShort(Role),
}
