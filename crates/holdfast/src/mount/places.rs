//! The cache directory, and which places must not meet.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::MountError;
use super::volume::Volume;
use crate::instance::run_root;
use crate::mountinfo;
use crate::placement::{self, Place};
use crate::start::StartPlan;

/// Why the cache directory is not usable.
#[derive(Debug, thiserror::Error)]
pub enum CacheDirError {
    /// None was named and there is no home to put one into.
    #[error(
        "no cache directory: neither XDG_CACHE_HOME nor HOME is set; name one with --cache-dir"
    )]
    NoHome,
    /// It cannot be made or reached.
    #[error("cannot use the cache directory {}: {source}", .path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is no directory.
    #[error("the cache directory {} is not a directory", .0.display())]
    NotADirectory(PathBuf),
    /// Others could plant bytes in it.
    #[error(
        "the cache directory {} can be changed by others (owner {owner}, mode {mode:04o}), so readers could get bytes that no origin sent; \
         use one of your own that only you can write",
        .path.display()
    )]
    NotOurs {
        /// Which one.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Its permission bits.
        mode: u32,
    },
}

/// The canonical cache directory; made with mode 0700, parents included, if it is not there.
///
/// # Errors
/// See [`CacheDirError`].
pub fn cache_dir(named: Option<&Path>) -> Result<PathBuf, CacheDirError> {
    let path = match named {
        Some(path) => path.to_owned(),
        None => default_cache_dir().ok_or(CacheDirError::NoHome)?,
    };
    let io = |source| CacheDirError::Io {
        path: path.clone(),
        source,
    };
    match fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&path)
    {
        Err(source) if source.kind() == io::ErrorKind::AlreadyExists => {
            return Err(CacheDirError::NotADirectory(path));
        }
        result => result.map_err(io)?,
    }
    let canonical = path.canonicalize().map_err(io)?;
    let metadata = canonical.metadata().map_err(io)?;
    let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    if owner != rustix::process::geteuid().as_raw() || mode & 0o022 != 0 {
        return Err(CacheDirError::NotOurs {
            path: canonical,
            owner,
            mode,
        });
    }
    Ok(canonical)
}

fn default_cache_dir() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    let uid = rustix::process::geteuid().as_raw();
    run_root::default_cache_dir(
        uid,
        variable("XDG_CACHE_HOME").as_deref(),
        variable("HOME").as_deref(),
    )
}

/// Refuses what would let Holdfast wait for itself (H25): cache, source, log or program on a mount of
/// ours, and mount point, cache and source inside one another.
///
/// # Errors
/// [`MountError::Placement`]; [`MountError::System`] if the mounts or this program cannot be found.
pub fn check(plan: &StartPlan, volume: &Volume, target: &Path) -> Result<(), MountError> {
    let system = |what| move |source| MountError::System { what, source };
    let mounts = mountinfo::read().map_err(system("reading /proc/self/mountinfo"))?;
    let program = std::env::current_exe().map_err(system("finding the path of this program"))?;
    let cache = Place {
        what: "cache directory",
        path: &plan.cache_dir,
    };
    let mount_point = Place {
        what: "mount point",
        path: target,
    };
    let source = volume.directory().map(|path| Place {
        what: "source",
        path,
    });
    let mut places = vec![
        cache,
        Place {
            what: "program",
            path: &program,
        },
    ];
    places.extend(source);
    places.extend(plan.log.as_deref().map(|path| Place { what: "log", path }));
    placement::refuse_own_mounts(&mounts, &places)?;
    placement::refuse_nesting(mount_point, cache)?;
    if let Some(source) = source {
        placement::refuse_nesting(mount_point, source)?;
        placement::refuse_nesting(cache, source)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_cache_directory_is_made_private_with_its_parents() {
        let root = tempfile::tempdir().unwrap();
        let made = cache_dir(Some(&root.path().join("a/b"))).unwrap();
        assert_eq!(
            made.metadata().unwrap().permissions().mode() & 0o7777,
            0o700
        );
        assert_eq!(cache_dir(Some(&made)).unwrap(), made);
    }

    #[test]
    fn a_cache_directory_that_others_can_write_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("open");
        fs::create_dir(&dir).unwrap();
        for mode in [0o777, 0o720, 0o1777] {
            fs::set_permissions(&dir, fs::Permissions::from_mode(mode)).unwrap();
            assert!(
                matches!(cache_dir(Some(&dir)), Err(CacheDirError::NotOurs { .. })),
                "{mode:o}"
            );
        }
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        cache_dir(Some(&dir)).unwrap();
    }

    #[test]
    fn a_file_is_no_cache_directory() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        fs::write(&file, b"").unwrap();
        assert!(matches!(
            cache_dir(Some(&file)),
            Err(CacheDirError::NotADirectory(_))
        ));
    }
}
