//! Descriptors that outlive this process, by systemd's descriptor-store protocol: whoever started
//! the engine (the keeper, or systemd itself) holds them and hands them to the next engine.
//!
//! Names: `device` (the listening device socket), `control` (the listening control socket) and
//! `fuse.<mount id>` (a mount's `/dev/fuse`). See sd_pid_notify_with_fds(3) and
//! sd_listen_fds_with_names(3).

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::pipe::{PipeFlags, pipe_with};
use sd_notify::NotifyState;

/// How long the holder may take to confirm that it has processed what was sent.
const BARRIER_WITHIN: Duration = Duration::from_secs(20);

/// Why a descriptor could not be stored.
#[derive(Debug, thiserror::Error)]
pub enum StoreDescriptorError {
    /// The notification socket did not take the message.
    #[error("sending descriptor {name:?} to the keeper: {source}")]
    Send {
        /// The descriptor's name.
        name: String,
        /// The system's error.
        source: io::Error,
    },
    /// The holder did not confirm in time.
    #[error("the keeper did not confirm descriptor {name:?} within {BARRIER_WITHIN:?}")]
    NotConfirmed {
        /// The descriptor's name.
        name: String,
    },
}

/// The descriptors this process was started with, by name.
#[derive(Debug, Default)]
pub struct Inherited {
    by_name: HashMap<String, OwnedFd>,
}

impl Inherited {
    /// Takes the descriptors handed over at start. To be called once, first of all.
    ///
    /// # Errors
    /// When `LISTEN_FDS` and its kin are there but malformed, or a descriptor is not open.
    pub fn take() -> io::Result<Self> {
        let mut by_name = HashMap::new();
        let handed = sd_listen_fds::get().map_err(|error| io::Error::other(error.to_string()))?;
        for (name, fd) in handed {
            let fd = fd.into_std();
            // Handed over without it, since exec had to let them through.
            fcntl_setfd(&fd, FdFlags::CLOEXEC)?;
            by_name.insert(name.unwrap_or_default(), fd);
        }
        Ok(Self { by_name })
    }

    /// Removes and returns the descriptor called `name`.
    pub fn remove(&mut self, name: &str) -> Option<OwnedFd> {
        self.by_name.remove(name)
    }

    /// Removes and returns the descriptors of mounts, with their numbers.
    pub fn remove_mounts(&mut self) -> Vec<(u64, OwnedFd)> {
        let mut mounts = Vec::new();
        let names: Vec<String> = self.by_name.keys().cloned().collect();
        for name in names {
            if let Some(id) = name.strip_prefix("fuse.").and_then(|id| id.parse().ok())
                && let Some(fd) = self.by_name.remove(&name)
            {
                mounts.push((id, fd));
            }
        }
        mounts.sort_by_key(|(id, _)| *id);
        mounts
    }
}

/// The name under which a mount's `/dev/fuse` is stored.
#[must_use]
pub fn mount_name(id: u64) -> String {
    format!("fuse.{id}")
}

/// Has the keeper hold a copy of `fd` under `name`; returns when it has it (H22).
/// Without a keeper (`NOTIFY_SOCKET` unset) nothing happens.
///
/// # Errors
/// See [`StoreDescriptorError`].
pub fn store(name: &str, fd: impl AsFd) -> Result<(), StoreDescriptorError> {
    if !has_keeper() {
        return Ok(());
    }
    let state = [NotifyState::FdStore, NotifyState::FdName(name)];
    sd_notify::notify_with_fds(&state, &[fd.as_fd()]).map_err(|source| {
        StoreDescriptorError::Send {
            name: name.to_owned(),
            source,
        }
    })?;
    barrier(name)
}

/// Has the keeper forget the descriptor called `name`. Failure costs the keeper a descriptor
/// until the instance ends, so it is only logged.
pub fn remove(name: &str) {
    if has_keeper()
        && let Err(error) =
            sd_notify::notify(&[NotifyState::FdStoreRemove, NotifyState::FdName(name)])
    {
        tracing::warn!(name, %error, "the keeper was not told to drop a descriptor");
    }
}

/// Tells the keeper that this engine serves.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// Tells the keeper that this engine ends on purpose and wants no successor.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(state: &[NotifyState<'_>]) {
    if has_keeper()
        && let Err(error) = sd_notify::notify(state)
    {
        tracing::warn!(%error, "the keeper could not be told");
    }
}

fn has_keeper() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// Waits until everything sent before was processed: the holder closes the pipe it is sent.
fn barrier(name: &str) -> Result<(), StoreDescriptorError> {
    let failed = |source: io::Error| StoreDescriptorError::Send {
        name: name.to_owned(),
        source,
    };
    let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC).map_err(|error| failed(error.into()))?;
    sd_notify::notify_with_fds(&[NotifyState::Custom("BARRIER=1")], &[theirs.as_fd()])
        .map_err(failed)?;
    drop(theirs);
    let timeout = Timespec {
        tv_sec: i64::try_from(BARRIER_WITHIN.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: 0,
    };
    let mut fds = [PollFd::new(&ours, PollFlags::IN)];
    match poll(&mut fds, Some(&timeout)) {
        Ok(0) => Err(StoreDescriptorError::NotConfirmed {
            name: name.to_owned(),
        }),
        Ok(_) => Ok(()),
        Err(error) => Err(failed(error.into())),
    }
}
