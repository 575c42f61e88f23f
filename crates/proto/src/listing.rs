//! Listings, version 1: the content of directory objects and of entry objects.
//!
//! A document is a header of 32 bytes and records, each padded to 8 bytes; all integers are **little endian**, so
//! that the bytes in a cache mean the same on every machine. `docs/protocol.md` has the layout.
//!
//! Invariants: a parsed [`Listing`] was checked to its last byte, so iterating it cannot fail; every name in
//! it can be the name of a file. That names are unique, and which order they have, is not checked here.

mod build;
mod record;
mod wire;

use alloc::vec::Vec;
use wire::{FLAG_NEGATIVE, WireHeader};
use zerocopy::FromBytes;

pub use build::{ListingBuilder, PushError};
pub use record::{EntryKindRef, EntryRef, RecordError};

/// First bytes of every document; the last is the version.
pub const MAGIC: [u8; 8] = *b"HFLIST\0\x01";
/// Bytes of the header.
pub const HEADER_BYTES: usize = 32;
/// Greatest length of one record, padding included.
pub const RECORD_BYTES_MAX: usize = 8192;
/// Greatest length of a symbolic link's target (`PATH_MAX` of Linux without its NUL).
pub const TARGET_BYTES_MAX: usize = 4095;
/// Greatest permission bits of an entry: set-id, sticky and rwx of all three.
pub const MODE_MAX: u16 = 0o7777;

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink {
        /// What it points to: 1 to [`TARGET_BYTES_MAX`] bytes, none of them NUL.
        target: Vec<u8>,
    },
}

/// A time of last modification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mtime {
    /// Seconds since 1970-01-01 00:00 UTC, negative before.
    pub s: i64,
    /// Nanoseconds after that second, below 1,000,000,000.
    pub ns: u32,
}

/// One name with its attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name: see [`check_name`](crate::key::check_name).
    pub name: Vec<u8>,
    /// What it stands for.
    pub kind: EntryKind,
    /// The exact size in bytes, or `None` when the origin's index only knows about it.
    pub size: Option<u64>,
    /// Permission bits, at most [`MODE_MAX`].
    pub mode: Option<u16>,
    /// When it was last modified.
    pub mtime: Option<Mtime>,
    /// The version, opaque; empty when the origin has none.
    pub validator: Vec<u8>,
}

/// Why bytes are no listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListingError {
    /// There are fewer bytes than a header has.
    #[error("a listing of {0} bytes has no header")]
    NoHeader(usize),
    /// The first bytes are not [`MAGIC`]: no listing, or of another version.
    #[error("no listing of version 1")]
    Magic,
    /// The header has a flag that version 1 does not know.
    #[error("unknown flags {0:#x} in the header")]
    UnknownFlags(u32),
    /// The header's reserved field is not 0.
    #[error("the header's reserved field is {0}, not 0")]
    Reserved(u32),
    /// The header's length is not that of the document.
    #[error("the header says {stated} bytes, the document has {actual}")]
    Length {
        /// The header's `total_bytes`.
        stated: u64,
        /// Bytes of the document.
        actual: usize,
    },
    /// A negative listing has records.
    #[error("a negative listing with records")]
    NegativeWithRecords,
    /// The records do not number `record_count`.
    #[error("the header says {stated} records, there are {actual}")]
    Count {
        /// The header's `record_count`.
        stated: u64,
        /// Records found in the document's bytes.
        actual: u64,
    },
    /// A record is broken.
    #[error("the record at {offset}: {error}")]
    Record {
        /// Where the record begins, from the document's start.
        offset: usize,
        /// What is wrong with it.
        error: RecordError,
    },
}

/// A whole document that was checked; borrows its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Listing<'a> {
    document: &'a [u8],
    negative: bool,
    record_count: u64,
}

impl<'a> Listing<'a> {
    /// The listing of these bytes, all of which are checked.
    ///
    /// # Errors
    /// [`ListingError`] when they are not exactly one document of version 1.
    pub fn parse(document: &'a [u8]) -> Result<Self, ListingError> {
        let header = parse_header(document)?;
        let negative = header.flags.get() & FLAG_NEGATIVE != 0;
        if negative && document.len() != HEADER_BYTES {
            return Err(ListingError::NegativeWithRecords);
        }
        let mut record_count = 0;
        let mut offset = HEADER_BYTES;
        while offset < document.len() {
            let entry = EntryRef::parse(document, offset)
                .map_err(|error| ListingError::Record { offset, error })?;
            offset = entry.next_offset();
            record_count += 1;
        }
        if record_count != header.record_count.get() {
            let stated = header.record_count.get();
            return Err(ListingError::Count {
                stated,
                actual: record_count,
            });
        }
        Ok(Self {
            document,
            negative,
            record_count,
        })
    }

    /// Whether it says that the name does not exist.
    #[must_use]
    pub const fn is_negative(&self) -> bool {
        self.negative
    }

    /// Number of entries.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.record_count
    }

    /// Whether there is no entry: an empty directory, or a name that does not exist.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.record_count == 0
    }

    /// The entries in the document's order.
    #[must_use]
    pub const fn iter(&self) -> Iter<'a> {
        Iter {
            document: self.document,
            offset: HEADER_BYTES,
        }
    }

    /// The entry whose record begins at `offset` from the document's start ([`EntryRef::offset`]).
    ///
    /// `None` when no record can begin there. Within a record the answer may be an entry that is not
    /// in the listing, but never memory outside of the document.
    #[must_use]
    pub fn record_at(&self, offset: usize) -> Option<EntryRef<'a>> {
        if offset < HEADER_BYTES {
            return None;
        }
        EntryRef::parse(self.document, offset).ok()
    }
}

impl<'a> IntoIterator for &Listing<'a> {
    type Item = EntryRef<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// The entries of a [`Listing`].
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    document: &'a [u8],
    offset: usize,
}

impl<'a> Iterator for Iter<'a> {
    type Item = EntryRef<'a>;

    fn next(&mut self) -> Option<EntryRef<'a>> {
        // Every record was parsed once, so an error here is the document's end.
        let entry = EntryRef::parse(self.document, self.offset).ok()?;
        self.offset = entry.next_offset();
        Some(entry)
    }
}

fn parse_header(document: &[u8]) -> Result<WireHeader, ListingError> {
    let (header, _) = WireHeader::read_from_prefix(document)
        .map_err(|_| ListingError::NoHeader(document.len()))?;
    if header.magic != MAGIC {
        return Err(ListingError::Magic);
    }
    if header.flags.get() & !FLAG_NEGATIVE != 0 {
        return Err(ListingError::UnknownFlags(header.flags.get()));
    }
    if header.reserved.get() != 0 {
        return Err(ListingError::Reserved(header.reserved.get()));
    }
    let stated = header.total_bytes.get();
    if usize::try_from(stated) != Ok(document.len()) {
        return Err(ListingError::Length {
            stated,
            actual: document.len(),
        });
    }
    Ok(header)
}

#[cfg(test)]
mod tests;
