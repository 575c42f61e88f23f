//! What a keeper tells about itself on `keeper.sock`, and the client for it.
//!
//! Stream Unix socket; whoever connects (same user or root) gets one line of JSON, a [`KeeperStatus`], and the end of the
//! stream. Nothing is sent to the keeper.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::Role;

/// File name of the status socket in the run directory.
pub const SOCKET_NAME: &str = "keeper.sock";

/// How long [`query`] waits for the answer; a live keeper takes less than a millisecond.
const QUERY_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest answer that [`query`] reads, bytes.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// Why a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A signal, by its number.
    Signal(i32),
    /// It exited with this code, 0 included.
    Exit(i32),
    /// The keeper killed it because it was silent too long.
    Watchdog,
    /// It could not be started at all (fork(2) or pidfd_open(2) failed).
    SpawnFailed,
    /// It is dead, and somebody else in the keeper's process took its exit status.
    Unknown,
}

/// How often the processes of a slot ended, by cause.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartCounts {
    /// By signal number, deaths by the keeper's watchdog excepted.
    pub signal: BTreeMap<i32, u64>,
    /// By exit code.
    pub exit: BTreeMap<i32, u64>,
    /// By the keeper's watchdog.
    pub watchdog: u64,
    /// Starts that failed.
    pub spawn_failed: u64,
    /// Ends whose status somebody else took.
    pub unknown: u64,
}

impl RestartCounts {
    pub(crate) fn count(&mut self, cause: Cause) {
        match cause {
            Cause::Signal(number) => *self.signal.entry(number).or_default() += 1,
            Cause::Exit(code) => *self.exit.entry(code).or_default() += 1,
            Cause::Watchdog => self.watchdog += 1,
            Cause::SpawnFailed => self.spawn_failed += 1,
            Cause::Unknown => self.unknown += 1,
        }
    }

    /// The sum over all causes.
    pub fn total(&self) -> u64 {
        self.signal.values().sum::<u64>()
            + self.exit.values().sum::<u64>()
            + self.watchdog
            + self.spawn_failed
            + self.unknown
    }
}

/// How far the process of a slot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessState {
    /// Runs; has not said `READY=1`.
    Starting,
    /// Said `READY=1`.
    Ready,
    /// Said `STOPPING=1`.
    Stopping,
    /// Was silent too long and is being killed.
    Killed,
    /// No process now; one will be started.
    BackingOff,
    /// No process any more: the instance winds down.
    Ended,
}

/// One slot and its process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessStatus {
    /// What the process is for.
    pub role: Role,
    /// Its pid; `null` when no process runs in the slot.
    pub pid: Option<u32>,
    /// How often a process of this slot ended and was or will be replaced.
    pub restarts: u64,
    /// The same by cause.
    pub restarts_by_cause: RestartCounts,
    /// Milliseconds since the process was started; 0 when none runs.
    pub age_ms: u64,
    /// How far it is.
    pub state: ProcessState,
    /// Its last `STATUS=`.
    pub status_text: String,
}

/// The keeper's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeeperStatus {
    /// The keeper's own pid.
    pub pid: u32,
    /// All slots, the engine's first.
    pub processes: Vec<ProcessStatus>,
    /// The names of the stored descriptors in the order of storing, one per descriptor.
    pub stored_descriptors: Vec<String>,
    /// Pids of killed processes that the kernel has not let go yet (hazard H05); their successors run already.
    pub lingering: Vec<u32>,
}

/// Why a keeper's status is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// No keeper runs in this run directory: there is no socket, or nobody listens on it.
    #[error("no keeper is running")]
    NotRunning,
    /// The keeper closed the connection without an answer: it serves another user, or it is winding down.
    #[error("the keeper refused to answer")]
    Refused,
    /// The connection failed otherwise, or there was no answer within 5 s.
    #[error("the keeper cannot be asked: {0}")]
    Io(#[from] io::Error),
    /// The answer is not the JSON of a [`KeeperStatus`] (a keeper of another version).
    #[error("the keeper's answer is not understood: {0}")]
    Malformed(#[from] serde_json::Error),
}

/// Asks the keeper of a run directory.
///
/// # Errors
/// See [`QueryError`].
pub fn query(run_dir: &Path) -> Result<KeeperStatus, QueryError> {
    let stream = UnixStream::connect(run_dir.join(SOCKET_NAME)).map_err(|error| {
        let absent = matches!(
            error.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
        );
        if absent {
            QueryError::NotRunning
        } else {
            QueryError::Io(error)
        }
    })?;
    stream.set_read_timeout(Some(QUERY_TIMEOUT))?;
    let mut answer = Vec::new();
    match stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
            return Err(QueryError::Refused);
        }
        Err(error) => return Err(error.into()),
    }
    if answer.is_empty() {
        return Err(QueryError::Refused);
    }
    Ok(serde_json::from_slice(&answer)?)
}
