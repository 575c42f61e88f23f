//! One incarnation of an object: what it is, and reading of it. Its changes are in the modules below.
//!
//! Invariants: presence in memory never says more than the record; a size once known never changes.

mod durable;
mod mark;
mod read;

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::SystemTime;
use std::{fmt, io};

use holdfast_proto::{BLOCK_BYTES, ByteRange};

use crate::cache::{Shared, negated};
use crate::error::{RecordError, RemoveError, SetSizeError};
use crate::files::{self, Files};
use crate::handles::{Slot, lock};
use crate::layout::ObjectName;
use crate::presence::Presence;
use crate::record::{
    BitmapPlace, Identity, OBJECT_SIZE_MAX_BYTES, State, VALIDATOR_BYTES_MAX, parse,
};
use crate::usage::Change;

/// An object of the cache. Thread-safe; [`Self::is_present`], [`Self::missing`] and [`Self::size`] take no lock.
pub struct Object {
    shared: Arc<Shared>,
    name: ObjectName,
    incarnation: u64,
    created: SystemTime,
    presence: OnceLock<Presence>,
    slot: Arc<Slot>,
    record: Mutex<Record>,
    /// Held for a whole sync: a failed write-back is told to one sync only, so another must not succeed beside it.
    syncing: Mutex<()>,
}

/// What the record says beside presence.
struct Record {
    validator: Box<[u8]>,
    state: State,
    place: BitmapPlace,
    life: Life,
    history: History,
}

/// Whether an incarnation has its name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Life {
    /// It can be looked up.
    Linked,
    /// It was removed or replaced; it lives as long as somebody holds it.
    Unlinked,
}

/// Whether a successful sync would prove that all bytes written so far are on disk.
pub(crate) enum History {
    /// All that is present is durable, and nobody was given a descriptor to write since.
    Clean,
    /// It would, if these files are still open: they were when the first writer was made.
    Since(Weak<Files>),
    /// It would not: the kernel may have forgotten a failed write-back.
    Broken,
}

/// What an object with these blocks present adds to the totals.
pub(crate) fn footprint(identity: &Identity, words: &[u64]) -> Change {
    let presence = Presence::new(identity.size_bytes.unwrap_or(0), words);
    let record_bytes = identity
        .bitmap_place()
        .record_bytes()
        .next_multiple_of(BLOCK_BYTES);
    let blocks_bytes = presence.present_blocks() * BLOCK_BYTES;
    Change {
        objects: 1,
        present_bytes: presence.present_bytes().cast_signed(),
        allocated_bytes: (blocks_bytes + record_bytes).cast_signed(),
    }
}

impl Object {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        name: ObjectName,
        identity: &Identity,
        state: State,
        words: &[u64],
        history: History,
    ) -> Self {
        let presence = OnceLock::new();
        if let Some(size_bytes) = identity.size_bytes {
            presence.get_or_init(|| Presence::new(size_bytes, words));
        }
        let validator = identity.validator.clone();
        let record = Record {
            validator,
            state,
            place: identity.bitmap_place(),
            life: Life::Linked,
            history,
        };
        Self {
            shared: Arc::clone(shared),
            name,
            incarnation: identity.incarnation,
            created: identity.created,
            presence,
            slot: Arc::default(),
            record: Mutex::new(record),
            syncing: Mutex::new(()),
        }
    }

    /// Takes files that are open already, so that they are not opened again.
    pub(crate) fn adopt_files(&self, files: Files) {
        let adopted = self.slot.get(&self.shared.clock, || Ok(files));
        assert!(adopted.is_ok(), "taking open files opens nothing");
    }

    fn files(&self) -> io::Result<Arc<Files>> {
        self.slot.get(&self.shared.clock, || {
            Files::open(&self.shared.objects.get(), &self.name, self.incarnation)
        })
    }

    /// Size in bytes; `None` while unknown.
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        self.presence.get().map(Presence::size_bytes)
    }

    /// Sets the size and the validator, once. The same size again is no error and changes nothing.
    ///
    /// # Errors
    /// [`SetSizeError::Known`] when the size is another already; [`SetSizeError::TooLarge`] and [`SetSizeError::ValidatorTooLong`] for
    /// what no record holds; [`SetSizeError::Record`] when the disk is full, the kernel refuses, or the incarnation was unlinked.
    pub fn set_size(&self, size_bytes: u64, validator: &[u8]) -> Result<(), SetSizeError> {
        if size_bytes > OBJECT_SIZE_MAX_BYTES {
            return Err(SetSizeError::TooLarge(size_bytes));
        }
        if validator.len() > VALIDATOR_BYTES_MAX {
            return Err(SetSizeError::ValidatorTooLong(validator.len()));
        }
        let mut record = lock(&self.record);
        match self.size() {
            Some(known_bytes) if known_bytes == size_bytes => return Ok(()),
            Some(known_bytes) => return Err(SetSizeError::Known { known_bytes }),
            None => {}
        }
        record.check_linked()?;
        let files = self.files().map_err(RecordError::from)?;
        let image = files.record.read_start().map_err(RecordError::from)?;
        let (mut identity, _) =
            parse(&image).ok_or_else(|| RecordError::Io(io::ErrorKind::InvalidData.into()))?;
        let before = footprint(&identity, &[]);
        identity.size_bytes = Some(size_bytes);
        identity.validator = validator.into();
        // In place: a torn write costs an object of which nothing is present.
        files
            .record
            .write_new(&identity, &record.state)
            .map_err(RecordError::from)?;
        record.validator = validator.into();
        record.place = identity.bitmap_place();
        self.presence.get_or_init(|| Presence::new(size_bytes, &[]));
        let allocated_bytes = footprint(&identity, &[]).allocated_bytes - before.allocated_bytes;
        self.shared.usage.add(Change {
            allocated_bytes,
            ..Change::default()
        });
        Ok(())
    }

    /// The validator of the version it holds; empty while there is none.
    #[must_use]
    pub fn validator(&self) -> Vec<u8> {
        lock(&self.record).validator.to_vec()
    }

    /// When this incarnation was made.
    #[must_use]
    pub fn created_at(&self) -> SystemTime {
        self.created
    }

    /// When its content was last known to equal the origin's; at first the time of creation.
    #[must_use]
    pub fn verified_at(&self) -> SystemTime {
        lock(&self.record).state.verified
    }

    /// Records that its content equalled the origin's at `time` (kept to the nanosecond, 1970 to 2262).
    ///
    /// # Errors
    /// When the record cannot be written or the incarnation was unlinked; the time stays what it was.
    pub fn set_verified_at(&self, time: SystemTime) -> Result<(), RecordError> {
        let mut record = lock(&self.record);
        record.check_linked()?;
        let state = State {
            verified: time,
            ..record.state
        };
        record.write_state(&*self.files()?, state)
    }

    /// A new descriptor for writing its data: `O_WRONLY`, close-on-exec, its own file offset.
    ///
    /// # Errors
    /// When the incarnation was unlinked, or the kernel refuses to open it.
    pub fn writer(&self) -> Result<OwnedFd, RecordError> {
        let mut record = lock(&self.record);
        record.check_linked()?;
        let files = self.files()?;
        match record.history {
            History::Clean => record.history = History::Since(Arc::downgrade(&files)),
            History::Since(_) | History::Broken => {}
        }
        match files::open_writer(&self.shared.objects.get(), &self.name, self.incarnation) {
            // Somebody has removed the file: it serves as long as it is open, and no longer.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(files::reopen_for_writing(&files.data)?)
            }
            other => Ok(other?),
        }
    }

    /// Inode number of the data file.
    ///
    /// # Errors
    /// When the files cannot be opened or looked at.
    pub fn inode(&self) -> io::Result<u64> {
        use std::os::unix::fs::MetadataExt;
        Ok(self.files()?.data.metadata()?.ino())
    }

    /// Bytes of disk that its two files take, as the file system counts (`st_blocks`).
    ///
    /// # Errors
    /// When the files cannot be opened or looked at.
    pub fn allocated_bytes(&self) -> io::Result<u64> {
        let files = self.files()?;
        Ok(files::allocated_bytes(&files.data)? + files.record.allocated_bytes()?)
    }

    /// Number of this incarnation: no other incarnation of any object of this cache has it.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// Removes this incarnation from the cache; nothing when it is removed already. Who holds it can read its present
    /// bytes on, until it is dropped.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn unlink(&self) -> Result<(), RemoveError> {
        self.shared.unlink(&self.name, self).map_err(RemoveError)
    }

    /// [`Self::unlink`] by somebody who keeps others from looking the name up.
    pub(crate) fn retire(&self) -> io::Result<()> {
        let mut record = lock(&self.record);
        match record.life {
            Life::Unlinked => return Ok(()),
            Life::Linked => {}
        }
        match self.files() {
            Ok(files) => self.slot.pin(files),
            // Somebody else took the files away: there is nothing to read on from.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        files::unlink(&self.shared.objects.get(), &self.name, self.incarnation)?;
        record.life = Life::Unlinked;
        let present = self.presence.get();
        let record_bytes = record.place.record_bytes().next_multiple_of(BLOCK_BYTES);
        self.shared.usage.add(negated(Change {
            objects: 1,
            present_bytes: present.map_or(0, Presence::present_bytes).cast_signed(),
            allocated_bytes: (present.map_or(0, Presence::present_blocks) * BLOCK_BYTES
                + record_bytes)
                .cast_signed(),
        }));
        Ok(())
    }
}

impl Record {
    fn check_linked(&self) -> Result<(), RecordError> {
        match self.life {
            Life::Linked => Ok(()),
            Life::Unlinked => Err(RecordError::Unlinked),
        }
    }

    /// Writes a state of the next sequence number, and takes it for the current one.
    fn write_state(&mut self, files: &Files, state: State) -> Result<(), RecordError> {
        let state = State {
            sequence: self.state.sequence + 1,
            ..state
        };
        files.record.write_state(&state)?;
        self.state = state;
        Ok(())
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        self.shared.forget(&self.name, self);
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Object")
            .field("name", &self.name.stem())
            .field("incarnation", &self.incarnation)
            .field("size", &self.size())
            .finish_non_exhaustive()
    }
}

/// The part of `range` that lies in the object, as numbers of blocks; `None` when it is behind its end.
fn blocks_of(presence: &Presence, range: ByteRange) -> Option<(u64, u64)> {
    let end = range.end_block().min(presence.blocks());
    (range.first_block() < end).then(|| (range.first_block(), end))
}
