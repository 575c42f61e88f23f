//! DIR: must exist, be a directory, and not carry a mount of ours; a dead one is detached first.

use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use rustix::io::Errno;

use crate::mountinfo;
use crate::output;
use crate::umount::UmountError;

/// How long a mount's server may take to answer before it counts as alive but stuck.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Why DIR cannot be mounted on.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// It does not exist or cannot be reached.
    #[error("cannot mount on {}: {source}{}", .path.display(), if .source.kind() == io::ErrorKind::NotFound { "; make it first: mkdir -p" } else { "" })]
    Unreachable {
        /// DIR as given.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is no directory.
    #[error("cannot mount on {}: not a directory", .0.display())]
    NotADirectory(PathBuf),
    /// Holdfast has mounted something there.
    #[error("{} is a Holdfast mount of {source_name} already; unmount it first: holdfast umount {}", .path.display(), .path.display())]
    AlreadyMounted {
        /// DIR.
        path: PathBuf,
        /// What is mounted.
        source_name: String,
    },
    /// A dead mount there cannot be detached.
    #[error("a dead mount on {} cannot be detached: {source}", .path.display())]
    DeadMount {
        /// DIR.
        path: PathBuf,
        /// Why not.
        source: UmountError,
    },
    /// The table of mounts cannot be read.
    #[error("cannot read /proc/self/mountinfo: {0}")]
    Mountinfo(io::Error),
}

/// Checks DIR, detaches a dead mount from it, and returns its canonical path.
///
/// # Errors
/// See [`TargetError`].
pub fn prepare(dir: &Path) -> Result<PathBuf, TargetError> {
    let unreachable = |source| TargetError::Unreachable {
        path: dir.to_owned(),
        source,
    };
    let path = resolve(dir).map_err(unreachable)?;
    let mounts = mountinfo::read().map_err(TargetError::Mountinfo)?;
    if let Some(mount) = mountinfo::mounted_on(&mounts, &path).filter(|mount| mount.is_holdfast()) {
        if !is_dead(&path) {
            let source_name = mount.source.to_string_lossy().into_owned();
            return Err(TargetError::AlreadyMounted { path, source_name });
        }
        output::remark(&format!("detaching a dead mount from {}", path.display()));
        crate::umount::detach(&path).map_err(|source| TargetError::DeadMount {
            path: path.clone(),
            source,
        })?;
        // What it covered may be another one.
        return prepare(&path);
    }
    let metadata = path.metadata().map_err(unreachable)?;
    if metadata.is_dir() {
        Ok(path)
    } else {
        Err(TargetError::NotADirectory(dir.to_owned()))
    }
}

/// The canonical path of a directory that may be a dead or hanging mount: realpath(3) asks a mount's
/// root for nothing as long as the path does not end in a slash, so those are dropped.
///
/// # Errors
/// What realpath(3) says.
pub fn resolve(dir: &Path) -> io::Result<PathBuf> {
    let plain: PathBuf = dir
        .components()
        .filter(|part| *part != Component::CurDir)
        .collect();
    if plain.as_os_str().is_empty() {
        std::env::current_dir()
    } else {
        plain.canonicalize()
    }
}

/// Whether the file system mounted on `path` has lost its server for good. One that does not answer
/// is alive: its server hangs or is being restarted.
#[must_use]
pub fn is_dead(path: &Path) -> bool {
    let (sender, receiver) = mpsc::sync_channel(1);
    let path = path.to_owned();
    // statfs(2) waits for the server, killably: the thread ends with this process at the latest.
    std::thread::spawn(move || {
        let _ = sender.send(rustix::fs::statfs(&path).err());
    });
    matches!(
        receiver.recv_timeout(ANSWER_WITHIN),
        Ok(Some(Errno::NOTCONN | Errno::CONNABORTED))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_directory_and_a_file_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let missing = prepare(&dir.path().join("missing")).unwrap_err();
        assert!(missing.to_string().contains("mkdir"), "{missing}");
        let file = dir.path().join("file");
        std::fs::write(&file, b"").unwrap();
        assert!(matches!(prepare(&file), Err(TargetError::NotADirectory(_))));
    }

    #[test]
    fn paths_are_made_canonical_whatever_their_form() {
        let dir = tempfile::tempdir().unwrap();
        let canonical = dir.path().canonicalize().unwrap();
        std::os::unix::fs::symlink(dir.path(), dir.path().join("link")).unwrap();
        for form in ["", "/", "/.", "/./", "/link", "/link/"] {
            let mut given = dir.path().as_os_str().to_owned();
            given.push(form);
            assert_eq!(prepare(Path::new(&given)).unwrap(), canonical, "{form:?}");
        }
    }
}
