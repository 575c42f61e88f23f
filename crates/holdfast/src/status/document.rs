//! The JSON document that `holdfast status --json` prints. Its shape is a promise, described in
//! `docs/status.md`: fields are added, never renamed, retyped or removed.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use serde::Serialize;

/// The whole document.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Document {
    /// The instances of this user, in the order of their ids.
    pub instances: Vec<InstanceStatus>,
}

/// A path: as text, and where text cannot hold it also as bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathText {
    /// The path; bytes that are no UTF-8 show as U+FFFD.
    pub text: String,
    /// The exact bytes, only if `text` is not exact.
    pub bytes: Option<Vec<u8>>,
}

impl PathText {
    /// Splits raw bytes.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        match OsStr::from_bytes(bytes).to_str() {
            Some(text) => Self {
                text: text.to_owned(),
                bytes: None,
            },
            None => Self {
                text: String::from_utf8_lossy(bytes).into_owned(),
                bytes: Some(bytes.to_vec()),
            },
        }
    }
}

/// Who of an instance answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Keeper and engine.
    Running,
    /// The keeper; the engine is being restarted, starts, winds down or hangs.
    EngineDown,
    /// The engine; nothing will restart what dies next.
    KeeperDown,
    /// Nobody: leftovers, which the next mount cleans.
    Dead,
}

/// One instance. What the engine alone knows is null while it does not answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct InstanceStatus {
    /// 16 hexadecimal digits.
    pub id: String,
    /// The cache directory; null only if the starter died before it wrote it down.
    pub cache_dir: Option<String>,
    /// Its bytes, if it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_dir_bytes: Option<Vec<u8>>,
    /// Where its sockets are.
    pub run_dir: String,
    /// The log of its processes.
    pub log: Option<String>,
    /// Who answers.
    pub state: State,
    /// Its processes as the keeper knows them.
    pub processes: Vec<Process>,
    /// Its mounts.
    pub mounts: Option<Vec<Mount>>,
    /// Objects by state.
    pub objects: Option<Objects>,
    /// Bytes present in the cache.
    pub cached_bytes: Option<u64>,
    /// Bytes that the cache occupies on disk.
    pub allocated_bytes: Option<u64>,
    /// Requests to daemons.
    pub requests: Option<Requests>,
    /// Readers that wait.
    pub readers: Option<Readers>,
    /// Fail-overs since the engine started, by cause.
    pub failovers: Option<BTreeMap<String, u64>>,
    /// Daemons connected to the engine.
    pub sessions: Option<Vec<Session>>,
    /// Names of the descriptors that the keeper holds.
    pub stored_descriptors: Vec<String>,
}

/// One process.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Process {
    /// `keeper`, `engine` or `daemon`.
    pub role: String,
    /// Its pid; null while it is dead and its successor waits to be started.
    pub pid: Option<i32>,
    /// How often its place was filled again.
    pub restarts: u64,
    /// Time since this process started, in milliseconds; null while there is none.
    pub age_ms: Option<u64>,
    /// What the keeper says of it.
    pub state: String,
    /// Restarts by cause.
    pub restart_causes: BTreeMap<String, u64>,
}

/// One mount.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mount {
    /// Its number within the instance.
    pub id: u64,
    /// Its volume key.
    pub source: String,
    /// Where it is.
    pub dir: String,
    /// Its bytes, if it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dir_bytes: Option<Vec<u8>>,
    /// How it survives a death of the engine: `resend` or `none`.
    pub recovery: String,
    /// Files and directories the kernel holds a number for.
    pub nodes: u64,
}

/// Objects by state.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Objects {
    /// New, or its descriptor was closed.
    pub close: u64,
    /// Open at a daemon.
    pub open: u64,
    /// Being opened again for a read.
    pub reopening: u64,
    /// Going away.
    pub dropping: u64,
}

/// Requests to daemons.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Requests {
    /// Not handed to any daemon.
    pub waiting: u64,
    /// Handed out and not answered.
    pub in_flight: u64,
    /// Handed out again after a loss.
    pub replayed: u64,
}

/// Readers that wait.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Readers {
    /// How many.
    pub blocked: u64,
    /// How long the oldest has waited, in milliseconds.
    pub oldest_ms: u64,
}

/// A daemon connected to the engine.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Session {
    /// Its process.
    pub pid: i32,
    /// Objects it holds open.
    pub leases: u64,
}
