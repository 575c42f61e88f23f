//! The processes of an instance: what each does before and after its crate's own main function.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use rustix::fs::Mode;

use crate::adapter::{engine, keeper, source};
use crate::cli::roles::{DaemonArgs, EngineArgs, KeeperArgs, RoleArgs};
use crate::instance::lock::{KeeperLock, LockError, StartLock};
use crate::instance::{Instance, InstanceId};
use crate::{logging, process};

/// How long a new keeper waits for the lock of one that is just ending.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// How long those may take who only look whether a keeper lives.
const LOOKERS_PATIENCE: Duration = Duration::from_secs(1);

/// Why a process of an instance ended with a failure.
#[derive(Debug, thiserror::Error)]
pub enum RoleError {
    /// Another keeper rules the run directory.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The path of this program cannot be found.
    #[error("cannot find the path of this program: {0}")]
    Program(std::io::Error),
    /// The keeper failed.
    #[error(transparent)]
    Keeper(#[from] holdfast_keeper::RunError),
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] engine::RunError),
    /// The daemon failed.
    #[error(transparent)]
    Daemon(#[from] holdfast_daemon::RunError),
}

/// `holdfast keeper`.
///
/// # Errors
/// See [`RoleError`].
pub fn keeper(args: &KeeperArgs) -> Result<(), RoleError> {
    // First of all: from here on Ctrl-C in the terminal of who mounted does not reach us (H18).
    // It fails only for the leader of a process group, who has nobody to leave.
    let left_session = rustix::process::setsid();
    begin(c"holdfast-keeper", "holdfast-keeper", &args.role);
    if let Err(errno) = left_session {
        tracing::debug!(%errno, "the session was not left");
    }
    let lock = KeeperLock::acquire(&args.role.run_dir, LOCK_PATIENCE)?;
    let supervised = keeper::Supervised {
        engine: engine_argv(args).map_err(RoleError::Program)?,
        daemon: daemon_argv(args).map_err(RoleError::Program)?,
        daemons: args.daemons,
    };
    keeper::run(args.role.run_dir.clone(), supervised)?;
    clean_up(&args.role.run_dir, lock);
    Ok(())
}

/// `holdfast engine`.
///
/// # Errors
/// [`RoleError::Engine`].
pub fn engine(args: &EngineArgs) -> Result<(), RoleError> {
    begin(c"holdfast-engine", "holdfast-engine", &args.role);
    let idle_exit = Duration::from_millis(args.cache.idle_exit_ms);
    engine::run(
        args.cache.cache_dir.clone(),
        args.role.run_dir.clone(),
        idle_exit,
    )?;
    clean_up_for_dead_keeper(&args.role.run_dir);
    Ok(())
}

/// `holdfast daemon`.
///
/// # Errors
/// [`RoleError::Daemon`].
pub fn daemon(args: &DaemonArgs) -> Result<(), RoleError> {
    begin(c"holdfast-daemon", "holdfast-daemon", &args.role);
    source::run(args.role.run_dir.clone(), args.workers)?;
    Ok(())
}

/// What all have in common: a name of their own, private files, a log.
fn begin(name: &std::ffi::CStr, role: &'static str, args: &RoleArgs) {
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    logging::init(role, args.log_level, args.log_limit_bytes);
    process::set_name(name);
}

/// A keeper that lives cleans up itself. One that is dead does not, and the daemons end only when the
/// run directory is gone.
fn clean_up_for_dead_keeper(run_dir: &Path) {
    if KeeperLock::is_held(run_dir) {
        return;
    }
    // Patience because whoever looks whether the lock is held holds it for a moment.
    if let Ok(lock) = KeeperLock::acquire(run_dir, LOOKERS_PATIENCE) {
        clean_up(run_dir, lock);
    }
}

/// Removes the run directory of an instance that has ended, with the secrets in it. If somebody is
/// about to start it anew, that one does it.
fn clean_up(run_dir: &Path, keeper: KeeperLock) {
    let id = run_dir
        .file_name()
        .and_then(|name| name.to_str())
        .and_then(InstanceId::parse);
    let (Some(id), Some(root)) = (id, run_dir.parent()) else {
        return;
    };
    let instance = Instance {
        id,
        run_root: root.to_owned(),
    };
    if let Ok(start) = StartLock::acquire(&instance, Duration::ZERO) {
        if let Err(error) = instance.remove_run_dir(&start) {
            tracing::warn!(%error, "leftovers stay");
        }
        start.remove();
    }
    // Only now: who finds this lock free may take the run directory for leftovers.
    drop(keeper);
}

fn engine_argv(args: &KeeperArgs) -> std::io::Result<Vec<OsString>> {
    let mut argv = common_argv("engine", &args.role)?;
    argv.push("--cache-dir".into());
    argv.push(args.cache.cache_dir.clone().into());
    argv.push("--idle-exit-ms".into());
    argv.push(args.cache.idle_exit_ms.to_string().into());
    Ok(argv)
}

fn daemon_argv(args: &KeeperArgs) -> std::io::Result<Vec<OsString>> {
    let mut argv = common_argv("daemon", &args.role)?;
    argv.push("--workers".into());
    argv.push(args.workers.to_string().into());
    Ok(argv)
}

fn common_argv(role: &str, args: &RoleArgs) -> std::io::Result<Vec<OsString>> {
    Ok(vec![
        std::env::current_exe()?.into(),
        role.into(),
        "--run-dir".into(),
        args.run_dir.clone().into(),
        "--log-level".into(),
        args.log_level.to_string().into(),
        "--log-limit-bytes".into(),
        args.log_limit_bytes.to_string().into(),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    fn keeper_args() -> KeeperArgs {
        let line = "holdfast keeper --run-dir /r --cache-dir /c --daemons 2 --workers 16 --idle-exit-ms 5 --log-level info --log-limit-bytes 0";
        let command = Cli::try_parse_from(line.split(' ')).unwrap().command;
        let Command::Keeper(args) = command else {
            panic!("{command:?}")
        };
        args
    }

    #[test]
    fn what_the_keeper_starts_parses_again() {
        let args = keeper_args();
        let engine = Cli::try_parse_from(engine_argv(&args).unwrap())
            .unwrap()
            .command;
        assert!(
            matches!(engine, Command::Engine(engine) if engine.cache.cache_dir == args.cache.cache_dir)
        );
        let daemon = Cli::try_parse_from(daemon_argv(&args).unwrap())
            .unwrap()
            .command;
        assert!(matches!(daemon, Command::Daemon(daemon) if daemon.workers == 16));
    }

    #[test]
    fn an_ended_instance_leaves_no_file() {
        let root = tempfile::tempdir().unwrap();
        let instance = Instance::of_cache_dir(root.path(), Path::new("/c")).unwrap();
        let run_dir = instance.create_run_dir().unwrap();
        std::fs::write(run_dir.join("secret"), b"x").unwrap();
        let lock = KeeperLock::acquire(&run_dir, Duration::ZERO).unwrap();
        clean_up(&run_dir, lock);
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn h24_a_starter_who_waits_cleans_up_instead() {
        let root = tempfile::tempdir().unwrap();
        let instance = Instance::of_cache_dir(root.path(), Path::new("/c")).unwrap();
        let run_dir = instance.create_run_dir().unwrap();
        let lock = KeeperLock::acquire(&run_dir, Duration::ZERO).unwrap();
        let _starter = StartLock::acquire(&instance, Duration::ZERO).unwrap();
        clean_up(&run_dir, lock);
        assert!(run_dir.is_dir());
        assert!(!KeeperLock::is_held(&run_dir));
    }
}
