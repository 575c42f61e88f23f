//! What the kernel shows of a connection outside its descriptor: fusectl and the backing device's read-ahead.
//!
//! Invariant: nothing here waits for the file system's server; all of it works on a mount whose server is dead.
//!
//! Implements: `fs/fuse/control.c`, `Documentation/ABI/testing/sysfs-class-bdi` of the kernel's source.

use std::fs::{read_to_string, write};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags, openat, statfs, statx};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

const FUSECTL_DIR: &str = "/sys/fs/fuse/connections";

/// `FUSE_CTL_SUPER_MAGIC` of `fs/fuse/control.c`.
const FUSECTL_MAGIC: u64 = 0x6573_5543;

/// The number of a connection: the minor number of the mount's device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(u32);

impl ConnectionId {
    /// The number.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }
}

/// Why the kernel's controls could not be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// The mount point cannot be looked at.
    #[error("cannot look at the mount point: {0}")]
    MountPoint(Errno),
    /// What is there lies on a block device: no FUSE mount of ours.
    #[error("this is not a FUSE mount")]
    NotFuse,
    /// fusectl is not mounted on `/sys/fs/fuse/connections`, and we may not mount it for ourselves.
    #[error("fusectl is not mounted and cannot be: {0}")]
    Fusectl(Errno),
    /// The file of this connection cannot be used: ENOENT when it has ended.
    #[error("cannot use the control file of FUSE connection {id}: {errno}", id = .id.0)]
    File {
        /// The connection.
        id: ConnectionId,
        /// What went wrong.
        errno: Errno,
    },
}

/// The connection of the mount at `dir`.
///
/// # Errors
/// [`ControlError::MountPoint`], [`ControlError::NotFuse`].
pub fn connection_id(dir: &Path) -> Result<ConnectionId, ControlError> {
    // DONT_SYNC and no field asked for: answered by the kernel alone.
    let flags = AtFlags::STATX_DONT_SYNC | AtFlags::NO_AUTOMOUNT | AtFlags::SYMLINK_NOFOLLOW;
    let stat = statx(CWD, dir, flags, StatxFlags::empty()).map_err(ControlError::MountPoint)?;
    if stat.stx_dev_major != 0 {
        return Err(ControlError::NotFuse);
    }
    Ok(ConnectionId(stat.stx_dev_minor))
}

/// Ends a connection: every waiting request fails (ECONNABORTED), every later one too (ENOTCONN).
///
/// # Errors
/// [`ControlError::Fusectl`], [`ControlError::File`].
pub fn abort(id: ConnectionId) -> Result<(), ControlError> {
    let file = open_control(id, "abort", OFlags::WRONLY)?;
    rustix::io::write(&file, b"1")
        .map(drop)
        .map_err(|errno| ControlError::File { id, errno })
}

/// How many requests of a connection wait for the server or its answer.
///
/// # Errors
/// [`ControlError::Fusectl`], [`ControlError::File`] (EIO when it is no number).
pub fn waiting_requests(id: ConnectionId) -> Result<u64, ControlError> {
    let file = open_control(id, "waiting", OFlags::RDONLY)?;
    let mut text = [0; 32];
    let len =
        rustix::io::read(&file, &mut text).map_err(|errno| ControlError::File { id, errno })?;
    std::str::from_utf8(&text[..len])
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .ok_or(ControlError::File {
            id,
            errno: Errno::IO,
        })
}

fn open_control(id: ConnectionId, name: &str, flags: OFlags) -> Result<OwnedFd, ControlError> {
    let dir = open_fusectl().map_err(ControlError::Fusectl)?;
    openat(
        &dir,
        format!("{}/{name}", id.0),
        flags | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|errno| ControlError::File { id, errno })
}

/// fusectl where it is mounted, or else a mount of it that no path leads to and that ends with its descriptor.
fn open_fusectl() -> Result<OwnedFd, Errno> {
    let is_fusectl = statfs(FUSECTL_DIR).is_ok_and(|fs| fs.f_type as u64 == FUSECTL_MAGIC);
    if is_fusectl {
        return rustix::fs::open(
            FUSECTL_DIR,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        );
    }
    let context = fsopen("fusectl", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    )
}

/// Sets the read-ahead of a mount, in KiB, after the handshake (which can only lower it). The kernel's READs follow it up to
/// the largest READ agreed on. Needs root. Returns the value it had.
///
/// # Errors
/// [`ControlError::File`]: EACCES without root, ENOENT without sysfs.
pub fn set_read_ahead(id: ConnectionId, read_ahead_kb: u32) -> Result<u32, ControlError> {
    let path = format!("/sys/class/bdi/0:{}/read_ahead_kb", id.0);
    let failed = |error: std::io::Error| ControlError::File {
        id,
        errno: Errno::from_io_error(&error).unwrap_or(Errno::IO),
    };
    let before = read_to_string(&path).map_err(failed)?;
    write(&path, read_ahead_kb.to_string()).map_err(failed)?;
    before.trim().parse().map_err(|_| ControlError::File {
        id,
        errno: Errno::IO,
    })
}
