//! The objects that are open in a session.
//!
//! Invariant: an object in the table has been inserted before its `copen` was sent, so a READ never meets an unknown
//! object of a well-behaved engine; whoever removes it cancels what is still being read for it.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use holdfast_proto::WireObjectId;
use holdfast_proto::key::RelativePath;
use tokio_util::sync::CancellationToken;

use crate::device::Lease;
use crate::errno::SourceError;
use crate::sources::Source;

/// Documents above this size wait for their READs in an unnamed temporary file instead of memory.
const DOCUMENT_IN_MEMORY_BYTES_MAX: usize = 4 << 20;
/// Objects that may be open before dead leases among them are looked for; an engine keeps about as many.
const SWEEP_FIRST: usize = 1024;
/// Length of a document's validator, in bytes.
const DOCUMENT_VALIDATOR_BYTES: usize = 16;

/// An open object.
#[derive(Debug)]
pub(crate) struct OpenObject {
    /// Where bytes go and READs are answered.
    pub(crate) lease: Box<dyn Lease>,
    /// Where bytes come from.
    pub(crate) content: Content,
    /// The object's size, in bytes.
    pub(crate) size: u64,
    /// Cancelled when the object is closed.
    pub(crate) closed: CancellationToken,
}

/// Where an object's bytes come from.
#[derive(Debug)]
pub(crate) enum Content {
    /// A listing or an entry, built at OPEN.
    Document(Document),
    /// A file of the source.
    Data {
        /// The volume's source.
        source: Arc<dyn Source>,
        /// The file.
        path: RelativePath,
        /// The version wanted.
        validator: Vec<u8>,
    },
}

/// A listing-format document with its version.
#[derive(Debug)]
pub(crate) struct Document {
    body: DocumentBody,
    /// Hash of the content.
    pub(crate) validator: Vec<u8>,
    /// Length of the content, in bytes.
    pub(crate) size: u64,
}

#[derive(Debug)]
enum DocumentBody {
    Memory(Bytes),
    Spilled(File),
}

impl Document {
    /// Keeps `content` for the READs to come.
    ///
    /// # Errors
    /// [`SourceError::Os`] when a large document finds no room in a temporary file.
    pub(crate) fn keep(content: Vec<u8>) -> Result<Document, SourceError> {
        let validator = blake3::hash(&content).as_bytes()[..DOCUMENT_VALIDATOR_BYTES].to_vec();
        let size = content.len() as u64;
        let body = if content.len() <= DOCUMENT_IN_MEMORY_BYTES_MAX {
            DocumentBody::Memory(Bytes::from(content))
        } else {
            let mut file = tempfile::tempfile().map_err(|e| spill_error(&e))?;
            file.write_all(&content).map_err(|e| spill_error(&e))?;
            DocumentBody::Spilled(file)
        };
        Ok(Document {
            body,
            validator,
            size,
        })
    }

    /// `len` bytes from `offset`.
    ///
    /// # Errors
    /// [`SourceError::Os`] when the temporary file cannot be read.
    ///
    /// # Panics
    /// When the range is not inside the document.
    pub(crate) fn read(&self, offset: u64, len: usize) -> Result<Bytes, SourceError> {
        assert!(
            offset + len as u64 <= self.size,
            "a READ is clipped at the object's end before it comes here"
        );
        match &self.body {
            DocumentBody::Memory(bytes) => {
                let start = usize::try_from(offset).expect("inside a document in memory");
                Ok(bytes.slice(start..start + len))
            }
            DocumentBody::Spilled(file) => {
                let mut buffer = vec![0; len];
                file.read_exact_at(&mut buffer, offset)
                    .map_err(|e| spill_error(&e))?;
                Ok(buffer.into())
            }
        }
    }
}

fn spill_error(error: &std::io::Error) -> SourceError {
    let errno = rustix::io::Errno::from_io_error(error).unwrap_or(rustix::io::Errno::IO);
    SourceError::os("temporary file of a listing", errno)
}

/// The table of open objects.
#[derive(Debug)]
pub(crate) struct Objects {
    table: Mutex<Table>,
}

#[derive(Debug)]
struct Table {
    open: HashMap<WireObjectId, Arc<OpenObject>>,
    /// Number of objects at which leases are looked through for dead ones.
    sweep_at: usize,
}

impl Default for Objects {
    fn default() -> Objects {
        let table = Table {
            open: HashMap::new(),
            sweep_at: SWEEP_FIRST,
        };
        Objects {
            table: Mutex::new(table),
        }
    }
}

impl Table {
    fn sweep(&mut self) {
        self.open.retain(|_, object| {
            let keep = !object.lease.is_hung_up();
            if !keep {
                object.closed.cancel();
            }
            keep
        });
        self.sweep_at = SWEEP_FIRST.max(2 * self.open.len());
    }
}

impl Objects {
    /// Inserts an object; one that had its name is closed.
    pub(crate) fn insert(&self, object_id: WireObjectId, object: Arc<OpenObject>) {
        let mut table = self.table();
        if let Some(old) = table.open.insert(object_id, object) {
            old.closed.cancel();
        }
        if table.open.len() >= table.sweep_at {
            table.sweep();
        }
    }

    /// The object of that name.
    pub(crate) fn get(&self, object_id: WireObjectId) -> Option<Arc<OpenObject>> {
        self.table().open.get(&object_id).cloned()
    }

    /// Closes the object of that name, if it is open.
    pub(crate) fn remove(&self, object_id: WireObjectId) {
        if let Some(object) = self.table().open.remove(&object_id) {
            object.closed.cancel();
        }
    }

    /// Closes all whose lease the engine has let go of (for instance because it refused their `copen`).
    pub(crate) fn sweep(&self) {
        self.table().sweep();
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // A panic ends the process (see `Session::serve`), so a poisoned table is only seen on the way out.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
