//! What must not lie where: nothing that an instance needs may be on a mount that Holdfast serves
//! (H25), and mount point, source and cache must not contain each other. Each of these would let
//! a process wait for itself.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxFlags};

use crate::mountinfo::Mount;

/// Why a combination of places is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// Something an instance needs is served by Holdfast itself.
    #[error(
        "the {what} {} lies on the Holdfast mount {}: reading it would wait for itself; choose a place outside of any Holdfast mount",
        .path.display(), .mount.display()
    )]
    OnOwnMount {
        /// What it is for.
        what: &'static str,
        /// Where it is.
        path: PathBuf,
        /// Where that mount is.
        mount: PathBuf,
    },
    /// One lies inside the other.
    #[error(
        "the {inner_what} {} lies inside the {outer_what} {}: one would show up in the other; choose separate directories",
        .inner.display(), .outer.display()
    )]
    Nested {
        /// What the inner one is for.
        inner_what: &'static str,
        /// Where the inner one is.
        inner: PathBuf,
        /// What the outer one is for.
        outer_what: &'static str,
        /// Where the outer one is.
        outer: PathBuf,
    },
}

/// A path with what it is for, as a message names it.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Such as `cache directory`.
    pub what: &'static str,
    /// Where; it need not exist.
    pub path: &'a Path,
}

/// Refuses places that lie on one of Holdfast's own mounts, told by the device number of the nearest
/// ancestor that exists.
///
/// # Errors
/// [`PlacementError::OnOwnMount`] for the first such place.
pub fn refuse_own_mounts(mounts: &[Mount], places: &[Place<'_>]) -> Result<(), PlacementError> {
    for place in places {
        let Some(device) = device_of(place.path) else {
            continue;
        };
        if let Some(mount) = mounts
            .iter()
            .find(|mount| mount.is_holdfast() && mount.device == device)
        {
            return Err(PlacementError::OnOwnMount {
                what: place.what,
                path: place.path.to_owned(),
                mount: mount.mount_point.clone(),
            });
        }
    }
    Ok(())
}

/// Refuses a pair of which one contains the other or both are the same. Both are canonical.
///
/// # Errors
/// [`PlacementError::Nested`].
pub fn refuse_nesting(a: Place<'_>, b: Place<'_>) -> Result<(), PlacementError> {
    let nested = |inner: Place<'_>, outer: Place<'_>| PlacementError::Nested {
        inner_what: inner.what,
        inner: inner.path.to_owned(),
        outer_what: outer.what,
        outer: outer.path.to_owned(),
    };
    if a.path.starts_with(b.path) {
        Err(nested(a, b))
    } else if b.path.starts_with(a.path) {
        Err(nested(b, a))
    } else {
        Ok(())
    }
}

/// Device number of `path`, or of its nearest ancestor that can be looked at. Asks for no attribute
/// and for no synchronisation, so that a mount whose server is down cannot block the answer.
fn device_of(path: &Path) -> Option<(u32, u32)> {
    let flags = AtFlags::STATX_DONT_SYNC | AtFlags::NO_AUTOMOUNT;
    path.ancestors()
        .map(|ancestor| {
            if ancestor.as_os_str().is_empty() {
                Path::new(".")
            } else {
                ancestor
            }
        })
        .find_map(|ancestor| rustix::fs::statx(CWD, ancestor, flags, StatxFlags::empty()).ok())
        .map(|stat| (stat.stx_dev_major, stat.stx_dev_minor))
}

/// The limit in seconds that `fs.fuse.max_request_timeout` sets on every FUSE request, if it is set;
/// the kernel aborts a mount whose reader waits longer (H25).
#[must_use]
pub fn kernel_request_timeout_s() -> Option<u64> {
    limit_of(std::fs::read_to_string(
        "/proc/sys/fs/fuse/max_request_timeout",
    ))
}

fn limit_of(content: io::Result<String>) -> Option<u64> {
    // Kernels before 6.14 have no such limit and no such file.
    content.ok()?.trim().parse().ok().filter(|&limit| limit > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own_mount_with_device_of(path: &Path) -> Mount {
        Mount {
            device: device_of(path).unwrap(),
            mount_point: PathBuf::from("/mnt/own"),
            fs_type: crate::mountinfo::HOLDFAST_TYPE.to_vec(),
            source: "dir:/x".into(),
        }
    }

    #[test]
    fn h25_a_place_on_our_own_mount_is_refused_even_before_it_exists() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("not/yet/there");
        let mut mount = own_mount_with_device_of(dir.path());
        let places = [Place {
            what: "cache directory",
            path: &path,
        }];
        let error = refuse_own_mounts(std::slice::from_ref(&mount), &places).unwrap_err();
        assert!(
            error.to_string().contains("cache directory") && error.to_string().contains("/mnt/own"),
            "{error}"
        );
        mount.fs_type = b"ext4".to_vec();
        assert_eq!(refuse_own_mounts(&[mount], &places), Ok(()));
        assert_eq!(
            refuse_own_mounts(&[own_mount_with_device_of(Path::new("/proc"))], &places),
            Ok(())
        );
    }

    #[test]
    fn nesting_is_refused_both_ways() {
        let place = |what, path| Place {
            what,
            path: Path::new(path),
        };
        let source = place("source", "/srv/data");
        for inside in ["/srv/data", "/srv/data/mnt", "/srv"] {
            assert!(
                refuse_nesting(place("mount point", inside), source).is_err(),
                "{inside} was accepted"
            );
        }
        assert_eq!(
            refuse_nesting(place("mount point", "/srv/data2"), source),
            Ok(())
        );
    }

    #[test]
    fn h25_the_kernel_limit_is_seen_only_when_set() {
        assert_eq!(limit_of(Ok("0\n".into())), None);
        assert_eq!(limit_of(Ok("60\n".into())), Some(60));
        assert_eq!(limit_of(Err(io::ErrorKind::NotFound.into())), None);
    }
}
