//! The keeper: its role's main function and its status socket.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use holdfast_keeper::status::{
    KeeperStatus, ProcessState, ProcessStatus, QueryError, RestartCounts,
};
use holdfast_keeper::{KeeperConfig, Role, RoleConfig, RunError};

use crate::status::document::Process;

/// Asks the keeper of a run directory.
///
/// # Errors
/// See [`QueryError`].
pub fn status(run_dir: &Path) -> Result<KeeperStatus, QueryError> {
    holdfast_keeper::status::query(run_dir)
}

/// The keeper's pid.
#[must_use]
pub fn own_pid(status: &KeeperStatus) -> Option<i32> {
    i32::try_from(status.pid).ok()
}

/// How often an engine was started again.
#[must_use]
pub fn engine_restarts(status: &KeeperStatus) -> u64 {
    status
        .processes
        .iter()
        .filter(|process| process.role == Role::Engine)
        .map(|process| process.restarts)
        .sum()
}

/// Names of the descriptors it holds.
#[must_use]
pub fn stored_descriptors(status: &KeeperStatus) -> Vec<String> {
    status.stored_descriptors.clone()
}

/// The keeper itself and what it supervises, for the status document.
#[must_use]
pub fn processes(status: &KeeperStatus) -> Vec<Process> {
    let own = Process {
        role: "keeper".to_owned(),
        pid: own_pid(status),
        restarts: 0,
        age_ms: own_pid(status).and_then(crate::process::age_ms),
        state: "ready".to_owned(),
        restart_causes: BTreeMap::new(),
    };
    std::iter::once(own)
        .chain(status.processes.iter().map(process))
        .collect()
}

fn process(status: &ProcessStatus) -> Process {
    Process {
        role: match status.role {
            Role::Engine => "engine",
            Role::Daemon => "daemon",
        }
        .to_owned(),
        pid: status.pid.and_then(|pid| i32::try_from(pid).ok()),
        restarts: status.restarts,
        age_ms: status.pid.map(|_| status.age_ms),
        state: state(status.state).to_owned(),
        restart_causes: causes(&status.restarts_by_cause),
    }
}

fn state(state: ProcessState) -> &'static str {
    match state {
        ProcessState::Starting => "starting",
        ProcessState::Ready => "ready",
        ProcessState::Stopping => "stopping",
        ProcessState::Killed => "killed",
        ProcessState::BackingOff => "backing_off",
        ProcessState::Ended => "ended",
    }
}

/// Flat names, so that the document needs no nesting per kind of cause.
fn causes(counts: &RestartCounts) -> BTreeMap<String, u64> {
    let signals = counts
        .signal
        .iter()
        .map(|(number, &count)| (format!("signal_{number}"), count));
    let exits = counts
        .exit
        .iter()
        .map(|(code, &count)| (format!("exit_{code}"), count));
    let others = [
        ("watchdog", counts.watchdog),
        ("spawn_failed", counts.spawn_failed),
        ("unknown", counts.unknown),
    ]
    .into_iter()
    .filter(|(_, count)| *count > 0)
    .map(|(name, count)| (name.to_owned(), count));
    signals.chain(exits).chain(others).collect()
}

/// The command lines of what a keeper runs.
#[derive(Debug)]
pub struct Supervised {
    /// The engine's.
    pub engine: Vec<OsString>,
    /// Each daemon's.
    pub daemon: Vec<OsString>,
    /// How many daemons.
    pub daemons: u16,
}

/// Runs a keeper until its instance has wound down or SIGTERM ended it.
///
/// # Errors
/// See [`RunError`].
pub fn run(run_dir: PathBuf, supervised: Supervised) -> Result<(), RunError> {
    let engine = RoleConfig::new(Role::Engine, supervised.engine);
    let mut daemons = RoleConfig::new(Role::Daemon, supervised.daemon);
    daemons.count = u32::from(supervised.daemons);
    let reason = holdfast_keeper::run(KeeperConfig::new(run_dir, vec![engine, daemons]))?;
    tracing::info!(?reason, "the instance has ended");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_flat_and_without_zeros() {
        let counts = RestartCounts {
            signal: [(9, 200)].into(),
            exit: [(1, 2)].into(),
            watchdog: 1,
            ..RestartCounts::default()
        };
        let expected = [("exit_1", 2), ("signal_9", 200), ("watchdog", 1)];
        let expected: BTreeMap<String, u64> = expected
            .map(|(name, count)| (name.to_owned(), count))
            .into();
        assert_eq!(causes(&counts), expected);
    }
}
