//! Directories that belong to this user alone: mode 0700, owned by the effective user, reached by
//! no symbolic link of somebody else.
//!
//! The sockets in them give control over mounts and the volume files hold secrets, so a directory
//! that another user made (in `/tmp`, say) is refused, never used and never repaired.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

/// Why a directory cannot be private.
#[derive(Debug, thiserror::Error)]
pub enum PrivateDirError {
    /// It cannot be made or opened.
    #[error("cannot use the directory {}: {source}", .path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something that is no directory has its name.
    #[error("{} is not a directory (a symbolic link is not followed here); remove it, or set HOLDFAST_RUN_DIR", .0.display())]
    NotADirectory(PathBuf),
    /// Another user made it.
    #[error("the directory {} belongs to user {owner}, not to you; remove it, or set HOLDFAST_RUN_DIR", .path.display())]
    ForeignOwner {
        /// Which one.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// Others may enter or change it.
    #[error("the directory {} has mode {mode:04o}, so others can reach what is in it; run: chmod 700 {}", .path.display(), .path.display())]
    Open {
        /// Which one.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Others may exchange it for one of theirs.
    #[error("{} can be changed by others, so nothing in it is safe; set HOLDFAST_RUN_DIR to a directory inside one of your own", .0.display())]
    OpenParent(PathBuf),
}

/// Makes `path` (mode 0700; its parent must exist) or checks the one that is there.
///
/// # Errors
/// See [`PrivateDirError`]: not ours, open to others, no directory, or the system refused.
pub fn ensure(path: &Path) -> Result<OwnedFd, PrivateDirError> {
    let io = |errno: Errno| PrivateDirError::Io {
        path: path.to_owned(),
        source: errno.into(),
    };
    check_parent(path)?;
    match rustix::fs::mkdir(path, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(io(errno)),
    }
    check(path)
}

/// Opens a directory that is private already.
///
/// # Errors
/// As [`ensure`], and [`PrivateDirError::Io`] if it does not exist.
pub fn check(path: &Path) -> Result<OwnedFd, PrivateDirError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(dir) => dir,
        Err(Errno::NOTDIR | Errno::LOOP) => {
            return Err(PrivateDirError::NotADirectory(path.to_owned()));
        }
        // Who may not even open it is not its owner with mode 0700; say whose it is if it can be known.
        Err(Errno::ACCESS) => return Err(denied(path)),
        Err(errno) => {
            return Err(PrivateDirError::Io {
                path: path.to_owned(),
                source: errno.into(),
            });
        }
    };
    let stat = rustix::fs::fstat(&dir).map_err(|errno| PrivateDirError::Io {
        path: path.to_owned(),
        source: errno.into(),
    })?;
    judge(path, &stat, rustix::process::geteuid().as_raw())?;
    Ok(dir)
}

/// The rule itself, for the user `me`.
fn judge(path: &Path, stat: &Stat, me: u32) -> Result<(), PrivateDirError> {
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Err(PrivateDirError::NotADirectory(path.to_owned()));
    }
    if stat.st_uid != me {
        return Err(PrivateDirError::ForeignOwner {
            path: path.to_owned(),
            owner: stat.st_uid,
        });
    }
    let mode = stat.st_mode & 0o7777;
    if mode & 0o077 != 0 {
        return Err(PrivateDirError::Open {
            path: path.to_owned(),
            mode,
        });
    }
    Ok(())
}

/// A parent that others may write, unless it is sticky like `/tmp`, lets them exchange the child
/// between our check and our use.
fn check_parent(path: &Path) -> Result<(), PrivateDirError> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => return Ok(()),
    };
    let stat = rustix::fs::stat(parent).map_err(|errno| PrivateDirError::Io {
        path: parent.to_owned(),
        source: errno.into(),
    })?;
    let me = rustix::process::geteuid().as_raw();
    let writable_by_others = stat.st_mode & 0o022 != 0 && stat.st_mode & 0o1000 == 0;
    if writable_by_others || (stat.st_uid != me && stat.st_uid != 0) {
        return Err(PrivateDirError::OpenParent(parent.to_owned()));
    }
    Ok(())
}

fn denied(path: &Path) -> PrivateDirError {
    match rustix::fs::lstat(path) {
        Ok(stat) if stat.st_uid != rustix::process::geteuid().as_raw() => {
            PrivateDirError::ForeignOwner {
                path: path.to_owned(),
                owner: stat.st_uid,
            }
        }
        _ => PrivateDirError::Io {
            path: path.to_owned(),
            source: Errno::ACCESS.into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_new_directory_is_made_private_whatever_the_umask() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("run");
        ensure(&dir).unwrap();
        assert_eq!(
            fs::metadata(&dir).unwrap().permissions().mode() & 0o7777,
            0o700
        );
        ensure(&dir).unwrap();
    }

    #[test]
    fn a_directory_open_to_group_or_world_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("run");
        fs::create_dir(&dir).unwrap();
        for mode in [0o750, 0o705, 0o777, 0o720, 0o701] {
            set_mode(&dir, mode);
            assert!(
                matches!(ensure(&dir), Err(PrivateDirError::Open { .. })),
                "{mode:o} was accepted"
            );
        }
        set_mode(&dir, 0o700);
        ensure(&dir).unwrap();
    }

    #[test]
    fn a_symbolic_link_or_a_file_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("target");
        fs::create_dir(&target).unwrap();
        set_mode(&target, 0o700);
        let link = root.path().join("link");
        symlink(&target, &link).unwrap();
        assert!(matches!(
            ensure(&link),
            Err(PrivateDirError::NotADirectory(_))
        ));
        let file = root.path().join("file");
        fs::write(&file, b"").unwrap();
        assert!(matches!(
            ensure(&file),
            Err(PrivateDirError::NotADirectory(_))
        ));
    }

    #[test]
    fn a_foreign_directory_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("run");
        let stat = rustix::fs::fstat(ensure(&dir).unwrap()).unwrap();
        let me = stat.st_uid;
        judge(&dir, &stat, me).unwrap();
        let error = judge(&dir, &stat, me + 1).unwrap_err();
        assert!(matches!(error, PrivateDirError::ForeignOwner { owner, .. } if owner == me));
    }

    #[test]
    fn a_parent_that_others_can_change_is_refused_unless_sticky() {
        let root = tempfile::tempdir().unwrap();
        let parent = root.path().join("parent");
        fs::create_dir(&parent).unwrap();
        set_mode(&parent, 0o777);
        assert!(matches!(
            ensure(&parent.join("run")),
            Err(PrivateDirError::OpenParent(_))
        ));
        set_mode(&parent, 0o1777);
        ensure(&parent.join("run")).unwrap();
    }
}
