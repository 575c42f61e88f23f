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
use crate::volume::{SourceUrl, VolumeConfig, VolumeFileError};

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
        let place = || place(volume_key);
        let unsupported = |detail: String| SourceError::Unsupported {
            place: place(),
            detail,
        };
        let url = SourceUrl::parse(OsStr::from_bytes(volume_key))
            .map_err(|e| unsupported(e.to_string()))?;
        let config = match VolumeConfig::read(&self.run_dir, volume_key) {
            Ok(config) => config,
            Err(VolumeFileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                VolumeConfig::new(&url)
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

/// A volume key for people: without query, which may hold the signature of a signed URL.
pub(crate) fn place(volume_key: &[u8]) -> String {
    let shown = volume_key
        .split(|byte| *byte == b'?')
        .next()
        .unwrap_or(volume_key);
    String::from_utf8_lossy(shown).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::Auth;

    #[test]
    fn a_signature_is_not_shown() {
        assert_eq!(place(b"https://h/f?sig=secret"), "https://h/f");
        assert_eq!(place(b"dir:/srv"), "dir:/srv");
    }

    #[test]
    fn the_newest_volume_file_counts_and_bad_ones_are_refused() {
        let run = tempfile::tempdir().expect("a folder");
        let volumes = Volumes::new(run.path().to_owned());
        let key = b"http://127.0.0.1:1/t/";
        let without_file = volumes.source(key).expect("a key alone will do");
        assert!(Arc::ptr_eq(
            &without_file,
            &volumes.source(key).expect("known")
        ));
        let url = SourceUrl::parse(OsStr::from_bytes(key)).expect("a source");
        let mut config = VolumeConfig::new(&url);
        config.auth = Auth::Bearer { token: "t".into() };
        config.write(run.path()).expect("written");
        assert!(!Arc::ptr_eq(
            &without_file,
            &volumes.source(key).expect("built anew")
        ));
        config.auth = Auth::S3 {
            access_key_id: "a".into(),
            secret_access_key: "b".into(),
            session_token: None,
        };
        config.write(run.path()).expect("written");
        assert!(matches!(
            volumes.source(key),
            Err(SourceError::Unsupported { .. })
        ));
        std::fs::write(VolumeConfig::path(run.path(), key), "{").expect("written");
        assert!(matches!(
            volumes.source(key),
            Err(SourceError::Unsupported { .. })
        ));
        assert!(matches!(
            volumes.source(b"nonsense"),
            Err(SourceError::Unsupported { .. })
        ));
    }
}
