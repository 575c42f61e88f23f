//! What a request asks for, by type.
//!
//! Operations of a read-only file system carry their arguments. Those that write are one variant (answer EROFS),
//! those that need a feature that the handshake never agrees to are one variant (answer ENOSYS); both keep their name.
//!
//! Invariant: every [`Opcode`] parses to exactly one variant (`arguments.rs`, an exhaustive match).
//!
//! Implements: the `fuse_*_in` structures of `include/uapi/linux/fuse.h`.

use fuse_abi::linux as raw;
use zerocopy::FromBytes;

use crate::handshake::InitFlags;
use crate::opcode::Opcode;
use crate::request::{NodeId, Unique};

/// The number that the file system gave to an open file or directory, and that the kernel brings back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileHandle(pub u64);

/// One entry of a FORGET batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forget {
    /// The node.
    pub nodeid: NodeId,
    /// How many lookups to take back.
    pub nlookup: u64,
}

/// The entries of a FORGET batch.
#[derive(Debug, Clone, Copy)]
pub struct Forgets<'a>(&'a [u8]);

impl<'a> Forgets<'a> {
    /// The entries, in the kernel's order.
    pub fn iter(self) -> impl Iterator<Item = Forget> + 'a {
        self.0
            .chunks_exact(size_of::<raw::fuse_forget_one>())
            .filter_map(|bytes| raw::fuse_forget_one::read_from_bytes(bytes).ok())
            .map(|one| Forget {
                nodeid: NodeId(one.nodeid),
                nlookup: one.nlookup,
            })
    }

    /// `count` entries at the start of `bytes`; `None` when there are fewer.
    pub(crate) fn parse(bytes: &'a [u8], count: usize) -> Option<Self> {
        let len = count.checked_mul(size_of::<raw::fuse_forget_one>())?;
        bytes.get(..len).map(Self)
    }
}

/// The kernel's side of the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InitRequest {
    /// Protocol version, first part.
    pub major: u32,
    /// Protocol version, second part.
    pub minor: u32,
    /// The largest read-ahead the kernel has set for this mount, in bytes.
    pub max_readahead_bytes: u32,
    /// What the kernel can do.
    pub offered: InitFlags,
}

/// What a request asks for.
#[derive(Debug, Clone, Copy)]
pub enum Operation<'a> {
    /// Look a name up in the directory.
    Lookup {
        /// Without NUL; never empty.
        name: &'a [u8],
    },
    /// Take lookups of the node back. Never answered.
    Forget {
        /// How many.
        nlookup: u64,
    },
    /// Take lookups of many nodes back. Never answered.
    BatchForget(Forgets<'a>),
    /// Attributes of the node.
    Getattr {
        /// The open file through which it is asked, if any.
        fh: Option<FileHandle>,
    },
    /// Target of the symbolic link.
    Readlink,
    /// Open the file.
    Open {
        /// As for open(2), without O_CREAT, O_EXCL, O_NOCTTY.
        flags: u32,
    },
    /// Read from the file: the answer has `size` bytes, or ends at the end of the file (see [`crate::ReadSpan`]).
    Read {
        /// The open file.
        fh: FileHandle,
        /// First byte.
        offset: u64,
        /// Number of bytes.
        size: u32,
        /// `O_*` flags of the open file.
        flags: u32,
    },
    /// Figures of the file system.
    Statfs,
    /// The last descriptor of an open file is gone.
    Release {
        /// The open file.
        fh: FileHandle,
        /// `O_*` flags of the open file.
        flags: u32,
    },
    /// Open the directory.
    Opendir {
        /// As for open(2).
        flags: u32,
    },
    /// Entries of the directory.
    Readdir {
        /// The open directory (0 when opens are not asked for, see [`crate::HandshakeOptions`]).
        fh: FileHandle,
        /// 0, or the `next_offset` of an entry given earlier.
        offset: u64,
        /// Room in bytes.
        size: u32,
    },
    /// Entries of the directory, each with a lookup.
    Readdirplus {
        /// The open directory (0 when opens are not asked for).
        fh: FileHandle,
        /// 0, or the `next_offset` of an entry given earlier.
        offset: u64,
        /// Room in bytes.
        size: u32,
    },
    /// The last descriptor of an open directory is gone.
    Releasedir {
        /// The open directory.
        fh: FileHandle,
    },
    /// close(2) of one descriptor. ENOSYS makes the kernel never ask again.
    Flush {
        /// The open file.
        fh: FileHandle,
    },
    /// fsync of a file.
    Fsync {
        /// The open file.
        fh: FileHandle,
    },
    /// fsync of a directory.
    Fsyncdir {
        /// The open directory.
        fh: FileHandle,
    },
    /// access(2); not sent on a mount with `default_permissions`.
    Access {
        /// `R_OK`, `W_OK`, `X_OK`.
        mask: u32,
    },
    /// Value of an extended attribute.
    Getxattr {
        /// Its name, without NUL.
        name: &'a [u8],
        /// Room in bytes; 0 asks for the size.
        size: u32,
    },
    /// Names of the extended attributes.
    Listxattr {
        /// Room in bytes; 0 asks for the size.
        size: u32,
    },
    /// SEEK_DATA or SEEK_HOLE.
    Lseek {
        /// The open file.
        fh: FileHandle,
        /// Where to start.
        offset: u64,
        /// As for lseek(2).
        whence: u32,
    },
    /// A signal is pending for the thread that waits for another request (see [`crate::interrupt`]). Needs no answer.
    Interrupt {
        /// The request it waits for; compare by [`Unique::id`].
        unique: Unique,
    },
    /// The handshake.
    Init(InitRequest),
    /// The file system goes away (never sent to plain FUSE mounts).
    Destroy,
    /// ioctl(2).
    Ioctl {
        /// The open file.
        fh: FileHandle,
        /// The ioctl number.
        command: u32,
    },
    /// poll(2).
    Poll {
        /// The open file.
        fh: FileHandle,
    },
    /// statx(2) with fields beyond GETATTR's. ENOSYS makes the kernel ask by GETATTR.
    Statx {
        /// The open file through which it is asked, if any.
        fh: Option<FileHandle>,
        /// `STATX_*` bits.
        mask: u32,
    },
    /// syncfs(2).
    Syncfs,
    /// An operation that writes: EROFS.
    Mutating {
        /// Which.
        opcode: Opcode,
    },
    /// A known operation that needs a feature which our handshake never agrees to: ENOSYS.
    Unsupported {
        /// Which.
        opcode: Opcode,
    },
    /// A number that protocol 7.45 does not have: ENOSYS.
    Unknown {
        /// The number.
        opcode: u32,
    },
}
