//! A request as it came from the kernel: parsed once, here, into types.
//!
//! Invariant: a [`Request`] borrows the buffer it was read into; nothing is copied. Parsing is total: any bytes give
//! a `Request` or a [`RequestError`], never a panic.
//!
//! Implements: `struct fuse_in_header` of `include/uapi/linux/fuse.h`, `fuse_dev_do_read` of `fs/fuse/dev.c`.

use fuse_abi::linux::fuse_in_header;
use zerocopy::FromBytes;

use crate::abi;
use crate::arguments;
use crate::operation::Operation;

/// The number by which a request is answered (`fuse_in_header.unique`), with the kernel's flag for a resent one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Unique(u64);

/// The number of a request without the flag: the same before and after a resend; never used twice by the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(u64);

impl Unique {
    /// The number as the kernel wrote it.
    #[must_use]
    pub const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    /// The number as the kernel wants it back in the reply.
    #[must_use]
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// Which request it is, however often it has been delivered. Compare these, not `Unique`s, to recognise a
    /// request after a resend, or the one that an INTERRUPT means.
    #[must_use]
    pub const fn id(self) -> RequestId {
        RequestId(self.0 & !abi::UNIQUE_RESEND)
    }

    /// Whether the kernel has delivered this request before (`FUSE_UNIQUE_RESEND`, bit 63). It is no fence between
    /// two successors: the bit stays set at every further resend.
    #[must_use]
    pub const fn is_resent(self) -> bool {
        self.0 & abi::UNIQUE_RESEND != 0
    }
}

impl RequestId {
    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// The number by which kernel and file system name an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u64);

impl NodeId {
    /// The root of the mount (`FUSE_ROOT_ID`).
    pub const ROOT: NodeId = NodeId(fuse_abi::linux::FUSE_ROOT_ID);
}

/// One request.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The number for the reply.
    pub unique: Unique,
    /// The inode it is about; 0 for INIT and others that are about none.
    pub nodeid: NodeId,
    /// File-system user id of the caller.
    pub uid: u32,
    /// File-system group id of the caller.
    pub gid: u32,
    /// *Thread* id of the caller in the PID namespace of the process that mounted; 0 when it has none there, or when
    /// the kernel asks for itself (read-ahead).
    pub pid: u32,
    /// What is asked.
    pub operation: Operation<'a>,
}

/// Why bytes are no request. With a `unique`, the caller should answer EIO, else somebody waits for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Fewer bytes than a `fuse_in_header`.
    #[error("a request of {len_bytes} bytes is shorter than its header")]
    NoHeader {
        /// How many there were.
        len_bytes: usize,
    },
    /// The header's `len` is not the number of bytes that were read.
    #[error("the header says {stated_bytes} bytes, {read_bytes} were read")]
    WrongLength {
        /// Number for the reply.
        unique: Unique,
        /// The header's `len`.
        stated_bytes: u32,
        /// The bytes read.
        read_bytes: usize,
    },
    /// The arguments end early, or a name has no end.
    #[error("the arguments of opcode {opcode} are cut short")]
    ShortArguments {
        /// Number for the reply.
        unique: Unique,
        /// The opcode.
        opcode: u32,
    },
    /// A name is empty.
    #[error("an empty name in the arguments of opcode {opcode}")]
    EmptyName {
        /// Number for the reply.
        unique: Unique,
        /// The opcode.
        opcode: u32,
    },
}

impl RequestError {
    /// Which request must be answered with an error, if that much is known.
    #[must_use]
    pub fn unique(&self) -> Option<Unique> {
        match *self {
            Self::NoHeader { .. } => None,
            Self::WrongLength { unique, .. }
            | Self::ShortArguments { unique, .. }
            | Self::EmptyName { unique, .. } => Some(unique),
        }
    }
}

/// What the argument parser found wrong; the request's number is added by [`Request::parse`].
#[derive(Debug, Clone, Copy)]
pub(crate) enum ArgumentError {
    Short,
    EmptyName,
}

impl<'a> Request<'a> {
    /// Parses one whole request, as one read of `/dev/fuse` gives it.
    ///
    /// # Errors
    /// * [`RequestError::NoHeader`]: fewer than 40 bytes.
    /// * [`RequestError::WrongLength`]: the header's length is not that of `bytes`, or its extensions do not fit.
    /// * [`RequestError::ShortArguments`], [`RequestError::EmptyName`]: the body does not fit the opcode.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RequestError> {
        let (header, body) =
            fuse_in_header::read_from_prefix(bytes).map_err(|_| RequestError::NoHeader {
                len_bytes: bytes.len(),
            })?;
        let unique = Unique(header.unique);
        let extensions_bytes = usize::from(header.total_extlen) * abi::EXTENSION_UNIT_BYTES;
        let arguments_bytes = body.len().checked_sub(extensions_bytes);
        let arguments_bytes = arguments_bytes.filter(|_| header.len as usize == bytes.len());
        let Some(arguments_bytes) = arguments_bytes else {
            return Err(RequestError::WrongLength {
                unique,
                stated_bytes: header.len,
                read_bytes: bytes.len(),
            });
        };
        let opcode = header.opcode;
        let operation =
            arguments::parse(opcode, &body[..arguments_bytes]).map_err(|error| match error {
                ArgumentError::Short => RequestError::ShortArguments { unique, opcode },
                ArgumentError::EmptyName => RequestError::EmptyName { unique, opcode },
            })?;
        Ok(Self {
            unique,
            nodeid: NodeId(header.nodeid),
            uid: header.uid,
            gid: header.gid,
            pid: header.pid,
            operation,
        })
    }
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
