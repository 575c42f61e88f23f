//! The volumes this daemon serves: how each is reached, read from the run directory when first asked for.
//!
//! Invariant: a source is built from the newest volume file; a changed file (new credentials) takes effect at the next
//! OPEN.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::errno::SourceError;
use crate::sources::{self, Source};
use crate::volume::{Auth, SourceUrl, VolumeConfig, VolumeFileError, VolumeOptions};

/// Which writing of a volume file: inode and time of change; `None` for no file.
type Stamp = Option<(u64, i64, i64)>;

/// A source, and the volume file it was built from.
type Stamped = (Stamp, Arc<dyn Source>);

/// All volumes seen so far.
#[derive(Debug)]
pub(crate) struct Volumes {
    run_dir: PathBuf,
    sources: Mutex<HashMap<Vec<u8>, Stamped>>,
}

impl Volumes {
    pub(crate) fn new(run_dir: PathBuf) -> Volumes {
        Volumes {
            run_dir,
            sources: Mutex::default(),
        }
    }

    /// The source of a volume. Without a volume file the volume key alone says where it is (no credentials).
    ///
    /// # Errors
    /// [`SourceError::Unsupported`] for a key or file that cannot be understood; [`SourceError::Os`] when the file
    /// cannot be read.
    pub(crate) fn source(&self, volume_key: &[u8]) -> Result<Arc<dyn Source>, SourceError> {
        let stamp = self.stamp(volume_key);
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, source)) = sources.get(volume_key)
            && *known == stamp
        {
            return Ok(Arc::clone(source));
        }
        let source = self.build(volume_key)?;
        sources.insert(volume_key.to_vec(), (stamp, Arc::clone(&source)));
        Ok(source)
    }

    fn stamp(&self, volume_key: &[u8]) -> Stamp {
        let metadata = std::fs::metadata(VolumeConfig::path(&self.run_dir, volume_key)).ok()?;
        Some((metadata.ino(), metadata.ctime(), metadata.ctime_nsec()))
    }

    fn build(&self, volume_key: &[u8]) -> Result<Arc<dyn Source>, SourceError> {
        let place = || String::from_utf8_lossy(volume_key).into_owned();
        let unsupported = |detail: String| SourceError::Unsupported {
            place: place(),
            detail,
        };
        let url = SourceUrl::parse(OsStr::from_bytes(volume_key))
            .map_err(|e| unsupported(e.to_string()))?;
        let config = match VolumeConfig::read(&self.run_dir, volume_key) {
            Ok(config) => config,
            Err(VolumeFileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                VolumeConfig {
                    source: place(),
                    auth: Auth::None,
                    options: VolumeOptions::default(),
                }
            }
            Err(VolumeFileError::Io { source, .. }) => {
                return Err(SourceError::os(
                    place(),
                    rustix::io::Errno::from_io_error(&source).unwrap_or(rustix::io::Errno::IO),
                ));
            }
            Err(error @ VolumeFileError::Malformed { .. }) => {
                return Err(unsupported(error.to_string()));
            }
        };
        sources::connect(&url, &config)
    }
}
