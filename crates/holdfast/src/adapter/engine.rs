//! The engine: its role's main function and its control socket.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use holdfast_engine::EngineConfig;
use holdfast_engine::control::{Client, ClientError, MountRequest, OnOutage as Outage, PathBytes};

use crate::cli::values::OnOutage;

pub use holdfast_engine::RunError;
pub use holdfast_engine::control::EngineStatus;

/// How long `status` waits for an engine: it answers from memory, so one that does not is busy or hung.
const STATUS_WITHIN: Duration = Duration::from_secs(5);

/// Why the engine did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// It is not there (any more): another one may be.
    #[error("the engine is gone: {0}")]
    Gone(String),
    /// It did not answer in time.
    #[error("the engine has not answered for {} s", .0.as_secs())]
    Silent(Duration),
    /// It refused, or talks another language; asking again will not help.
    #[error(transparent)]
    Failed(ClientError),
}

impl From<ClientError> for EngineError {
    fn from(error: ClientError) -> Self {
        use std::io::ErrorKind::{TimedOut, WouldBlock};
        match error {
            // A receive time-out of a socket shows as EAGAIN.
            ClientError::Io(io) if matches!(io.kind(), WouldBlock | TimedOut) => {
                Self::Failed(ClientError::Io(io))
            }
            ClientError::Io(_) | ClientError::Gone => Self::Gone(error.to_string()),
            ClientError::Malformed(_) | ClientError::Refused(_) | ClientError::WrongKind => {
                Self::Failed(error)
            }
        }
    }
}

/// The engine's own view of the instance.
///
/// # Errors
/// See [`EngineError`].
pub fn status(run_dir: &Path) -> Result<EngineStatus, EngineError> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let run_dir = run_dir.to_owned();
    // A hung engine can block connect(2) itself, so the wait is bounded from outside. The thread
    // that still waits ends with this short-lived process.
    std::thread::spawn(move || {
        let answer = Client::connect(&run_dir).and_then(|mut client| client.status());
        let _ = sender.send(answer);
    });
    match receiver.recv_timeout(STATUS_WITHIN) {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(EngineError::Silent(STATUS_WITHIN)),
    }
}

/// What the engine is asked to serve.
#[derive(Debug, Clone)]
pub struct Mount {
    /// The volume key.
    pub source: String,
    /// The canonical mount point.
    pub dir: PathBuf,
    /// What readers get in an outage.
    pub on_outage: OnOutage,
    /// How long metadata is believed.
    pub metadata_ttl: Duration,
    /// How far to read ahead, in bytes.
    pub read_ahead_bytes: u64,
}

/// Hands a `/dev/fuse` descriptor to the engine; when this returns the engine serves it (H22).
///
/// # Errors
/// See [`EngineError`].
pub fn serve(run_dir: &Path, mount: &Mount, fuse: OwnedFd) -> Result<u64, EngineError> {
    let request = MountRequest {
        source: mount.source.clone(),
        dir: PathBytes::from(mount.dir.as_path()),
        on_outage: match mount.on_outage {
            OnOutage::Wait => Outage::Wait,
            OnOutage::Eio { after } => Outage::EioAfterMs(milliseconds(after)),
        },
        metadata_ttl_ms: milliseconds(mount.metadata_ttl),
        read_ahead_bytes: mount.read_ahead_bytes,
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
    };
    let reply = Client::connect(run_dir)?.mount(&request, fuse)?;
    Ok(reply.mount_id)
}

/// Has the engine let go of a descriptor that could not be mounted.
///
/// # Errors
/// See [`EngineError`].
pub fn forget(run_dir: &Path, mount_id: u64) -> Result<(), EngineError> {
    Ok(Client::connect(run_dir)?.forget(mount_id)?)
}

/// Whole milliseconds of a span, the longest there is if it is longer.
fn milliseconds(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Runs an engine until its instance has wound down.
///
/// # Errors
/// See [`RunError`].
pub fn run(
    cache_dir: PathBuf,
    run_dir: PathBuf,
    idle_exit_after: Duration,
) -> Result<(), RunError> {
    holdfast_engine::run(EngineConfig {
        cache_dir,
        run_dir,
        idle_exit_after,
    })
}
