//! FUSE: getting a descriptor, mounting it, unmounting.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use holdfast_fuse::mount::{
    self, FusermountError, MountAccess, MountOptions, UmountError, UmountMode,
};
use rustix::fs::Access;
use rustix::io::Errno;

const DEVICE: &str = "/dev/fuse";
const HELPER: &str = "fusermount3";
/// The largest READ agreed on in the handshake, in KiB; the kernel's own default is 128.
const READ_AHEAD_KB: u32 = 1024;

/// Why FUSE did not do it.
#[derive(Debug, thiserror::Error)]
pub enum FuseError {
    /// The kernel has no FUSE here.
    #[error(
        "there is no /dev/fuse here: load the kernel module (`modprobe fuse` as root), or start the container with --device /dev/fuse"
    )]
    NoDevice,
    /// Nobody lets this user mount.
    #[error(
        "mounting needs root or the program fusermount3, and neither is here: install the package fuse3, or run this as root"
    )]
    NoHelper,
    /// Root without the privilege, as in a container.
    #[error(
        "mount(2) is not permitted here: in a container, start it with --cap-add SYS_ADMIN --device /dev/fuse (and without a seccomp or AppArmor profile that forbids mount)"
    )]
    NotPermitted,
    /// fusermount3 refused `allow_other`.
    #[error(
        "--allow-other is not allowed here: root must put the line user_allow_other into /etc/fuse.conf"
    )]
    AllowOther,
    /// Mounting failed otherwise.
    #[error("cannot mount on {}: {source}", .dir.display())]
    Mount {
        /// Where.
        dir: PathBuf,
        /// Why.
        source: mount::MountError,
    },
    /// The helper failed otherwise.
    #[error("cannot mount on {}: {source}", .dir.display())]
    Helper {
        /// Where.
        dir: PathBuf,
        /// Why.
        source: FusermountError,
    },
    /// `/dev/fuse` is there but cannot be opened.
    #[error("cannot open /dev/fuse: {0}")]
    Open(mount::MountError),
    /// Unmounting failed.
    #[error(transparent)]
    Umount(UmountError),
}

impl FuseError {
    /// Whether unmounting failed because the mount is in use.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        match self {
            Self::Umount(UmountError::Busy) => true,
            // The helper tells by its words alone (strerror of EBUSY).
            Self::Umount(UmountError::Fusermount(FusermountError::Failed { message })) => {
                message.contains("busy")
            }
            Self::Umount(_)
            | Self::NoDevice
            | Self::NoHelper
            | Self::NotPermitted
            | Self::AllowOther
            | Self::Mount { .. }
            | Self::Helper { .. }
            | Self::Open(_) => false,
        }
    }
}

/// What a mount looks like to the kernel.
#[derive(Debug)]
pub struct Options {
    /// The volume key, shown as the source in `df` and `findmnt`.
    pub source: String,
    /// Whether other users may read it.
    pub allow_other: bool,
}

impl Options {
    fn to_mount_options(&self) -> MountOptions {
        let mut options = MountOptions::new(self.source.as_str());
        options.access = if self.allow_other {
            MountAccess::Everybody
        } else {
            MountAccess::Owner
        };
        options
    }
}

/// Whether this process mounts by mount(2) itself; otherwise the helper does it.
#[must_use]
pub fn can_mount_directly() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether mounting can work at all here; told before anything is started.
///
/// # Errors
/// [`FuseError::NoDevice`], [`FuseError::NoHelper`].
pub fn check_available() -> Result<(), FuseError> {
    if !Path::new(DEVICE).exists() {
        return Err(FuseError::NoDevice);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    if can_mount_directly() || std::env::split_paths(&path).any(|dir| is_program(&dir.join(HELPER)))
    {
        Ok(())
    } else {
        Err(FuseError::NoHelper)
    }
}

fn is_program(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, Access::EXEC_OK).is_ok()
}

/// Opens `/dev/fuse`.
///
/// # Errors
/// [`FuseError::Open`].
pub fn open_device() -> Result<OwnedFd, FuseError> {
    mount::open_device().map_err(FuseError::Open)
}

/// Mounts a descriptor that is served already (H22).
///
/// # Errors
/// [`FuseError::NotPermitted`], [`FuseError::Mount`].
pub fn mount_directly(dir: &Path, device: &OwnedFd, options: &Options) -> Result<(), FuseError> {
    mount::mount_direct(dir, device, &options.to_mount_options()).map_err(|source| {
        if source == mount::MountError::Mount(Errno::PERM) {
            FuseError::NotPermitted
        } else {
            FuseError::Mount {
                dir: dir.to_owned(),
                source,
            }
        }
    })
}

/// Has fusermount3 mount, and returns the descriptor, on which INIT waits already.
///
/// # Errors
/// [`FuseError::AllowOther`], [`FuseError::NoHelper`], [`FuseError::Helper`].
pub fn mount_with_helper(dir: &Path, options: &Options) -> Result<OwnedFd, FuseError> {
    mount::mount_with_fusermount(dir, &options.to_mount_options()).map_err(|error| match error {
        FusermountError::Failed { message } if message.contains("user_allow_other") => {
            FuseError::AllowOther
        }
        FusermountError::Run(Errno::NOENT) => FuseError::NoHelper,
        source @ (FusermountError::Run(_)
        | FusermountError::Socket(_)
        | FusermountError::Failed { .. }
        | FusermountError::NoDescriptor
        | FusermountError::Receive(_)) => FuseError::Helper {
            dir: dir.to_owned(),
            source,
        },
    })
}

/// Lets the kernel read further ahead than by default; readers of what is cached gain by it. Best effort: it needs root and
/// sysfs, and nothing depends on it.
pub fn read_ahead_further(dir: &Path) {
    let set = mount::connection_id(dir).and_then(|id| mount::set_read_ahead(id, READ_AHEAD_KB));
    if let Err(error) = set {
        tracing::debug!(%error, "the kernel's read-ahead stays as it is");
    }
}

/// Unmounts, unless it is in use.
///
/// # Errors
/// [`FuseError::Umount`].
pub fn umount(dir: &Path) -> Result<(), FuseError> {
    mount::umount(dir, UmountMode::Now).map_err(FuseError::Umount)
}

/// Takes a mount out of the tree, in use or not.
///
/// # Errors
/// [`FuseError::Umount`].
pub fn detach(dir: &Path) -> Result<(), FuseError> {
    mount::umount(dir, UmountMode::Detach).map_err(FuseError::Umount)
}
