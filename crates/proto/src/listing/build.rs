//! Writing a listing.

use super::record::check_target;
use super::wire::{
    FLAG_MODE, FLAG_MTIME, FLAG_NEGATIVE, FLAG_SIZE, KIND_DIRECTORY, KIND_FILE, KIND_SYMLINK,
    RECORD_ALIGN_BYTES, RECORD_FIXED_BYTES, WireHeader, WireRecord,
};
use super::{
    Entry, EntryKind, HEADER_BYTES, MAGIC, MODE_MAX, Mtime, RECORD_BYTES_MAX, TARGET_BYTES_MAX,
};
use crate::ByteRange;
use crate::key::{NAME_BYTES_MAX, NameError, VALIDATOR_BYTES_MAX, check_name};
use alloc::vec::Vec;
use zerocopy::IntoBytes;
use zerocopy::little_endian::{I64, U16, U32, U64};

// The bounds of the parts keep every record within the whole's, so only the parts are checked.
const _: () = assert!(
    RECORD_FIXED_BYTES
        + NAME_BYTES_MAX
        + VALIDATOR_BYTES_MAX
        + TARGET_BYTES_MAX
        + RECORD_ALIGN_BYTES
        <= RECORD_BYTES_MAX
);

/// Why an entry has no place in a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// The name is none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The size is greater than any object that could be read.
    #[error("a size of {0} bytes is greater than any file's")]
    Size(u64),
    /// The mode has other than permission bits.
    #[error("the mode {0:#o} has more than permission bits")]
    Mode(u16),
    /// The nanoseconds are a second or more.
    #[error("{0} nanoseconds are a second or more")]
    Nanoseconds(u32),
    /// The validator is longer than [`VALIDATOR_BYTES_MAX`].
    #[error("a validator of {0} bytes is longer than {VALIDATOR_BYTES_MAX}")]
    ValidatorTooLong(usize),
    /// The target of a symbolic link is empty, longer than [`TARGET_BYTES_MAX`] or holds a NUL.
    #[error("the target of a symbolic link is empty, too long or holds a NUL")]
    Target,
}

/// A document that grows by one entry after the other.
#[derive(Clone, Debug)]
pub struct ListingBuilder {
    document: Vec<u8>,
    record_count: u64,
}

impl ListingBuilder {
    /// A listing without entries.
    #[must_use]
    pub fn new() -> Self {
        Self {
            document: Vec::from([0; HEADER_BYTES]),
            record_count: 0,
        }
    }

    /// Appends an entry; on an error the listing stays as it was.
    ///
    /// The caller sees to it that no name is pushed twice.
    ///
    /// # Errors
    /// [`PushError`] when a part of the entry breaks the format's rules.
    pub fn push(&mut self, entry: &Entry) -> Result<(), PushError> {
        let (kind, target): (u8, &[u8]) = match &entry.kind {
            EntryKind::File => (KIND_FILE, b""),
            EntryKind::Directory => (KIND_DIRECTORY, b""),
            EntryKind::Symlink { target } if check_target(target) => (KIND_SYMLINK, target),
            EntryKind::Symlink { .. } => return Err(PushError::Target),
        };
        check_attributes(entry)?;
        let unpadded = RECORD_FIXED_BYTES + entry.name.len() + entry.validator.len() + target.len();
        let record_bytes = unpadded.next_multiple_of(RECORD_ALIGN_BYTES);
        let fixed = fixed_part(entry, kind, record_bytes, target.len());
        let end = self.document.len() + record_bytes;
        self.document.reserve(record_bytes);
        self.document.extend_from_slice(fixed.as_bytes());
        self.document.extend_from_slice(&entry.name);
        self.document.extend_from_slice(&entry.validator);
        self.document.extend_from_slice(target);
        self.document.resize(end, 0);
        self.record_count += 1;
        Ok(())
    }

    /// The whole document.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        let mut document = self.document;
        let header = header(0, self.record_count, document.len());
        document[..HEADER_BYTES].copy_from_slice(header.as_bytes());
        document
    }

    /// The document that says: this name does not exist.
    #[must_use]
    pub fn negative() -> Vec<u8> {
        header(FLAG_NEGATIVE, 0, HEADER_BYTES).as_bytes().to_vec()
    }
}

impl Default for ListingBuilder {
    fn default() -> Self {
        Self::new()
    }
}

fn header(flags: u32, record_count: u64, total_bytes: usize) -> WireHeader {
    WireHeader {
        magic: MAGIC,
        flags: U32::new(flags),
        reserved: U32::ZERO,
        record_count: U64::new(record_count),
        total_bytes: U64::new(total_bytes as u64),
    }
}

fn check_attributes(entry: &Entry) -> Result<(), PushError> {
    check_name(&entry.name)?;
    if entry.validator.len() > VALIDATOR_BYTES_MAX {
        return Err(PushError::ValidatorTooLong(entry.validator.len()));
    }
    if let Some(size) = entry.size.filter(|size| *size > ByteRange::END_MAX) {
        return Err(PushError::Size(size));
    }
    if let Some(mode) = entry.mode.filter(|mode| *mode > MODE_MAX) {
        return Err(PushError::Mode(mode));
    }
    if let Some(mtime) = entry.mtime.filter(|mtime| mtime.ns >= 1_000_000_000) {
        return Err(PushError::Nanoseconds(mtime.ns));
    }
    Ok(())
}

/// The fixed part of an entry whose attributes were checked: every length fits its field.
fn fixed_part(entry: &Entry, kind: u8, record_bytes: usize, target_bytes: usize) -> WireRecord {
    let flag = |known: bool, flag: u8| if known { flag } else { 0 };
    let mtime = entry.mtime.unwrap_or(Mtime { s: 0, ns: 0 });
    WireRecord {
        record_bytes: U32::new(record_bytes as u32),
        kind,
        flags: flag(entry.size.is_some(), FLAG_SIZE)
            | flag(entry.mode.is_some(), FLAG_MODE)
            | flag(entry.mtime.is_some(), FLAG_MTIME),
        name_bytes: U16::new(entry.name.len() as u16),
        size: U64::new(entry.size.unwrap_or(0)),
        mtime_s: I64::new(mtime.s),
        mtime_ns: U32::new(mtime.ns),
        mode: U32::new(entry.mode.unwrap_or(0).into()),
        validator_bytes: U16::new(entry.validator.len() as u16),
        target_bytes: U16::new(target_bytes as u16),
        reserved: U32::ZERO,
    }
}
