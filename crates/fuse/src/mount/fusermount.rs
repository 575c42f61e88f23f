//! The set-user-id helper `fusermount3`, which mounts for users that may not.
//!
//! It opens `/dev/fuse`, mounts, and sends the descriptor over the socket whose number is in `_FUSE_COMMFD`. Whoever owns
//! the other end gets the descriptor: give a socket of a process that outlives this one, and a crash in between leaves no
//! dead mount.
//!
//! Invariant: the helper inherits no descriptor but its three standard ones; the socket is its standard input.
//!
//! Implements: libfuse's `util/fusermount.c` and `lib/mount.c` (protocol), fusermount3(1).

use std::io::{IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType,
    recvmsg, socketpair,
};

use super::{MountOptions, SUBTYPE, UmountMode};

const HELPER: &str = "fusermount3";

/// Longest message of the helper that is kept, in bytes.
const MESSAGE_MAX_BYTES: u64 = 4096;

/// Why the helper did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FusermountError {
    /// It is not installed, or cannot be run.
    #[error("cannot run fusermount3 (package fuse3): {0}")]
    Run(Errno),
    /// No socket pair.
    #[error("cannot make a socket pair: {0}")]
    Socket(Errno),
    /// It failed and said so.
    #[error("fusermount3 failed: {message}")]
    Failed {
        /// What it wrote to its standard error.
        message: String,
    },
    /// It ended without sending a descriptor, or the descriptor was lost (no room for descriptors in this process).
    #[error("fusermount3 sent no descriptor")]
    NoDescriptor,
    /// The socket failed.
    #[error("cannot receive from fusermount3: {0}")]
    Receive(Errno),
}

fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// Mounts `dir` and returns the descriptor of the mount, on which INIT already waits.
///
/// # Errors
/// Every [`FusermountError`].
pub fn mount_with_fusermount(
    dir: &Path,
    options: &MountOptions,
) -> Result<OwnedFd, FusermountError> {
    let (ours, theirs) = socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(FusermountError::Socket)?;
    let helper = spawn_fusermount(dir, options, theirs)?;
    let device = receive_device(&ours);
    // Its own words say more than a missing descriptor.
    wait_for_fusermount(helper)?;
    device
}

/// Starts the helper with `comm`, one end of a Unix stream socket, to which it sends the descriptor. Collect it with
/// [`wait_for_fusermount`]; whoever holds the other end calls [`receive_device`].
///
/// # Errors
/// [`FusermountError::Run`].
pub fn spawn_fusermount(
    dir: &Path,
    options: &MountOptions,
    comm: OwnedFd,
) -> Result<Child, FusermountError> {
    Command::new(HELPER)
        .arg("-o")
        .arg(helper_options(options))
        .arg("--")
        .arg(dir)
        .env("_FUSE_COMMFD", "0")
        .stdin(Stdio::from(comm))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| FusermountError::Run(errno_of(&error)))
}

/// Waits until the helper has ended.
///
/// # Errors
/// [`FusermountError::Failed`] with its words when it failed, [`FusermountError::Run`] when it cannot be waited for.
pub fn wait_for_fusermount(mut helper: Child) -> Result<(), FusermountError> {
    let mut message = Vec::new();
    if let Some(stderr) = helper.stderr.take() {
        // Without its words there is still its status.
        let _ = stderr.take(MESSAGE_MAX_BYTES).read_to_end(&mut message);
    }
    let status = helper
        .wait()
        .map_err(|error| FusermountError::Run(errno_of(&error)))?;
    if status.success() {
        return Ok(());
    }
    Err(FusermountError::Failed {
        message: String::from_utf8_lossy(&message).trim().to_owned(),
    })
}

/// Receives the descriptor that the helper sends.
///
/// # Errors
/// [`FusermountError::NoDescriptor`], [`FusermountError::Receive`].
pub fn receive_device(comm: &impl AsFd) -> Result<OwnedFd, FusermountError> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0; 1];
    loop {
        let parts = &mut [IoSliceMut::new(&mut byte)];
        match recvmsg(comm, parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Ok(_) => break,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(FusermountError::Receive(errno)),
        }
    }
    ancillary
        .drain()
        .find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            RecvAncillaryMessage::ScmCredentials(_) | _ => None,
        })
        .ok_or(FusermountError::NoDescriptor)
}

/// `fusermount3 -u`.
pub(super) fn umount_with_fusermount(dir: &Path, mode: UmountMode) -> Result<(), FusermountError> {
    let mut command = Command::new(HELPER);
    command.arg("-u");
    match mode {
        UmountMode::Now => {}
        UmountMode::Detach => {
            command.arg("-z");
        }
    }
    let helper = command
        .arg("--")
        .arg(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| FusermountError::Run(errno_of(&error)))?;
    wait_for_fusermount(helper)
}

/// The helper's `-o`: commas and backslashes of the name are escaped by a backslash.
pub(super) fn helper_options(options: &MountOptions) -> String {
    let mut fsname = String::with_capacity(options.fsname.len());
    for character in options.fsname.chars() {
        if matches!(character, ',' | '\\') {
            fsname.push('\\');
        }
        fsname.push(character);
    }
    format!(
        "ro,nosuid,nodev,subtype={SUBTYPE},{},fsname={fsname}",
        options.common()
    )
}
