//! Starting an instance, or joining the one that runs.
//!
//! Invariant: an instance is started, and leftovers of a dead one are cleaned, only by the holder of
//! the start lock, so that of many who come at once one starts and the others join.

pub mod log_tail;
mod spawn;

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use crate::adapter::{engine, keeper};
use crate::cli::InstanceArgs;
use crate::cli::values::LogLevel;
use crate::instance::lock::{LockError, StartLock};
use crate::instance::probe::{self, Life};
use crate::instance::{Instance, InstanceError, LOG_NAME, Record};

/// How long an instance may take until its engine answers.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// How long to wait for another starter; longer than it may take itself.
const LOCK_PATIENCE: Duration = Duration::from_secs(90);
/// An engine that died so often before it ever answered will not answer.
const ENGINE_DEATHS_MAX: u64 = 3;
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(10);
/// Limit of the log in the run directory, which is memory (tmpfs) on most machines.
const DEFAULT_LOG_LIMIT_BYTES: u64 = 16 * 1024 * 1024;

/// How to start an instance, with all defaults filled in.
#[derive(Debug, Clone)]
pub struct StartPlan {
    /// Canonical cache directory.
    pub cache_dir: PathBuf,
    /// Number of daemons.
    pub daemons: u16,
    /// Workers of each.
    pub workers: u16,
    /// Time without a mount after which it ends.
    pub idle_exit: Duration,
    /// Absolute path of the log, if the user named one.
    pub log: Option<PathBuf>,
    /// How much to log.
    pub log_level: LogLevel,
    /// What of this the user asked for by an option, for a remark when joining cannot follow it.
    pub asked_for: Vec<&'static str>,
}

impl StartPlan {
    /// The plan that the options describe.
    ///
    /// # Errors
    /// If the current directory, from which a relative log path counts, is gone.
    pub fn new(cache_dir: PathBuf, args: &InstanceArgs) -> std::io::Result<Self> {
        let asked_for = [
            ("--daemons", args.daemons.is_some()),
            ("--workers", args.workers.is_some()),
            ("--idle-exit", args.idle_exit.is_some()),
            ("--log", args.log.is_some()),
            ("--log-level", args.log_level.is_some()),
        ];
        Ok(Self {
            cache_dir,
            daemons: args.daemons.unwrap_or(2),
            workers: args.workers.unwrap_or(16),
            idle_exit: args.idle_exit.unwrap_or(Duration::from_secs(10)),
            log: args.log.as_deref().map(std::path::absolute).transpose()?,
            log_level: args.log_level.unwrap_or(LogLevel::Info),
            asked_for: asked_for
                .into_iter()
                .filter_map(|(name, asked)| asked.then_some(name))
                .collect(),
        })
    }

    /// Where the log goes, and from which size it is emptied (0: never).
    fn log_file(&self, run_dir: &Path) -> (PathBuf, u64) {
        match &self.log {
            Some(path) => (path.clone(), 0),
            None => (run_dir.join(LOG_NAME), DEFAULT_LOG_LIMIT_BYTES),
        }
    }
}

/// Why no instance serves the cache directory.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its run directory cannot be used.
    #[error(transparent)]
    Instance(#[from] InstanceError),
    /// Its start lock cannot be had.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Its keeper could not be started.
    #[error("cannot start the instance: {what}: {source}")]
    Spawn {
        /// What was tried.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The keeper ended before the engine answered.
    #[error(
        "the instance's keeper ended ({status}) before the engine answered; its log says:\n{tail}"
    )]
    KeeperEnded {
        /// How it ended.
        status: ExitStatus,
        /// The end of the log.
        tail: String,
    },
    /// The engine dies whenever it is started.
    #[error("the instance's engine died {deaths} times at its start; the log says:\n{tail}")]
    EngineDies {
        /// How often.
        deaths: u64,
        /// The end of the log.
        tail: String,
    },
    /// Nothing died and nothing answered.
    #[error(
        "the engine in {} has not answered for {} s; the log says:\n{tail}\nlook at `holdfast status`, or end it by its keeper: kill {}",
        .run_dir.display(), .waited.as_secs(), .keeper.map_or("(pid unknown)".to_owned(), |pid| pid.to_string())
    )]
    NoAnswer {
        /// The run directory.
        run_dir: PathBuf,
        /// How long was waited.
        waited: Duration,
        /// The keeper's pid, if it tells.
        keeper: Option<i32>,
        /// The end of the log.
        tail: String,
    },
    /// An engine without a keeper serves the cache directory.
    #[error(
        "the keeper of the instance in {} is dead while its engine still serves mounts; unmount them (`holdfast status` lists them), then mount again",
        .0.display()
    )]
    Orphaned(PathBuf),
}

/// How the instance came to serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was started.
    Started,
    /// It ran already.
    Joined,
}

/// Makes sure that an instance with a listening engine serves the plan's cache directory.
///
/// # Errors
/// See [`StartError`].
pub fn start_or_join(instance: &Instance, plan: &StartPlan) -> Result<Outcome, StartError> {
    if probe::life(&instance.run_dir()) == Life::Whole {
        return Ok(Outcome::Joined);
    }
    let lock = StartLock::acquire(instance, LOCK_PATIENCE)?;
    let start = Instant::now();
    loop {
        match probe::life(&instance.run_dir()) {
            Life::Whole => return Ok(Outcome::Joined),
            Life::KeeperDown => return Err(StartError::Orphaned(instance.run_dir())),
            // Its engine restarts, or it winds down: one of the other three will be true soon.
            Life::EngineDown if start.elapsed() < START_DEADLINE => {
                std::thread::sleep(LOOK_AGAIN_AFTER)
            }
            Life::EngineDown => return Err(no_answer(instance)),
            Life::Dead => return start_new(instance, plan, &lock).map(|()| Outcome::Started),
        }
    }
}

fn start_new(instance: &Instance, plan: &StartPlan, lock: &StartLock) -> Result<(), StartError> {
    instance.remove_run_dir(lock)?;
    let run_dir = instance.create_run_dir()?;
    let (log, log_limit_bytes) = plan.log_file(&run_dir);
    let bytes = |path: &Path| std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()).to_vec();
    instance.write_record(&Record {
        cache_dir: bytes(&plan.cache_dir),
        log: bytes(&log),
    })?;
    let mut child = spawn::keeper(&run_dir, plan, &log, log_limit_bytes)?;
    let result = wait_until_answering(instance, &mut child);
    if result.is_err() {
        spawn::end(&mut child);
        // The error already carries what the log said; what stays would only look like an instance.
        let _ = instance.remove_run_dir(lock);
    }
    result
}

fn wait_until_answering(
    instance: &Instance,
    child: &mut std::process::Child,
) -> Result<(), StartError> {
    let run_dir = instance.run_dir();
    let start = Instant::now();
    while start.elapsed() < START_DEADLINE {
        if probe::life(&run_dir) == Life::Whole && engine::status(&run_dir).is_ok() {
            return Ok(());
        }
        let ended = child.try_wait().map_err(|source| StartError::Spawn {
            what: "waiting".into(),
            source,
        })?;
        if let Some(status) = ended {
            return Err(StartError::KeeperEnded {
                status,
                tail: log_tail::of_instance(instance),
            });
        }
        let deaths = keeper::status(&run_dir).map_or(0, |status| keeper::engine_restarts(&status));
        if deaths >= ENGINE_DEATHS_MAX {
            return Err(StartError::EngineDies {
                deaths,
                tail: log_tail::of_instance(instance),
            });
        }
        std::thread::sleep(LOOK_AGAIN_AFTER);
    }
    Err(no_answer(instance))
}

fn no_answer(instance: &Instance) -> StartError {
    let run_dir = instance.run_dir();
    let keeper = keeper::status(&run_dir)
        .ok()
        .and_then(|status| keeper::own_pid(&status));
    StartError::NoAnswer {
        run_dir,
        waited: START_DEADLINE,
        keeper,
        tail: log_tail::of_instance(instance),
    }
}
