//! Where run directories are: the run root of this user.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::private_dir::{self, PrivateDirError};

/// What the choice of the run root depends on.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// `$HOLDFAST_RUN_DIR`.
    pub holdfast_run_dir: Option<OsString>,
    /// `$XDG_RUNTIME_DIR`.
    pub xdg_runtime_dir: Option<OsString>,
    /// The effective user.
    pub uid: u32,
}

impl Surroundings {
    /// Those of this process.
    #[must_use]
    pub fn of_this_process() -> Self {
        Self {
            holdfast_run_dir: std::env::var_os("HOLDFAST_RUN_DIR"),
            xdg_runtime_dir: std::env::var_os("XDG_RUNTIME_DIR"),
            uid: rustix::process::geteuid().as_raw(),
        }
    }

    /// The run root: `$HOLDFAST_RUN_DIR`, else `/run/holdfast` for root, else
    /// `$XDG_RUNTIME_DIR/holdfast`, else `/tmp/holdfast-<uid>`. Variables that are empty or hold a
    /// relative path count as unset, as the XDG base directory specification wants it.
    #[must_use]
    pub fn run_root(&self) -> PathBuf {
        let absolute = |value: &Option<OsString>| {
            value
                .as_ref()
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        if let Some(root) = absolute(&self.holdfast_run_dir) {
            return root;
        }
        if self.uid == 0 {
            return PathBuf::from("/run/holdfast");
        }
        match absolute(&self.xdg_runtime_dir) {
            Some(runtime) => runtime.join("holdfast"),
            None => PathBuf::from(format!("/tmp/holdfast-{}", self.uid)),
        }
    }
}

/// Makes the run root if need be, checks that it is ours alone, and returns it.
///
/// # Errors
/// See [`PrivateDirError`].
pub fn ensure(surroundings: &Surroundings) -> Result<PathBuf, PrivateDirError> {
    let root = surroundings.run_root();
    private_dir::ensure(&root)?;
    Ok(root)
}

/// The run root if there is one already; nothing is made.
///
/// # Errors
/// See [`PrivateDirError`]; that it does not exist is no error.
pub fn existing(surroundings: &Surroundings) -> Result<Option<PathBuf>, PrivateDirError> {
    let root = surroundings.run_root();
    match private_dir::check(&root) {
        Ok(_) => Ok(Some(root)),
        Err(PrivateDirError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The cache directory used when the user names none: `/var/cache/holdfast` for root, else
/// `$XDG_CACHE_HOME/holdfast/default` or `~/.cache/holdfast/default`; none without a home.
#[must_use]
pub fn default_cache_dir(
    uid: u32,
    xdg_cache_home: Option<&Path>,
    home: Option<&Path>,
) -> Option<PathBuf> {
    if uid == 0 {
        return Some(PathBuf::from("/var/cache/holdfast"));
    }
    let absolute = |path: &&Path| path.is_absolute();
    let base = match xdg_cache_home.filter(absolute) {
        Some(cache) => cache.to_owned(),
        None => home.filter(absolute)?.join(".cache"),
    };
    Some(base.join("holdfast/default"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surroundings(run_dir: Option<&str>, xdg: Option<&str>, uid: u32) -> Surroundings {
        Surroundings {
            holdfast_run_dir: run_dir.map(Into::into),
            xdg_runtime_dir: xdg.map(Into::into),
            uid,
        }
    }

    #[test]
    fn the_run_root_follows_the_documented_order() {
        let root = |run_dir, xdg, uid| surroundings(run_dir, xdg, uid).run_root();
        assert_eq!(root(Some("/r"), Some("/x"), 0), Path::new("/r"));
        assert_eq!(root(None, Some("/x"), 0), Path::new("/run/holdfast"));
        assert_eq!(root(None, Some("/x"), 7), Path::new("/x/holdfast"));
        assert_eq!(root(None, None, 7), Path::new("/tmp/holdfast-7"));
        assert_eq!(
            root(Some(""), Some("relative"), 7),
            Path::new("/tmp/holdfast-7")
        );
    }

    #[test]
    fn the_cache_directory_follows_the_documented_order() {
        let (xdg, home) = (Some(Path::new("/x")), Some(Path::new("/h")));
        assert_eq!(
            default_cache_dir(0, xdg, home).unwrap(),
            Path::new("/var/cache/holdfast")
        );
        assert_eq!(
            default_cache_dir(7, xdg, home).unwrap(),
            Path::new("/x/holdfast/default")
        );
        assert_eq!(
            default_cache_dir(7, None, home).unwrap(),
            Path::new("/h/.cache/holdfast/default")
        );
        assert_eq!(
            default_cache_dir(7, Some(Path::new("x")), home).unwrap(),
            Path::new("/h/.cache/holdfast/default")
        );
        assert_eq!(default_cache_dir(7, None, None), None);
    }

    #[test]
    fn a_missing_run_root_is_made_or_reported_as_absent() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("run");
        let around = surroundings(root.to_str(), None, 7);
        assert_eq!(existing(&around).unwrap(), None);
        assert_eq!(ensure(&around).unwrap(), root);
        assert_eq!(existing(&around).unwrap(), Some(root));
    }
}
