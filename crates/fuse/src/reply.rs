//! The bodies of replies, by type, and their translation to the kernel's structures.
//!
//! Invariants: times are kept as they are, to the nanosecond, also before 1970; a [`Duration`] of validity is the
//! kernel's own pair of seconds and nanoseconds.
//!
//! Implements: the `fuse_*_out` structures of `include/uapi/linux/fuse.h`.

use std::time::Duration;

use bitflags::bitflags;
use fuse_abi::linux as raw;

use crate::request::NodeId;

/// What kind of file an inode is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
}

impl FileKind {
    /// The type bits of `st_mode` (`S_IFMT`, inode(7)).
    #[must_use]
    pub const fn mode_bits(self) -> u32 {
        match self {
            Self::File => 0o100_000,
            Self::Directory => 0o040_000,
            Self::Symlink => 0o120_000,
        }
    }

    /// The type of a directory entry (`DT_*`, readdir(3)).
    #[must_use]
    pub const fn dirent_type(self) -> u32 {
        self.mode_bits() >> 12
    }
}

/// A point in time since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Timestamp {
    /// Seconds, negative before 1970.
    pub s: i64,
    /// Nanoseconds, 0..1,000,000,000.
    pub ns: u32,
}

/// What stat(2) shows of an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Attributes {
    /// `st_ino`; may differ from the nodeid.
    pub ino: u64,
    /// Size in bytes. The kernel never reads beyond it.
    pub size_bytes: u64,
    /// Allocated units of 512 bytes.
    pub blocks: u64,
    /// Last access.
    pub atime: Timestamp,
    /// Last change of the content.
    pub mtime: Timestamp,
    /// Last change of the inode.
    pub ctime: Timestamp,
    /// What it is.
    pub kind: FileKind,
    /// Permission bits, 0o7777.
    pub permissions: u16,
    /// Number of links.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Preferred size of I/O in bytes, a power of two of at least 512.
    pub block_size_bytes: u32,
}

impl Attributes {
    /// Attributes of an inode of root's with one link, all its times 1970, its size allocated whole.
    #[must_use]
    pub fn new(ino: u64, kind: FileKind, permissions: u16, size_bytes: u64) -> Self {
        Self {
            ino,
            size_bytes,
            blocks: size_bytes.div_ceil(512),
            atime: Timestamp::default(),
            mtime: Timestamp::default(),
            ctime: Timestamp::default(),
            kind,
            permissions,
            nlink: 1,
            uid: 0,
            gid: 0,
            block_size_bytes: 4096,
        }
    }

    pub(crate) fn to_raw(self) -> raw::fuse_attr {
        raw::fuse_attr {
            ino: self.ino,
            size: self.size_bytes,
            blocks: self.blocks,
            // The kernel reads these u64 back as signed.
            atime: self.atime.s as u64,
            mtime: self.mtime.s as u64,
            ctime: self.ctime.s as u64,
            atimensec: self.atime.ns,
            mtimensec: self.mtime.ns,
            ctimensec: self.ctime.ns,
            mode: self.kind.mode_bits() | u32::from(self.permissions & 0o7777),
            nlink: self.nlink,
            uid: self.uid,
            gid: self.gid,
            rdev: 0,
            blksize: self.block_size_bytes,
            flags: 0,
        }
    }
}

/// A found name: the reply to LOOKUP, and the front half of a READDIRPLUS entry. Each one that reaches the kernel is
/// one lookup of its node, taken back by FORGET.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryReply {
    /// The node. 0 would mean "does not exist": see [`crate::Connection::reply_negative_entry`].
    pub nodeid: NodeId,
    /// With `nodeid` unique for the life of the file system.
    pub generation: u64,
    /// How long the name means this node.
    pub entry_valid: Duration,
    /// How long the attributes hold.
    pub attr_valid: Duration,
    /// The attributes.
    pub attr: Attributes,
}

impl EntryReply {
    pub(crate) fn to_raw(self) -> raw::fuse_entry_out {
        raw::fuse_entry_out {
            nodeid: self.nodeid.0,
            generation: self.generation,
            entry_valid: self.entry_valid.as_secs(),
            attr_valid: self.attr_valid.as_secs(),
            entry_valid_nsec: self.entry_valid.subsec_nanos(),
            attr_valid_nsec: self.attr_valid.subsec_nanos(),
            attr: self.attr.to_raw(),
        }
    }
}

/// "No such name", to be remembered for `valid`.
pub(crate) fn negative_entry(valid: Duration) -> raw::fuse_entry_out {
    raw::fuse_entry_out {
        entry_valid: valid.as_secs(),
        entry_valid_nsec: valid.subsec_nanos(),
        ..raw::fuse_entry_out::default()
    }
}

/// The body of a reply to GETATTR.
pub(crate) fn attr_out(attr: Attributes, valid: Duration) -> raw::fuse_attr_out {
    raw::fuse_attr_out {
        attr_valid: valid.as_secs(),
        attr_valid_nsec: valid.subsec_nanos(),
        dummy: 0,
        attr: attr.to_raw(),
    }
}

bitflags! {
    /// How an opened file or directory is cached (`FOPEN_*`).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub struct OpenFlags: u32 {
        /// Bypass the page cache.
        const DIRECT_IO = raw::FOPEN_DIRECT_IO;
        /// Keep what the page cache has of the file. Without it, open waits behind reads that are under way.
        const KEEP_CACHE = raw::FOPEN_KEEP_CACHE;
        /// Not seekable.
        const NONSEEKABLE = raw::FOPEN_NONSEEKABLE;
        /// Cache the directory's entries.
        const CACHE_DIR = raw::FOPEN_CACHE_DIR;
        /// A stream: no file position at all.
        const STREAM = raw::FOPEN_STREAM;
        /// No FLUSH at close (Linux 5.16). FLUSH is also sent when execve(2) closes a descriptor: without this flag a
        /// process that has a file of the mount open cannot start the mount's next server while none is alive, because the
        /// child waits in execve for the answer that it is to give.
        const NOFLUSH = raw::FOPEN_NOFLUSH;
    }
}

/// Figures for statfs(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StatfsReply {
    /// Size of the file system in fragments.
    pub blocks: u64,
    /// Free fragments.
    pub blocks_free: u64,
    /// Free fragments for users.
    pub blocks_available: u64,
    /// Inodes.
    pub files: u64,
    /// Free inodes.
    pub files_free: u64,
    /// Preferred size of I/O in bytes.
    pub block_size_bytes: u32,
    /// Longest name in bytes.
    pub name_max_bytes: u32,
    /// Size of a fragment in bytes.
    pub fragment_size_bytes: u32,
}

impl StatfsReply {
    pub(crate) fn to_raw(self) -> raw::fuse_statfs_out {
        raw::fuse_statfs_out {
            st: raw::fuse_kstatfs {
                blocks: self.blocks,
                bfree: self.blocks_free,
                bavail: self.blocks_available,
                files: self.files,
                ffree: self.files_free,
                bsize: self.block_size_bytes,
                namelen: self.name_max_bytes,
                frsize: self.fragment_size_bytes,
                ..raw::fuse_kstatfs::default()
            },
        }
    }
}

/// A READ and the true size of its file: what a reply to it must look like.
///
/// A reply that is shorter than what was asked for makes the kernel believe that the file ends there, and it *shrinks
/// the inode*. So a reply has exactly [`ReadSpan::reply_len_bytes`] bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadSpan {
    /// First byte asked for.
    pub offset: u64,
    /// Number of bytes asked for.
    pub size: u32,
    /// Where the file truly ends.
    pub file_size_bytes: u64,
}

impl ReadSpan {
    /// The one right length of a reply: what was asked for, cut at the end of the file.
    #[must_use]
    pub fn reply_len_bytes(self) -> usize {
        let inside = self.file_size_bytes.saturating_sub(self.offset);
        // At most `size`, which is a u32.
        inside.min(u64::from(self.size)) as usize
    }

    /// Refuses a reply that would shrink the file, in release builds too.
    ///
    /// # Panics
    /// When `len_bytes` is not [`ReadSpan::reply_len_bytes`].
    pub fn assert_whole(self, len_bytes: usize) {
        assert_eq!(
            len_bytes,
            self.reply_len_bytes(),
            "a reply to READ must be whole, or end at the end of the file: {self:?}"
        );
    }
}

#[cfg(test)]
#[path = "reply_tests.rs"]
mod tests;
