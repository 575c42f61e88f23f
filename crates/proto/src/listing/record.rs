//! One record of a listing, read in place.

use super::wire::{
    FLAG_MODE, FLAG_MTIME, FLAG_SIZE, KIND_DIRECTORY, KIND_FILE, KIND_SYMLINK, RECORD_ALIGN_BYTES,
    RECORD_BYTES_MIN, RECORD_FIXED_BYTES, WireRecord,
};
use super::{Entry, EntryKind, MODE_MAX, Mtime, RECORD_BYTES_MAX, TARGET_BYTES_MAX};
use crate::ByteRange;
use crate::key::{NameError, VALIDATOR_BYTES_MAX, check_name};
use zerocopy::FromBytes;

/// What a name stands for, borrowed from a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKindRef<'a> {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink {
        /// What it points to.
        target: &'a [u8],
    },
}

/// One name with its attributes, borrowed from a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryRef<'a> {
    offset: usize,
    record_bytes: usize,
    name: &'a [u8],
    kind: EntryKindRef<'a>,
    size: Option<u64>,
    mode: Option<u16>,
    mtime: Option<Mtime>,
    validator: &'a [u8],
}

/// Why bytes are no record of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The document ends within the record.
    #[error("the document ends within it")]
    Truncated,
    /// The record's length is no multiple of 8, or too small or too great for any record.
    #[error("its length {0} cannot be one")]
    Length(u32),
    /// The lengths of its parts do not add up to its own.
    #[error("its parts have {parts} bytes, itself {record}")]
    Parts {
        /// Bytes of fixed part, name, validator and target, padded.
        parts: usize,
        /// The record's `record_bytes`.
        record: usize,
    },
    /// The kind is none of version 1.
    #[error("unknown kind {0}")]
    UnknownKind(u8),
    /// It has a flag that version 1 does not know.
    #[error("unknown flags {0:#x}")]
    UnknownFlags(u8),
    /// The name is none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The size is greater than any object that could be read.
    #[error("a size of {0} bytes is greater than any file's")]
    Size(u64),
    /// The mode has other than permission bits.
    #[error("the mode {0:#o} has more than permission bits")]
    Mode(u32),
    /// The nanoseconds are a second or more.
    #[error("{0} nanoseconds are a second or more")]
    Nanoseconds(u32),
    /// The validator is longer than [`VALIDATOR_BYTES_MAX`].
    #[error("a validator of {0} bytes is longer than {VALIDATOR_BYTES_MAX}")]
    ValidatorTooLong(usize),
    /// A symbolic link has no target, one with a NUL or of more than [`TARGET_BYTES_MAX`] bytes, or something else has a target.
    #[error("the target is missing, malformed or out of place")]
    Target,
    /// The reserved field or the padding is not 0.
    #[error("the reserved field or the padding is not zero")]
    Reserved,
}

impl<'a> EntryRef<'a> {
    /// The record that begins at `offset` of `document` (which need not be whole).
    ///
    /// # Errors
    /// [`RecordError`] when no record of version 1 begins there, or `document` ends before the record does.
    pub fn parse(document: &'a [u8], offset: usize) -> Result<Self, RecordError> {
        let bytes = document.get(offset..).ok_or(RecordError::Truncated)?;
        let (fixed, _) = WireRecord::read_from_prefix(bytes).map_err(|_| RecordError::Truncated)?;
        let record_bytes = record_len(fixed.record_bytes.get())?;
        let record = bytes.get(..record_bytes).ok_or(RecordError::Truncated)?;
        let parts = Parts::split(&fixed, record)?;
        check_name(parts.name)?;
        if parts.validator.len() > VALIDATOR_BYTES_MAX {
            return Err(RecordError::ValidatorTooLong(parts.validator.len()));
        }
        if fixed.reserved.get() != 0 || parts.padding.iter().any(|byte| *byte != 0) {
            return Err(RecordError::Reserved);
        }
        if fixed.flags & !(FLAG_SIZE | FLAG_MODE | FLAG_MTIME) != 0 {
            return Err(RecordError::UnknownFlags(fixed.flags));
        }
        Ok(Self {
            offset,
            record_bytes,
            name: parts.name,
            kind: parse_kind(fixed.kind, parts.target)?,
            size: parse_size(&fixed)?,
            mode: parse_mode(&fixed)?,
            mtime: parse_mtime(&fixed)?,
            validator: parts.validator,
        })
    }

    /// Where the record begins, in bytes from the document's start.
    #[must_use]
    pub const fn offset(&self) -> usize {
        self.offset
    }

    /// Where the record ends and the next one, if any, begins.
    #[must_use]
    pub const fn next_offset(&self) -> usize {
        self.offset + self.record_bytes
    }

    /// The name.
    #[must_use]
    pub const fn name(&self) -> &'a [u8] {
        self.name
    }

    /// What it stands for.
    #[must_use]
    pub const fn kind(&self) -> EntryKindRef<'a> {
        self.kind
    }

    /// The exact size in bytes, if it is known.
    #[must_use]
    pub const fn size(&self) -> Option<u64> {
        self.size
    }

    /// Permission bits, if they are known.
    #[must_use]
    pub const fn mode(&self) -> Option<u16> {
        self.mode
    }

    /// When it was last modified, if that is known.
    #[must_use]
    pub const fn mtime(&self) -> Option<Mtime> {
        self.mtime
    }

    /// The version, opaque; empty when the origin has none.
    #[must_use]
    pub const fn validator(&self) -> &'a [u8] {
        self.validator
    }

    /// A copy that outlives the document.
    #[must_use]
    pub fn to_entry(&self) -> Entry {
        let kind = match self.kind {
            EntryKindRef::File => EntryKind::File,
            EntryKindRef::Directory => EntryKind::Directory,
            EntryKindRef::Symlink { target } => EntryKind::Symlink {
                target: target.to_vec(),
            },
        };
        Entry {
            name: self.name.to_vec(),
            kind,
            size: self.size,
            mode: self.mode,
            mtime: self.mtime,
            validator: self.validator.to_vec(),
        }
    }
}

/// A record's parts of variable length.
struct Parts<'a> {
    name: &'a [u8],
    validator: &'a [u8],
    target: &'a [u8],
    padding: &'a [u8],
}

impl<'a> Parts<'a> {
    fn split(fixed: &WireRecord, record: &'a [u8]) -> Result<Self, RecordError> {
        let [name_bytes, validator_bytes, target_bytes] =
            [fixed.name_bytes, fixed.validator_bytes, fixed.target_bytes]
                .map(|n| usize::from(n.get()));
        let unpadded = RECORD_FIXED_BYTES + name_bytes + validator_bytes + target_bytes;
        let parts = unpadded.next_multiple_of(RECORD_ALIGN_BYTES);
        if parts != record.len() {
            return Err(RecordError::Parts {
                parts,
                record: record.len(),
            });
        }
        let (name, rest) = record[RECORD_FIXED_BYTES..].split_at(name_bytes);
        let (validator, rest) = rest.split_at(validator_bytes);
        let (target, padding) = rest.split_at(target_bytes);
        Ok(Self {
            name,
            validator,
            target,
            padding,
        })
    }
}

fn record_len(record_bytes: u32) -> Result<usize, RecordError> {
    let len = usize::try_from(record_bytes).map_err(|_| RecordError::Length(record_bytes))?;
    let bounded = (RECORD_BYTES_MIN..=RECORD_BYTES_MAX).contains(&len);
    if !bounded || !len.is_multiple_of(RECORD_ALIGN_BYTES) {
        return Err(RecordError::Length(record_bytes));
    }
    Ok(len)
}

fn parse_kind(kind: u8, target: &[u8]) -> Result<EntryKindRef<'_>, RecordError> {
    match kind {
        KIND_SYMLINK if check_target(target) => Ok(EntryKindRef::Symlink { target }),
        KIND_FILE if target.is_empty() => Ok(EntryKindRef::File),
        KIND_DIRECTORY if target.is_empty() => Ok(EntryKindRef::Directory),
        KIND_FILE | KIND_DIRECTORY | KIND_SYMLINK => Err(RecordError::Target),
        other => Err(RecordError::UnknownKind(other)),
    }
}

/// Whether these bytes can be the target of a symbolic link.
pub(super) fn check_target(target: &[u8]) -> bool {
    (1..=TARGET_BYTES_MAX).contains(&target.len()) && !target.contains(&0)
}

fn parse_size(fixed: &WireRecord) -> Result<Option<u64>, RecordError> {
    if fixed.flags & FLAG_SIZE == 0 {
        return Ok(None);
    }
    match fixed.size.get() {
        size if size > ByteRange::END_MAX => Err(RecordError::Size(size)),
        size => Ok(Some(size)),
    }
}

fn parse_mode(fixed: &WireRecord) -> Result<Option<u16>, RecordError> {
    if fixed.flags & FLAG_MODE == 0 {
        return Ok(None);
    }
    let mode = fixed.mode.get();
    match u16::try_from(mode) {
        Ok(bits) if bits <= MODE_MAX => Ok(Some(bits)),
        _ => Err(RecordError::Mode(mode)),
    }
}

fn parse_mtime(fixed: &WireRecord) -> Result<Option<Mtime>, RecordError> {
    if fixed.flags & FLAG_MTIME == 0 {
        return Ok(None);
    }
    match fixed.mtime_ns.get() {
        ns @ 1_000_000_000.. => Err(RecordError::Nanoseconds(ns)),
        ns => Ok(Some(Mtime {
            s: fixed.mtime_s.get(),
            ns,
        })),
    }
}
