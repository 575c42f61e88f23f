//! The two locks of an instance, both flock(2), so that a death of any kind frees them.
//!
//! * `<run root>/<id>.start.lock`: held by who starts or cleans the instance, briefly. It lies
//!   beside the run directory, because the run directory itself is made and removed under it.
//! * `<run dir>/keeper.lock`: held by the keeper for its life. Its descriptor is close-on-exec, so
//!   that no child keeps a dead keeper's lock.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::Instance;

const KEEPER_LOCK_NAME: &str = "keeper.lock";
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// Why a lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Its file cannot be opened or locked.
    #[error("cannot lock {}: {source}", .path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody held it all the time.
    #[error(
        "another holdfast has been starting or cleaning this instance for {} s and holds {}; look at it with `fuser {}`",
        .waited.as_secs(), .path.display(), .path.display()
    )]
    Busy {
        /// Which file.
        path: PathBuf,
        /// How long was waited.
        waited: Duration,
    },
}

/// The right to start or clean an instance.
#[derive(Debug)]
pub struct StartLock {
    file: OwnedFd,
    path: PathBuf,
}

impl StartLock {
    /// Waits at most `patience` for the lock.
    ///
    /// # Errors
    /// [`LockError::Busy`] when time is up, [`LockError::Io`] when the file cannot be used.
    pub fn acquire(instance: &Instance, patience: Duration) -> Result<Self, LockError> {
        let path = instance
            .run_root
            .join(format!("{}.start.lock", instance.id.as_str()));
        let start = Instant::now();
        loop {
            if let Some(file) = try_lock(&path)? {
                return Ok(Self { file, path });
            }
            if start.elapsed() >= patience {
                return Err(LockError::Busy {
                    path,
                    waited: patience,
                });
            }
            std::thread::sleep(LOOK_AGAIN_AFTER);
        }
    }

    /// Removes the lock's file with the lock. Safe because every taker checks, once it has the
    /// lock, that its file still has its name.
    pub fn remove(self) {
        let _ = std::fs::remove_file(&self.path);
        drop(self.file);
    }
}

/// The mark of a living keeper.
#[derive(Debug)]
pub struct KeeperLock {
    _file: OwnedFd,
}

impl KeeperLock {
    /// Takes the lock for the calling keeper, waiting at most `patience` (somebody may be looking
    /// whether it is held).
    ///
    /// # Errors
    /// [`LockError::Busy`] if another keeper lives, [`LockError::Io`] if the file cannot be used.
    pub fn acquire(run_dir: &Path, patience: Duration) -> Result<Self, LockError> {
        let path = run_dir.join(KEEPER_LOCK_NAME);
        let start = Instant::now();
        loop {
            if let Some(file) = try_lock(&path)? {
                return Ok(Self { _file: file });
            }
            if start.elapsed() >= patience {
                return Err(LockError::Busy {
                    path,
                    waited: patience,
                });
            }
            std::thread::sleep(LOOK_AGAIN_AFTER);
        }
    }

    /// Whether a keeper holds the lock of `run_dir` now.
    #[must_use]
    pub fn is_held(run_dir: &Path) -> bool {
        let Ok(file) = File::open(run_dir.join(KEEPER_LOCK_NAME)) else {
            return false;
        };
        // Shared, so that two lookers do not take each other for a keeper.
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK)
    }
}

/// One try; none if somebody else has it, or had it and removed the file.
fn try_lock(path: &Path) -> Result<Option<OwnedFd>, LockError> {
    let io = |errno: Errno| LockError::Io {
        path: path.to_owned(),
        source: errno.into(),
    };
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR).map_err(io)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK | Errno::INTR) => return Ok(None),
        Err(errno) => return Err(io(errno)),
    }
    let mine = rustix::fs::fstat(&file).map_err(io)?;
    match rustix::fs::stat(path) {
        Ok(named) if (named.st_dev, named.st_ino) == (mine.st_dev, mine.st_ino) => Ok(Some(file)),
        Ok(_) | Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(io(errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(root: &Path) -> Instance {
        let instance = Instance::of_cache_dir(root, Path::new("/c")).unwrap();
        instance.create_run_dir().unwrap();
        instance
    }

    #[test]
    fn h24_only_one_starter_holds_the_lock() {
        let root = tempfile::tempdir().unwrap();
        let instance = instance(root.path());
        let held = StartLock::acquire(&instance, Duration::ZERO).unwrap();
        let second = StartLock::acquire(&instance, Duration::from_millis(50));
        assert!(matches!(second, Err(LockError::Busy { .. })));
        drop(held);
        StartLock::acquire(&instance, Duration::ZERO).unwrap();
    }

    #[test]
    fn h24_a_removed_lock_file_never_lets_two_in() {
        let root = tempfile::tempdir().unwrap();
        let instance = instance(root.path());
        let inside = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let lock = StartLock::acquire(&instance, Duration::from_secs(60)).unwrap();
                        let others = inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                        assert_eq!(others, 0, "two hold the start lock");
                        inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                        lock.remove();
                    }
                });
            }
        });
        assert!(
            !root
                .path()
                .join(format!("{}.start.lock", instance.id.as_str()))
                .exists()
        );
    }

    #[test]
    fn a_keeper_is_seen_while_it_lives() {
        let root = tempfile::tempdir().unwrap();
        let instance = instance(root.path());
        assert!(!KeeperLock::is_held(&instance.run_dir()));
        let lock = KeeperLock::acquire(&instance.run_dir(), Duration::ZERO).unwrap();
        assert!(KeeperLock::is_held(&instance.run_dir()));
        drop(lock);
        assert!(!KeeperLock::is_held(&instance.run_dir()));
    }
}
