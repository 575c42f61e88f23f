//! What travels on the control socket: one JSON line each way.
//!
//! The shapes are stable between versions of one instance: fields are only ever added, with a
//! default, so that an older engine can be asked by a newer command line and the reverse.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A path as its raw bytes, because JSON strings cannot hold every Linux path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PathBytes(pub Vec<u8>);

impl From<&Path> for PathBytes {
    fn from(path: &Path) -> Self {
        use std::os::unix::ffi::OsStrExt;
        Self(path.as_os_str().as_bytes().to_vec())
    }
}

impl PathBytes {
    /// The path these bytes name.
    #[must_use]
    pub fn to_path(&self) -> PathBuf {
        use std::os::unix::ffi::OsStrExt;
        PathBuf::from(std::ffi::OsStr::from_bytes(&self.0))
    }
}

/// What a reader gets while nobody can fetch for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnOutage {
    /// The reader waits until somebody can.
    #[default]
    Wait,
    /// The reader gets EIO once the object's outage is older than this.
    EioAfterMs(u64),
}

/// Asks the engine to serve a `/dev/fuse` descriptor, which travels with the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountRequest {
    /// The volume key: the canonical name of the source, without secrets.
    pub source: String,
    /// Where the caller is about to mount it.
    pub dir: PathBytes,
    /// What readers get in an outage.
    #[serde(default)]
    pub on_outage: OnOutage,
    /// How long a listing or an entry is believed before it is asked for again, in milliseconds.
    pub metadata_ttl_ms: u64,
    /// How far the engine fetches ahead of a sequential reader, in bytes; 0 switches it off.
    pub read_ahead_bytes: u64,
    /// Owner of every file in the mount.
    pub uid: u32,
    /// Group of every file in the mount.
    pub gid: u32,
}

impl MountRequest {
    /// `metadata_ttl_ms` as a duration.
    #[must_use]
    pub fn metadata_ttl(&self) -> Duration {
        Duration::from_millis(self.metadata_ttl_ms)
    }
}

/// The engine's answer to a [`MountRequest`]: it now serves the descriptor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountReply {
    /// The mount's number within its instance; never used twice.
    pub mount_id: u64,
}

/// A request on the control socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Request {
    /// Serve the descriptor that comes with this packet.
    Mount(MountRequest),
    /// Let go of a descriptor that was handed over and could not be mounted.
    Forget {
        /// As in [`MountReply`].
        mount_id: u64,
    },
    /// Report [`EngineStatus`].
    Status,
}

/// An answer on the control socket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Reply {
    /// To [`Request::Mount`].
    Mounted(MountReply),
    /// To [`Request::Forget`].
    Forgotten,
    /// To [`Request::Status`].
    Status(Box<EngineStatus>),
    /// The request was refused; nothing has changed.
    Refused {
        /// Why, in a sentence for the operator.
        reason: String,
    },
}

/// One mount, as `status` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountStatus {
    /// The mount's number within its instance.
    pub id: u64,
    /// The volume key.
    pub source: String,
    /// Where it is mounted.
    pub dir: PathBytes,
    /// How the session survives a death of the engine: `resend` or `none`.
    pub recovery: String,
    /// Names of files and directories the kernel holds a number for.
    pub nodes: u64,
}

/// Objects known to the running engine, by the state of the seed system.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectCounts {
    /// New, or its descriptor was closed.
    pub close: u64,
    /// Its OPEN was answered and its lease lives.
    pub open: u64,
    /// A read drove it to reopen.
    pub reopening: u64,
    /// Going away.
    pub dropping: u64,
}

/// Requests to daemons.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestCounts {
    /// Not handed to any daemon.
    pub waiting: u64,
    /// Handed out and not answered.
    pub in_flight: u64,
    /// Handed out again after a session was lost, since the engine started.
    pub replayed: u64,
}

/// Readers (system calls of applications) that wait for bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReaderCounts {
    /// How many wait now.
    pub blocked: u64,
    /// How long the oldest has waited, in milliseconds; 0 when none waits.
    pub oldest_ms: u64,
}

/// A connected daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionStatus {
    /// The process that holds the session.
    pub pid: i32,
    /// Objects it holds open.
    pub leases: u64,
}

/// What the engine knows of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineStatus {
    /// Mounts being served.
    pub mounts: Vec<MountStatus>,
    /// Objects by state.
    pub objects: ObjectCounts,
    /// Bytes present in the cache.
    pub cached_bytes: u64,
    /// Bytes the cache's files occupy on disk.
    pub allocated_bytes: u64,
    /// Requests to daemons.
    pub requests: RequestCounts,
    /// Readers that wait.
    pub readers: ReaderCounts,
    /// Fail-overs since the engine started, by cause.
    pub failovers: BTreeMap<String, u64>,
    /// Connected daemons.
    pub sessions: Vec<SessionStatus>,
}
