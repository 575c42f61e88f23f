//! What a volume is and how a daemon reaches it: the SOURCE argument ([`SourceUrl`]) and the volume's file.
//!
//! Invariant: secrets live only in the volume's file (mode 0600) and are never printed, not by `Debug` either.

mod source_url;

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use source_url::{S3Url, SourceUrl, SourceUrlError, VOLUME_KEY_BYTES_MAX};

/// Largest volume file that is read, in bytes.
const VOLUME_FILE_BYTES_MAX: u64 = 1 << 20;

/// How daemons reach one volume: the content of `<run>/volumes/<name>.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeConfig {
    /// The volume key.
    pub source: String,
    /// How to prove who we are.
    #[serde(default)]
    pub auth: Auth,
    /// What else the source should know.
    #[serde(default)]
    pub options: VolumeOptions,
}

/// Credentials of a volume. `Debug` shows the kind only.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Auth {
    /// None (for S3: the usual chain of environment, files and instance metadata).
    #[default]
    None,
    /// HTTP basic authentication.
    Basic {
        /// User name.
        user: String,
        /// Password.
        password: String,
    },
    /// HTTP bearer authentication.
    Bearer {
        /// The token.
        token: String,
    },
    /// S3 keys.
    S3 {
        /// Access key id.
        access_key_id: String,
        /// Secret access key.
        secret_access_key: String,
        /// Session token of temporary credentials.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session_token: Option<String>,
    },
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Auth::None => "None",
            Auth::Basic { .. } => "Basic(…)",
            Auth::Bearer { .. } => "Bearer(…)",
            Auth::S3 { .. } => "S3(…)",
        })
    }
}

/// Options of a source; all have a default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct VolumeOptions {
    /// HTTP trees: URL of the manifest, relative to the tree; `None` looks for `.holdfast-manifest.jsonl` in the
    /// tree's root; `Some("")` looks for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest: Option<String>,
    /// S3: send unsigned requests (public buckets).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub anonymous: bool,
}

/// Why a volume's file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum VolumeFileError {
    /// The file system refused.
    #[error("volume file {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Not a volume file, or larger than 1 MiB.
    #[error("volume file {path} is malformed: {detail}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong (no content is quoted).
        detail: String,
    },
}

impl VolumeConfig {
    /// A volume without credentials or options.
    #[must_use]
    pub fn new(source: &SourceUrl) -> VolumeConfig {
        VolumeConfig {
            source: source.volume_key(),
            auth: Auth::None,
            options: VolumeOptions::default(),
        }
    }

    /// Where the file of a volume lies: `<run_dir>/volumes/<first 32 hex digits of the key's BLAKE3>.json`.
    #[must_use]
    pub fn path(run_dir: &Path, volume_key: &[u8]) -> PathBuf {
        let hex = blake3::hash(volume_key).to_hex();
        run_dir
            .join("volumes")
            .join(format!("{}.json", &hex.as_str()[..32]))
    }

    /// Writes the file (mode 0600, atomically by rename), making `volumes` (0700) when it is missing.
    ///
    /// # Errors
    /// [`VolumeFileError::Io`] when the file system refuses.
    pub fn write(&self, run_dir: &Path) -> Result<(), VolumeFileError> {
        let path = VolumeConfig::path(run_dir, self.source.as_bytes());
        let io = |source| VolumeFileError::Io {
            path: path.clone(),
            source,
        };
        let folder = run_dir.join("volumes");
        match std::os::unix::fs::DirBuilderExt::mode(&mut fs::DirBuilder::new(), 0o700)
            .create(&folder)
        {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(io(e)),
            Ok(()) | Err(_) => {}
        }
        let mut file = tempfile::Builder::new()
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .tempfile_in(&folder)
            .map_err(io)?;
        file.write_all(&serde_json::to_vec(self).map_err(|e| io(e.into()))?)
            .map_err(io)?;
        file.persist(&path).map_err(|e| io(e.error))?;
        Ok(())
    }

    /// Reads the file of `volume_key`.
    ///
    /// # Errors
    /// [`VolumeFileError::Io`] (with `NotFound` when there is none), [`VolumeFileError::Malformed`] when it is not a
    /// volume file, is larger than 1 MiB, or names another volume.
    pub fn read(run_dir: &Path, volume_key: &[u8]) -> Result<VolumeConfig, VolumeFileError> {
        let path = VolumeConfig::path(run_dir, volume_key);
        let io = |source| VolumeFileError::Io {
            path: path.clone(),
            source,
        };
        let malformed = |detail: &str| VolumeFileError::Malformed {
            path: path.clone(),
            detail: detail.into(),
        };
        let file = fs::OpenOptions::new()
            .read(true)
            .custom_flags(libc_nofollow())
            .open(&path)
            .map_err(io)?;
        if file.metadata().map_err(io)?.len() > VOLUME_FILE_BYTES_MAX {
            return Err(malformed("larger than 1 MiB"));
        }
        // serde_json's message quotes no content beyond line and column for syntax errors; data errors may, so it is dropped.
        let config: VolumeConfig = serde_json::from_reader(io::BufReader::new(file))
            .map_err(|e| malformed(&format!("line {} column {}", e.line(), e.column())))?;
        if config.source.as_bytes() == volume_key {
            Ok(config)
        } else {
            Err(malformed("names another volume"))
        }
    }
}

fn libc_nofollow() -> i32 {
    i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).expect("O_NOFOLLOW fits an int")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<SourceUrl, SourceUrlError> {
        SourceUrl::parse(text.as_ref())
    }

    #[test]
    fn volume_file_round_trips_is_private_and_debug_hides_secrets() {
        let run = tempfile::tempdir().unwrap();
        let mut config = VolumeConfig::new(&parse("http://h/tree/").unwrap());
        config.auth = Auth::Basic {
            user: "u".into(),
            password: "hunter2".into(),
        };
        config.write(run.path()).unwrap();
        config.write(run.path()).unwrap();
        assert_eq!(
            VolumeConfig::read(run.path(), b"http://h/tree/").unwrap(),
            config
        );
        let mode = fs::metadata(VolumeConfig::path(run.path(), b"http://h/tree/"))
            .unwrap()
            .permissions();
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777,
            0o600
        );
        assert!(!format!("{config:?}").contains("hunter2"));
        assert!(matches!(
            VolumeConfig::read(run.path(), b"other"),
            Err(VolumeFileError::Io { .. })
        ));
    }
}
