//! `holdfast umount`: works while everything is dead, because it asks no process of Holdfast for
//! anything: it looks into the mount table and calls umount2(2), which asks the mount for nothing
//! either (H20), or fusermount3 without root.

use std::io;
use std::path::{Path, PathBuf};

use crate::adapter::fuse;
use crate::cli::UmountArgs;
use crate::mount::target;
use crate::mountinfo;

/// Why a directory was not unmounted.
#[derive(Debug, thiserror::Error)]
pub enum UmountError {
    /// It cannot be reached.
    #[error("cannot unmount {}: {source}", .path.display())]
    Unreachable {
        /// As given.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The table of mounts cannot be read.
    #[error("cannot read /proc/self/mountinfo: {0}")]
    Mountinfo(io::Error),
    /// Nothing of ours is mounted there.
    #[error("{} is not a Holdfast mount", .0.display())]
    NotMounted(PathBuf),
    /// Programs have files open in it or use it as their current directory.
    #[error(
        "{dir} is in use (`fuser -m {dir}` shows by whom); `holdfast umount --lazy {dir}` detaches it anyway",
        dir = .0.display()
    )]
    Busy(PathBuf),
    /// The kernel or fusermount3 refused.
    #[error("cannot unmount {}: {source}", .path.display())]
    Refused {
        /// Where.
        path: PathBuf,
        /// Why.
        source: fuse::FuseError,
    },
    /// More than one directory was given and some failed; each was reported.
    #[error("{failed} of {all} were not unmounted")]
    Some {
        /// How many failed.
        failed: usize,
        /// How many were given.
        all: usize,
    },
}

/// How hard to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Only if nobody uses it.
    Plain,
    /// Detached from the directory now, ended when the last user lets go.
    Lazy,
}

/// Runs the command; goes on after a failure.
///
/// # Errors
/// See [`UmountError`]; the error of the only directory, or [`UmountError::Some`].
pub fn run(args: &UmountArgs) -> Result<(), UmountError> {
    let how = if args.lazy { How::Lazy } else { How::Plain };
    let mut errors: Vec<UmountError> = args
        .dirs
        .iter()
        .filter_map(|dir| one(dir, how).err())
        .collect();
    match (errors.len(), args.dirs.len()) {
        (0, _) => Ok(()),
        (1, 1) => Err(errors.remove(0)),
        (failed, all) => {
            for error in errors {
                crate::output::remark(&error.to_string());
            }
            Err(UmountError::Some { failed, all })
        }
    }
}

fn one(dir: &Path, how: How) -> Result<(), UmountError> {
    let path = target::resolve(dir).map_err(|source| UmountError::Unreachable {
        path: dir.to_owned(),
        source,
    })?;
    let mounts = mountinfo::read().map_err(UmountError::Mountinfo)?;
    match mountinfo::mounted_on(&mounts, &path) {
        Some(mount) if mount.is_holdfast() => umount(&path, how),
        Some(_) | None => Err(UmountError::NotMounted(path)),
    }
}

/// Unmounts a canonical mount point. A mount that is dead is detached even if files are open in it:
/// nobody can use them any more.
///
/// # Errors
/// [`UmountError::Busy`] (plain only), [`UmountError::Refused`].
pub fn umount(path: &Path, how: How) -> Result<(), UmountError> {
    if how == How::Lazy {
        return detach(path);
    }
    match fuse::umount(path) {
        Ok(()) => Ok(()),
        Err(error) if !error.is_busy() => Err(UmountError::Refused {
            path: path.to_owned(),
            source: error,
        }),
        Err(_) if target::is_dead(path) => detach(path),
        Err(_) => Err(UmountError::Busy(path.to_owned())),
    }
}

/// Detaches whatever is mounted on a canonical path, in use or not.
///
/// # Errors
/// [`UmountError::Refused`].
pub fn detach(path: &Path) -> Result<(), UmountError> {
    fuse::detach(path).map_err(|source| UmountError::Refused {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_without_our_mount_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(
            one(dir.path(), How::Plain),
            Err(UmountError::NotMounted(_))
        ));
        assert!(matches!(
            one(Path::new("/proc"), How::Lazy),
            Err(UmountError::NotMounted(_))
        ));
        assert!(matches!(
            one(&dir.path().join("x"), How::Plain),
            Err(UmountError::Unreachable { .. })
        ));
    }
}
