//! One mount: its session with the kernel, its source and its names.
//!
//! What a successor of this process needs to go on with the mount is on disk before the kernel or
//! the caller hears of it: the request and what INIT agreed on in `<run>/mounts/<id>.json`, the
//! nodes in `<run>/mounts/<id>.nodes` (H21, H22).

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use holdfast_core::OutagePolicy;
use holdfast_fuse::{Connection, Negotiated};
use holdfast_proto::listing::Mtime;
use serde::{Deserialize, Serialize};

use crate::control::{MountRequest, OnOutage};
use crate::namespace::node::Attributes;
use crate::namespace::table::NodeTable;

/// What is stored of a mount for the next engine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MountRecord {
    /// Version of this record's shape.
    pub version: u32,
    /// What was asked for.
    pub request: MountRequest,
    /// What INIT agreed on; absent while the kernel has not asked.
    pub negotiated: Option<Negotiated>,
}

/// The version of [`MountRecord`] written by this code.
const RECORD_VERSION: u32 = 1;

/// Why a mount could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum MountSetupError {
    /// Files of the mount in the run directory.
    #[error("{path}: {source}")]
    State {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The record is none.
    #[error("{path} is no record of a mount: {source}")]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The record was written by a later version.
    #[error("{path} has version {version}, this program knows {RECORD_VERSION}")]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
}

/// One mount.
#[derive(Debug)]
pub struct Mount {
    /// Its number; never used twice within an instance.
    pub id: u64,
    /// What was asked for.
    pub request: MountRequest,
    /// The volume key.
    pub volume: Arc<str>,
    /// The session with the kernel.
    pub connection: Connection,
    /// What the numbers given to the kernel stand for.
    pub nodes: NodeTable,
    negotiated: Mutex<Option<Negotiated>>,
    /// Whoever was to mount it could not.
    given_up: AtomicBool,
    record_path: PathBuf,
    nodes_path: PathBuf,
}

impl Mount {
    /// A new mount on a descriptor that the kernel has not spoken on; its record is on disk when
    /// this returns.
    ///
    /// # Errors
    /// [`MountSetupError::State`] when the run directory cannot be written.
    pub fn create(
        run_dir: &Path,
        id: u64,
        request: MountRequest,
        fuse: OwnedFd,
    ) -> Result<Self, MountSetupError> {
        let mount = Self::assemble(run_dir, id, request, None, Connection::new(fuse))?;
        mount.store(None).map_err(state_error(&mount.record_path))?;
        Ok(mount)
    }

    /// A mount that an engine before this one served.
    ///
    /// # Errors
    /// See [`MountSetupError`].
    pub fn recover(run_dir: &Path, id: u64, fuse: OwnedFd) -> Result<Self, MountSetupError> {
        let path = mounts_dir(run_dir).join(format!("{id}.json"));
        let text = std::fs::read(&path).map_err(state_error(&path))?;
        let record: MountRecord = match serde_json::from_slice(&text) {
            Ok(record) => record,
            Err(source) => return Err(MountSetupError::Record { path, source }),
        };
        if record.version > RECORD_VERSION {
            let version = record.version;
            return Err(MountSetupError::Version { path, version });
        }
        let connection = match &record.negotiated {
            Some(negotiated) => Connection::take_over(fuse, *negotiated),
            None => Connection::new(fuse),
        };
        Self::assemble(run_dir, id, record.request, record.negotiated, connection)
    }

    fn assemble(
        run_dir: &Path,
        id: u64,
        request: MountRequest,
        negotiated: Option<Negotiated>,
        connection: Connection,
    ) -> Result<Self, MountSetupError> {
        let dir = mounts_dir(run_dir);
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .map_err(state_error(&dir))?;
        let nodes_path = dir.join(format!("{id}.nodes"));
        let nodes =
            NodeTable::open(&nodes_path, root_attributes()).map_err(state_error(&nodes_path))?;
        Ok(Self {
            id,
            volume: Arc::from(request.source.as_str()),
            request,
            connection,
            nodes,
            negotiated: Mutex::new(negotiated),
            given_up: AtomicBool::new(false),
            record_path: dir.join(format!("{id}.json")),
            nodes_path,
        })
    }

    /// What INIT agreed on, if the kernel has asked.
    #[must_use]
    pub fn negotiated(&self) -> Option<Negotiated> {
        *self
            .negotiated
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that nobody is going to mount it.
    pub fn give_up(&self) {
        self.given_up.store(true, Ordering::Release);
    }

    /// Whether nobody is going to mount it.
    #[must_use]
    pub fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Acquire)
    }

    /// Stores what INIT agreed on; to be called before the reply (H22).
    ///
    /// # Errors
    /// The system's; the reply must then not be sent.
    pub fn agree(&self, negotiated: &Negotiated) -> io::Result<()> {
        self.store(Some(negotiated))?;
        *self
            .negotiated
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(*negotiated);
        Ok(())
    }

    fn store(&self, negotiated: Option<&Negotiated>) -> io::Result<()> {
        let record = MountRecord {
            version: RECORD_VERSION,
            request: self.request.clone(),
            negotiated: negotiated.cloned(),
        };
        let text = serde_json::to_vec(&record)?;
        let temporary = self.record_path.with_extension("new");
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(&text)?;
        std::fs::rename(&temporary, &self.record_path)
    }

    /// Removes the mount's files; the kernel has let go of it.
    pub fn erase(&self) {
        for path in [&self.record_path, &self.nodes_path] {
            if let Err(error) = std::fs::remove_file(path) {
                tracing::warn!(path = %path.display(), %error, "a file of an ended mount stays");
            }
        }
    }

    /// What readers get in an outage.
    #[must_use]
    pub fn outage_policy(&self) -> OutagePolicy {
        match self.request.on_outage {
            OnOutage::Wait => OutagePolicy::Wait,
            OnOutage::EioAfterMs(after_ms) => OutagePolicy::Eio {
                after: std::time::Duration::from_millis(after_ms),
            },
        }
    }
}

/// Where the files of an instance's mounts are.
#[must_use]
pub fn mounts_dir(run_dir: &Path) -> PathBuf {
    run_dir.join("mounts")
}

fn state_error(path: &Path) -> impl Fn(io::Error) -> MountSetupError {
    move |source| MountSetupError::State {
        path: path.to_owned(),
        source,
    }
}

/// The root answers for itself, without asking any daemon (H20).
fn root_attributes() -> Attributes {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Attributes {
        mode: 0o755,
        mtime: Mtime {
            s: i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX),
            ns: since_epoch.subsec_nanos(),
        },
    }
}
