//! Mounting and unmounting, for root by mount(2) and for others by the `fusermount3` helper.
//!
//! Invariants:
//! * Every mount is read-only, nosuid and nodev.
//! * Nothing here asks the mounted file system anything: its server may be dead. (A plain `umount` asks for the root's
//!   attributes; [`umount`] does not.)
//!
//! Implements: fuse(4), mount(2), umount(2), `Documentation/filesystems/fuse/fuse.rst` in the kernel's source.

mod control;
mod fusermount;
mod guard;

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, open, stat};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

pub use control::{
    ConnectionId, ControlError, abort, connection_id, set_read_ahead, waiting_requests,
};
pub use fusermount::{
    FusermountError, mount_with_fusermount, receive_device, spawn_fusermount, wait_for_fusermount,
};
pub use guard::MountGuard;

/// The file system type seen in mountinfo is `fuse.` and this.
pub const SUBTYPE: &str = "holdfast";

/// Who may enter a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MountAccess {
    /// Only the user who mounted.
    Owner,
    /// Everybody, as permission bits allow (`allow_other`).
    Everybody,
}

/// Who checks permission bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PermissionChecks {
    /// The kernel, by mode, owner and group (`default_permissions`); ACCESS is then never sent.
    Kernel,
    /// The file system, by answering ACCESS.
    FileSystem,
}

/// How to mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountOptions {
    /// The source shown in mountinfo and by df(1).
    pub fsname: String,
    /// Default: the owner only.
    pub access: MountAccess,
    /// Default: the kernel.
    pub permission_checks: PermissionChecks,
    /// Owner of the mount; ignored by fusermount3, which takes the caller.
    pub user_id: u32,
    /// Group of the mount; ignored by fusermount3.
    pub group_id: u32,
    /// Largest READ in bytes. Default 1 MiB, as the handshake agrees to.
    pub max_read_bytes: u32,
}

impl MountOptions {
    /// Defaults for a mount shown as `fsname`, owned by the calling user.
    #[must_use]
    pub fn new(fsname: impl Into<String>) -> Self {
        Self {
            fsname: fsname.into(),
            access: MountAccess::Owner,
            permission_checks: PermissionChecks::Kernel,
            user_id: rustix::process::getuid().as_raw(),
            group_id: rustix::process::getgid().as_raw(),
            max_read_bytes: crate::abi::READ_MAX_BYTES as u32,
        }
    }

    /// The options that both ways of mounting have in common.
    fn common(&self) -> String {
        let access = match self.access {
            MountAccess::Owner => "",
            MountAccess::Everybody => ",allow_other",
        };
        let checks = match self.permission_checks {
            PermissionChecks::Kernel => ",default_permissions",
            PermissionChecks::FileSystem => "",
        };
        format!("max_read={}{access}{checks}", self.max_read_bytes)
    }
}

/// Why nothing was mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MountError {
    /// `/dev/fuse` cannot be opened: no module, no permission, no such device in this container.
    #[error("cannot open /dev/fuse: {0}")]
    OpenDevice(Errno),
    /// The mount point cannot be looked at.
    #[error("cannot look at the mount point: {0}")]
    MountPoint(Errno),
    /// The mount point is neither a directory nor a regular file.
    #[error("the mount point is neither a directory nor a regular file")]
    MountPointKind,
    /// The source's name has a NUL byte.
    #[error("the name of the source has a NUL byte")]
    SourceName,
    /// mount(2) failed; EPERM: needs root, use fusermount3.
    #[error("mount(2): {0}")]
    Mount(Errno),
}

/// Opens `/dev/fuse`, blocking, close-on-exec.
///
/// # Errors
/// [`MountError::OpenDevice`].
pub fn open_device() -> Result<OwnedFd, MountError> {
    open("/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).map_err(MountError::OpenDevice)
}

/// Mounts by mount(2), which returns at once: INIT waits in `device` for whoever serves it. The root inode must be of the
/// mount point's kind, a directory as a rule.
///
/// # Errors
/// [`MountError::MountPoint`], [`MountError::MountPointKind`], [`MountError::SourceName`], and [`MountError::Mount`]: EPERM
/// without CAP_SYS_ADMIN, EINVAL when `device` is mounted already, and what else mount(2) says.
pub fn mount_direct(
    dir: &Path,
    device: &impl AsFd,
    options: &MountOptions,
) -> Result<(), MountError> {
    let mode = stat(dir).map_err(MountError::MountPoint)?.st_mode;
    let rootmode = match FileType::from_raw_mode(mode) {
        FileType::Directory => "40000",
        FileType::RegularFile => "100000",
        FileType::Symlink
        | FileType::Fifo
        | FileType::Socket
        | FileType::CharacterDevice
        | FileType::BlockDevice
        | FileType::Unknown => return Err(MountError::MountPointKind),
    };
    let data = format!(
        "fd={},rootmode={rootmode},user_id={},group_id={},{}",
        device.as_fd().as_raw_fd(),
        options.user_id,
        options.group_id,
        options.common()
    );
    let data = CString::new(data).map_err(|_| MountError::SourceName)?;
    let source = CString::new(options.fsname.as_str()).map_err(|_| MountError::SourceName)?;
    let fs_type = format!("fuse.{SUBTYPE}");
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
    mount(
        source.as_c_str(),
        dir,
        fs_type.as_str(),
        flags,
        data.as_c_str(),
    )
    .map_err(MountError::Mount)
}

/// How to unmount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UmountMode {
    /// Refused while the mount is in use.
    Now,
    /// Taken out of the tree at once, ended when the last user is gone (`MNT_DETACH`).
    Detach,
}

/// Why nothing was unmounted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UmountError {
    /// It is in use.
    #[error("the mount is in use")]
    Busy,
    /// Nothing is mounted there.
    #[error("nothing is mounted there")]
    NotMounted,
    /// umount2(2) failed otherwise.
    #[error("umount2(2): {0}")]
    Umount(Errno),
    /// Without root, `fusermount3 -u` failed.
    #[error(transparent)]
    Fusermount(#[from] FusermountError),
}

/// Unmounts by umount2(2), or where that needs root by `fusermount3 -u`. The server is not asked anything.
///
/// # Errors
/// * [`UmountError::Busy`], [`UmountError::NotMounted`], [`UmountError::Umount`] by what umount2(2) says.
/// * [`UmountError::Fusermount`]: not root, and the helper failed.
pub fn umount(dir: &Path, mode: UmountMode) -> Result<(), UmountError> {
    let flags = match mode {
        UmountMode::Now => UnmountFlags::NOFOLLOW,
        UmountMode::Detach => UnmountFlags::NOFOLLOW | UnmountFlags::DETACH,
    };
    match unmount(dir, flags) {
        Ok(()) => Ok(()),
        Err(Errno::BUSY) => Err(UmountError::Busy),
        Err(Errno::INVAL) => Err(UmountError::NotMounted),
        Err(Errno::PERM) => Ok(fusermount::umount_with_fusermount(dir, mode)?),
        Err(errno) => Err(UmountError::Umount(errno)),
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
