//! The life of a daemon: connect, serve until the engine goes away, connect again.
//!
//! Invariant: nothing of one session outlives it. Its tasks have ended and its descriptors are closed before the next
//! connect, so a stale worker never writes into an object that was handed to somebody else (H06).

use std::io;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Resource;

use crate::device::engine_socket::EngineSocket;
use crate::session::Session;
use crate::volumes::Volumes;

/// Shortest pause before connecting again.
const RECONNECT_FIRST: Duration = Duration::from_millis(10);
/// Longest pause before connecting again: small, for readers wait meanwhile.
const RECONNECT_MAX: Duration = Duration::from_millis(500);

/// What a daemon needs to know.
#[derive(Debug, Clone)]
pub struct DaemonConfig {
    /// The engine's device socket.
    pub device_socket: PathBuf,
    /// The instance's run directory; `volumes/` in it says how to reach each volume. The daemon ends when it is gone.
    pub run_dir: PathBuf,
    /// Requests served at the same time: the credits granted. 0 is taken as 1.
    pub workers: usize,
}

impl DaemonConfig {
    /// Requests served at the same time unless told otherwise.
    pub const WORKERS_DEFAULT: usize = 16;

    /// The configuration of an instance with the run directory `run_dir` and everything else by default.
    #[must_use]
    pub fn new(run_dir: PathBuf) -> DaemonConfig {
        DaemonConfig {
            device_socket: run_dir.join("device.sock"),
            run_dir,
            workers: DaemonConfig::WORKERS_DEFAULT,
        }
    }
}

/// Why a daemon could not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The runtime's threads or epoll could not be made.
    #[error("cannot start the runtime: {0}")]
    Runtime(#[source] io::Error),
}

/// Serves the engine at `config.device_socket` until the run directory is gone; blocks. An engine that goes away is
/// awaited with a small back-off, for ever.
///
/// # Errors
/// [`RunError::Runtime`] when the runtime cannot be started.
///
/// # Panics
/// When a worker panicked: a broken invariant ends the process, and its supervisor starts a sound one.
pub fn run(config: DaemonConfig) -> Result<(), RunError> {
    raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(RunError::Runtime)?;
    tell_supervisor();
    runtime.block_on(serve_for_ever(config));
    // A blocking call into a dead network file system would otherwise hold the process.
    runtime.shutdown_background();
    Ok(())
}

/// `READY=1` (sd_notify(3)), before the engine is there: a daemon without an engine is sound and waits. Who dies before
/// this point cannot run at all, which is what the supervisor wants to know.
fn tell_supervisor() {
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        tracing::debug!(%error, "no supervisor is told");
    }
}

/// Two descriptors per open object and one per connection: the usual soft limit of 1024 is too low (H16).
fn raise_descriptor_limit() {
    let mut limit = rustix::process::getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(errno) = rustix::process::setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%errno, "cannot raise the limit of open files");
    }
}

async fn serve_for_ever(config: DaemonConfig) {
    let volumes = Arc::new(Volumes::new(config.run_dir.clone()));
    let credits = u32::try_from(config.workers)
        .ok()
        .and_then(NonZeroU32::new)
        .unwrap_or(NonZeroU32::MIN);
    let mut pause = RECONNECT_FIRST;
    loop {
        match EngineSocket::connect(&config.device_socket, credits).await {
            Ok(device) => {
                pause = RECONNECT_FIRST;
                tracing::info!(device = %config.device_socket.display(), %credits, "session started");
                let ended = Session::new(Arc::new(device), Arc::clone(&volumes), credits)
                    .serve()
                    .await;
                tracing::info!(reason = %ended, "session ended");
            }
            Err(error) => tracing::debug!(%error, "no engine yet"),
        }
        if matches!(config.run_dir.try_exists(), Ok(false)) {
            tracing::info!(run_dir = %config.run_dir.display(), "the run directory is gone: the daemon ends");
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RECONNECT_MAX);
    }
}
