//! Directory entries, packed as READDIR and READDIRPLUS want them.
//!
//! Invariants: the payload never exceeds the size the kernel asked for; an entry is in it wholly or not at all; what is
//! in it is resident memory.
//!
//! Implements: `struct fuse_dirent`, `struct fuse_direntplus` and `FUSE_DIRENT_ALIGN` of
//! `include/uapi/linux/fuse.h`; `parse_dirfile` in `fs/fuse/readdir.c`.

use fuse_abi::linux::fuse_entry_out;
use zerocopy::{Immutable, IntoBytes};

use crate::abi::DIRENT_ALIGN_BYTES;
use crate::buffers::{ReplyBuffer, ResidentBytes};
use crate::reply::{EntryReply, FileKind};

/// Longest name in bytes (`NAME_MAX`).
pub const NAME_MAX_BYTES: usize = 255;

/// The fixed part of `struct fuse_dirent`.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct DirentHead {
    ino: u64,
    off: u64,
    namelen: u32,
    type_: u32,
}

/// One directory entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dirent<'a> {
    /// `d_ino`.
    pub ino: u64,
    /// The offset of the entry *after* this one: what the kernel sends to go on behind it. Never 0, which is the start.
    pub next_offset: u64,
    /// `d_type`.
    pub kind: FileKind,
    /// 1 to 255 bytes without `/` and NUL.
    pub name: &'a [u8],
}

/// Whether an entry found room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It is in the payload.
    Written,
    /// It is not: the payload is full. Finish, and begin the next one with this entry.
    Full,
}

/// Packs entries into a [`ReplyBuffer`].
pub struct DirentWriter<'a> {
    buffer: &'a mut ReplyBuffer,
    limit_bytes: usize,
    len_bytes: usize,
}

impl<'a> DirentWriter<'a> {
    /// A writer of at most `size` bytes (as READDIR asks for), or of what the buffer holds.
    pub fn new(buffer: &'a mut ReplyBuffer, size: u32) -> Self {
        let limit_bytes = buffer.capacity().min(size as usize);
        Self {
            buffer,
            limit_bytes,
            len_bytes: 0,
        }
    }

    /// Adds an entry for READDIR.
    ///
    /// # Panics
    /// When the name is empty, longer than 255 bytes or has a `/` or NUL (the kernel would fail the whole reply), or
    /// when `next_offset` is 0.
    pub fn push(&mut self, dirent: &Dirent<'_>) -> Pushed {
        self.push_parts(&[], dirent)
    }

    /// Adds an entry for READDIRPLUS. `Some` counts as a lookup of its node once the reply was accepted; `None` gives
    /// the name alone (as `.` and `..` must be given, and names whose attributes are not known).
    ///
    /// # Panics
    /// As [`DirentWriter::push`].
    pub fn push_plus(&mut self, entry: Option<&EntryReply>, dirent: &Dirent<'_>) -> Pushed {
        let entry = entry.map_or_else(fuse_entry_out::default, |entry| entry.to_raw());
        self.push_parts(entry.as_bytes(), dirent)
    }

    fn push_parts(&mut self, front: &[u8], dirent: &Dirent<'_>) -> Pushed {
        assert_name(dirent.name);
        assert_ne!(
            dirent.next_offset, 0,
            "offset 0 is the start of the directory"
        );
        let head = DirentHead {
            ino: dirent.ino,
            off: dirent.next_offset,
            // At most 255.
            namelen: dirent.name.len() as u32,
            type_: dirent.kind.dirent_type(),
        };
        let unpadded = front.len() + size_of::<DirentHead>() + dirent.name.len();
        let padded = unpadded.next_multiple_of(DIRENT_ALIGN_BYTES);
        if padded > self.limit_bytes - self.len_bytes {
            return Pushed::Full;
        }
        let mut at = self.len_bytes;
        let bytes = self.buffer.bytes_mut();
        for part in [
            front,
            head.as_bytes(),
            dirent.name,
            &[0; 7][..padded - unpadded],
        ] {
            bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        self.len_bytes = at;
        Pushed::Written
    }

    /// Whether nothing has been written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len_bytes == 0
    }

    /// The payload, for [`crate::Connection::reply_data`]. Empty means the end of the directory.
    #[must_use]
    pub fn finish(self) -> ResidentBytes<'a> {
        let Self {
            buffer, len_bytes, ..
        } = self;
        buffer.filled(len_bytes)
    }
}

fn assert_name(name: &[u8]) {
    assert!(
        (1..=NAME_MAX_BYTES).contains(&name.len()) && !name.iter().any(|&b| b == b'/' || b == 0),
        "not a name of a directory entry: {}",
        name.escape_ascii()
    );
}

#[cfg(test)]
#[path = "dirent_tests.rs"]
mod tests;
