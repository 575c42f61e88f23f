//! The moment of mounting.
//!
//! As root the descriptor is opened, handed to the engine, and only then mounted. fusermount3 hands
//! out its descriptor mounted already, so without root there is a short window in which a death
//! leaves a dead mount; the next `holdfast mount` or `umount` on the directory detects and detaches it.

use std::path::Path;

use super::MountError;
use crate::adapter::{engine, fuse};

/// Hands the mount to the engine and mounts it.
///
/// # Errors
/// [`MountError::Fuse`], [`MountError::Engine`]; nothing stays mounted.
pub fn attach(run_dir: &Path, mount: &engine::Mount, allow_other: bool) -> Result<(), MountError> {
    let options = fuse::Options {
        source: mount.source.clone(),
        allow_other,
    };
    let refused = |source| MountError::Engine {
        dir: mount.dir.clone(),
        source,
        log: "see `holdfast status`".to_owned(),
    };
    if fuse::can_mount_directly() {
        let device = fuse::open_device()?;
        let copy = device.try_clone().map_err(|source| MountError::System {
            what: "dup of /dev/fuse",
            source,
        })?;
        let mount_id = engine::serve(run_dir, mount, copy).map_err(refused)?;
        if let Err(error) = fuse::mount_directly(&mount.dir, &device, &options) {
            // Best effort: an engine that is gone serves it no more either.
            let _ = engine::forget(run_dir, mount_id);
            return Err(error.into());
        }
        return Ok(());
    }
    let device = fuse::mount_with_helper(&mount.dir, &options)?;
    engine::serve(run_dir, mount, device)
        .map(drop)
        .map_err(|source| {
            let _ = crate::umount::detach(&mount.dir);
            refused(source)
        })
}
