//! A mount that ends with its owner.
//!
//! Invariant: after drop no path leads to the mount, and nobody waits for it any more.

use std::path::{Path, PathBuf};

use super::{ConnectionId, ControlError, UmountMode, abort, connection_id, umount};

/// Unmounts (lazily) and aborts when dropped.
#[derive(Debug)]
pub struct MountGuard {
    dir: PathBuf,
    id: ConnectionId,
}

impl MountGuard {
    /// Guards the FUSE mount at `dir`.
    ///
    /// # Errors
    /// [`ControlError::MountPoint`], [`ControlError::NotFuse`]: there is none, and nothing is guarded.
    pub fn new(dir: &Path) -> Result<Self, ControlError> {
        let id = connection_id(dir)?;
        Ok(Self {
            dir: dir.to_owned(),
            id,
        })
    }

    /// Where it is mounted.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its connection.
    #[must_use]
    pub fn connection_id(&self) -> ConnectionId {
        self.id
    }
}

impl Drop for MountGuard {
    fn drop(&mut self) {
        // Both may have happened already; the order lets no new reader in before the abort wakes the old ones.
        let _ = umount(&self.dir, UmountMode::Detach);
        let _ = abort(self.id);
    }
}
