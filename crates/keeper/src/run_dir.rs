//! The run directory: 0700, ours, and ruled by one keeper at a time.
//!
//! Invariant: while a [`RunDir`] lives, its process alone holds the directory's flock(2), so whatever sockets lie in it
//! are this keeper's or a dead one's.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::io::Errno;

/// Longest path that fits a Unix socket's address with its NUL, bytes (`sun_path`, unix(7)).
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// A locked run directory.
#[derive(Debug)]
pub(crate) struct RunDir {
    path: PathBuf,
    _lock: File,
}

impl RunDir {
    /// Makes the directory if it is absent (0700, with its parents) and locks it.
    ///
    /// # Errors
    /// See [`RunDirError`].
    pub(crate) fn open(path: &Path) -> Result<RunDir, RunDirError> {
        let io = |source| RunDirError::Io {
            path: path.to_owned(),
            source,
        };
        let path = std::path::absolute(path).map_err(io)?;
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .map_err(io)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let lock = File::from(open(&path, flags, Mode::empty()).map_err(|errno| io(errno.into()))?);
        let metadata = lock.metadata().map_err(io)?;
        if metadata.uid() != rustix::process::geteuid().as_raw() || metadata.mode() & 0o077 != 0 {
            return Err(RunDirError::NotPrivate { path });
        }
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(RunDir { path, _lock: lock }),
            Err(Errno::WOULDBLOCK) => Err(RunDirError::AlreadyRunning { path }),
            Err(errno) => Err(io(errno.into())),
        }
    }

    /// The path of a socket in the directory, with what a dead keeper may have left there removed.
    ///
    /// # Errors
    /// [`RunDirError::PathTooLong`]; [`RunDirError::Io`] if the leftover cannot be removed.
    pub(crate) fn socket_path(&self, name: &str) -> Result<PathBuf, RunDirError> {
        let path = self.path.join(name);
        if path.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
            return Err(RunDirError::PathTooLong { path });
        }
        match std::fs::remove_file(&path) {
            Ok(()) => Ok(path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(path),
            Err(source) => Err(RunDirError::Io { path, source }),
        }
    }
}

/// Why a run directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RunDirError {
    /// It cannot be made, opened or locked, or a leftover in it cannot be removed.
    #[error("run directory {}: {source}", path.display())]
    Io {
        /// The directory or the leftover.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It belongs to another user or others may enter it (it must be 0700 and ours).
    #[error("run directory {} is not private: it must be ours with mode 0700", path.display())]
    NotPrivate {
        /// The directory.
        path: PathBuf,
    },
    /// Another keeper rules it.
    #[error("another keeper runs in {}", path.display())]
    AlreadyRunning {
        /// The directory.
        path: PathBuf,
    },
    /// A socket's path in it would be longer than the 107 bytes of a Unix socket's address.
    #[error("{} is too long for a socket's address (107 bytes)", path.display())]
    PathTooLong {
        /// The socket's path.
        path: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn h24_a_second_keeper_is_refused_until_the_first_is_gone() {
        let parent = tempfile::tempdir().expect("temporary directory");
        let path = parent.path().join("a/b");
        let first = RunDir::open(&path).expect("first");
        assert!(matches!(
            RunDir::open(&path),
            Err(RunDirError::AlreadyRunning { .. })
        ));
        drop(first);
        RunDir::open(&path).expect("after the first");
    }

    #[test]
    fn a_directory_open_to_others_is_refused() {
        let parent = tempfile::tempdir().expect("temporary directory");
        let path = parent.path().join("run");
        std::fs::create_dir(&path).expect("mkdir");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o750)).expect("chmod");
        assert!(matches!(
            RunDir::open(&path),
            Err(RunDirError::NotPrivate { .. })
        ));
    }

    #[test]
    fn a_path_too_long_for_a_socket_is_told_at_once() {
        let parent = tempfile::tempdir().expect("temporary directory");
        let run_dir = RunDir::open(&parent.path().join("x".repeat(120)))
            .expect("the directory itself is fine");
        assert!(matches!(
            run_dir.socket_path("notify.sock"),
            Err(RunDirError::PathTooLong { .. })
        ));
    }
}
