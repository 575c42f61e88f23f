//! The folder of all objects, by a descriptor; made again when somebody has removed it.
//!
//! Invariant: an operation that finds its file missing in a folder that was removed is tried again in the new one at
//! most once.

use std::fs::DirBuilder;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustix::fs::{Mode, OFlags};

/// See the module.
#[derive(Debug)]
pub(crate) struct ObjectsDir {
    path: PathBuf,
    fd: RwLock<Arc<OwnedFd>>,
}

impl ObjectsDir {
    /// Opens the folder at `path`, made if it is missing.
    ///
    /// # Errors
    /// What the kernel refused.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let fd = RwLock::new(Arc::new(make_and_open(&path)?));
        Ok(Self { path, fd })
    }

    /// The folder.
    pub(crate) fn get(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.fd.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes the folder again if it was removed since `used` was got; `false` when it was not.
    ///
    /// # Errors
    /// What the kernel refused.
    pub(crate) fn remake_if_removed(&self, used: &OwnedFd) -> io::Result<bool> {
        // A directory that has a name has at least one link, on every file system.
        if rustix::fs::fstat(used)?.st_nlink > 0 {
            return Ok(false);
        }
        let mut fd = self.fd.write().unwrap_or_else(PoisonError::into_inner);
        if rustix::fs::fstat(&**fd)?.st_nlink == 0 {
            *fd = Arc::new(make_and_open(&self.path)?);
        }
        Ok(true)
    }
}

fn make_and_open(path: &Path) -> io::Result<OwnedFd> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_folder_is_made_again_and_one_that_is_there_is_kept() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("cache/objects");
        let objects = ObjectsDir::open(&path).unwrap();
        let first = objects.get();
        assert!(!objects.remake_if_removed(&first).unwrap());
        std::fs::remove_dir_all(root.path().join("cache")).unwrap();
        assert!(objects.remake_if_removed(&first).unwrap());
        let second = objects.get();
        assert!(path.is_dir());
        // Whoever comes late with the old one is sent to the new one, which stays.
        assert!(objects.remake_if_removed(&first).unwrap());
        assert!(Arc::ptr_eq(&second, &objects.get()));
    }
}
