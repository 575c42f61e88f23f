//! One instance: a cache directory, the run directory that belongs to it, and whether anybody is
//! alive in there.
//!
//! Invariants: a run directory and everything above it up to the run root belongs to this user
//! alone ([`private_dir`]); an instance is started or cleaned only by the holder of its start lock
//! ([`lock`]); a keeper holds `keeper.lock` in its run directory for life, so that a free lock
//! proves that it is dead.

pub mod lock;
pub mod private_dir;
pub mod probe;
pub mod registry;
pub mod run_root;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use serde::{Deserialize, Serialize};

use private_dir::PrivateDirError;

/// Longest path of a Unix socket, from `sockaddr_un` in unix(7), without its NUL.
const SOCKET_PATH_BYTES_MAX: usize = 107;
/// Longest name of a socket in a run directory, with the separator (`/control.sock`).
const SOCKET_NAME_BYTES_MAX: usize = 13;
const RECORD_NAME: &str = "instance.json";
/// Name of the log file in the run directory, used when the user named none.
pub const LOG_NAME: &str = "log";

/// What an instance is called: the first 16 hexadecimal digits of the BLAKE3 hash of its canonical
/// cache directory's bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct InstanceId(String);

impl InstanceId {
    /// The id of the instance of a canonical cache directory.
    #[must_use]
    pub fn of_cache_dir(canonical: &Path) -> Self {
        use std::os::unix::ffi::OsStrExt;
        let hash = blake3::hash(canonical.as_os_str().as_bytes());
        Self(hash.to_hex()[..16].to_owned())
    }

    /// The id a directory or file name spells, if it spells one.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        (name.len() == 16 && name.bytes().all(lower_hex)).then(|| Self(name.to_owned()))
    }

    /// The id's 16 digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What the starter writes down about an instance, for those who find its run directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Bytes of the canonical cache directory (JSON strings cannot hold every path).
    pub cache_dir: Vec<u8>,
    /// Bytes of the path of the log of its processes.
    pub log: Vec<u8>,
}

/// Why the files of an instance could not be used.
#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    /// The run root or run directory is not ours alone, or cannot be made.
    #[error(transparent)]
    PrivateDir(#[from] PrivateDirError),
    /// Its sockets would not fit into an address.
    #[error(
        "the run directory {} is too long for sockets; set HOLDFAST_RUN_DIR to a shorter path",
        .0.display()
    )]
    PathTooLong(PathBuf),
    /// A file in it cannot be read or written.
    #[error("{what} {}: {source}", .path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// An instance's place on disk; it need not run.
#[derive(Debug, Clone)]
pub struct Instance {
    /// Its id.
    pub id: InstanceId,
    /// The run root that holds its run directory and start lock.
    pub run_root: PathBuf,
}

impl Instance {
    /// The instance of a canonical cache directory, under `run_root`.
    ///
    /// # Errors
    /// [`InstanceError::PathTooLong`] if its sockets would have no valid address.
    pub fn of_cache_dir(run_root: &Path, canonical: &Path) -> Result<Self, InstanceError> {
        let instance = Self {
            id: InstanceId::of_cache_dir(canonical),
            run_root: run_root.to_owned(),
        };
        let run_dir = instance.run_dir();
        if run_dir.as_os_str().len() + SOCKET_NAME_BYTES_MAX > SOCKET_PATH_BYTES_MAX {
            return Err(InstanceError::PathTooLong(run_dir));
        }
        Ok(instance)
    }

    /// Where its sockets are.
    #[must_use]
    pub fn run_dir(&self) -> PathBuf {
        self.run_root.join(self.id.as_str())
    }

    /// Makes the run directory, or checks the one that is there.
    ///
    /// # Errors
    /// [`InstanceError::PrivateDir`] if it belongs to others, is open to others or cannot be made.
    pub fn create_run_dir(&self) -> Result<PathBuf, InstanceError> {
        let dir = self.run_dir();
        private_dir::ensure(&dir)?;
        Ok(dir)
    }

    /// Writes the record, replacing the one that is there.
    ///
    /// # Errors
    /// [`InstanceError::File`] if it cannot be written.
    pub fn write_record(&self, record: &Record) -> Result<(), InstanceError> {
        let path = self.run_dir().join(RECORD_NAME);
        let bytes = serde_json::to_vec(record).expect("numbers and arrays always serialise");
        write_private(&path, &bytes).map_err(|source| InstanceError::File {
            what: "cannot write",
            path,
            source,
        })
    }

    /// The record, or none if the starter died before it wrote one.
    #[must_use]
    pub fn read_record(&self) -> Option<Record> {
        let bytes = fs::read(self.run_dir().join(RECORD_NAME)).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Removes the run directory of an instance that is dead. The caller holds the start lock.
    ///
    /// # Errors
    /// [`InstanceError::File`] if something in it cannot be removed.
    pub fn remove_run_dir(&self, _proof: &lock::StartLock) -> Result<(), InstanceError> {
        let path = self.run_dir();
        match fs::remove_dir_all(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(InstanceError::File {
                what: "cannot remove",
                path,
                source,
            }),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// Writes a file of mode 0600 whole or not at all: to a new name, then renamed over the old one.
///
/// # Errors
/// What the file system said; the old file is then as it was.
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut name = path
        .file_name()
        .map(std::ffi::OsStr::to_owned)
        .unwrap_or_default();
    name.push(format!(".{}.new", std::process::id()));
    let new = path.with_file_name(name);
    // Left by a process of the same number that died here; nobody else uses the name.
    let _ = fs::remove_file(&new);
    let mode = Mode::RUSR | Mode::WUSR;
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode.bits())
        .open(&new)?;
    let written = file.write_all(bytes).and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_sixteen_hex_digits_of_the_path() {
        let one = InstanceId::of_cache_dir(Path::new("/var/cache/holdfast"));
        let other = InstanceId::of_cache_dir(Path::new("/var/cache/holdfast2"));
        assert_ne!(one, other);
        assert_eq!(InstanceId::parse(one.as_str()), Some(one));
        for wrong in [
            "",
            "0123456789abcde",
            "0123456789ABCDEF",
            "0123456789abcdef.start.lock",
        ] {
            assert_eq!(InstanceId::parse(wrong), None, "{wrong:?} was accepted");
        }
    }

    #[test]
    fn a_run_root_too_long_for_sockets_is_refused() {
        let root = PathBuf::from(format!("/{}", "r".repeat(80)));
        let error = Instance::of_cache_dir(&root, Path::new("/c")).unwrap_err();
        assert!(error.to_string().contains("HOLDFAST_RUN_DIR"), "{error}");
        assert!(Instance::of_cache_dir(Path::new("/run/holdfast"), Path::new("/c")).is_ok());
    }

    #[test]
    fn records_survive_and_are_private() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().unwrap();
        let instance = Instance::of_cache_dir(root.path(), Path::new("/c")).unwrap();
        instance.create_run_dir().unwrap();
        assert_eq!(instance.read_record(), None);
        let record = Record {
            cache_dir: b"/c\xff".to_vec(),
            log: b"/l".to_vec(),
        };
        instance.write_record(&record).unwrap();
        instance.write_record(&record).unwrap();
        assert_eq!(instance.read_record(), Some(record));
        let mode = fs::metadata(instance.run_dir().join(RECORD_NAME))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o600);
        assert_eq!(
            fs::read_dir(instance.run_dir()).unwrap().count(),
            1,
            "a temporary file was left"
        );
    }
}
