//! INIT: what the kernel offers, what we take, and the record of it.
//!
//! Two steps, because what was agreed on must outlive the process *before* the kernel relies on it:
//! [`Negotiated::choose`] decides, the caller stores the result (it is `serde`-able), and only then
//! [`crate::Connection::reply_init`] tells the kernel. A successor gets the stored record with
//! [`crate::Connection::take_over`]. A crash in between is harmless: the kernel delivers INIT again, and the successor
//! answers it with the stored record.
//!
//! Choices, and why:
//! * `max_write` 4096, the kernel's least: nobody writes, and it keeps the largest request small.
//! * `max_background` in the thousands: at the default of 12 a dozen reads of one slow file stop the read-ahead of all
//!   other files.
//! * No splice, no clone, no io_uring: what is in them is not redelivered, or dies with its process.
//! * `FUSE_HANDLE_KILLPRIV` and what else concerns writing: not taken.
//!
//! Implements: `process_init_reply` in the kernel's `fs/fuse/inode.c`.

use bitflags::bitflags;
use fuse_abi::linux as raw;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::abi::READ_MAX_BYTES;
use crate::operation::InitRequest;

const PAGE_BYTES: u32 = 4096;

/// The oldest protocol we speak: 7.31 (Linux 5.4), the first with all of `FUSE_MAX_PAGES`, `FUSE_CACHE_SYMLINKS`, and
/// `FUSE_NO_OPENDIR_SUPPORT`.
pub const MINOR_MIN: u32 = 31;

/// The newest protocol we speak: 7.45 (Linux 6.18).
pub const MINOR_MAX: u32 = 45;

bitflags! {
    /// The flags of INIT, `flags` in the low and `flags2` in the high half.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
    pub struct InitFlags: u64 {
        /// Several reads of one file at a time.
        const ASYNC_READ = raw::FUSE_ASYNC_READ as u64;
        /// Lookups of `.` and `..`, for NFS export.
        const EXPORT_SUPPORT = raw::FUSE_EXPORT_SUPPORT as u64;
        /// READDIRPLUS at all.
        const DO_READDIRPLUS = raw::FUSE_DO_READDIRPLUS as u64;
        /// READDIRPLUS only where the kernel sees lookups follow.
        const READDIRPLUS_AUTO = raw::FUSE_READDIRPLUS_AUTO as u64;
        /// Lookups and readdirs of one directory at a time.
        const PARALLEL_DIROPS = raw::FUSE_PARALLEL_DIROPS as u64;
        /// Tells an abort (ECONNABORTED) from an unmount (ENODEV).
        const ABORT_ERROR = raw::FUSE_ABORT_ERROR as u64;
        /// `max_pages` is valid.
        const MAX_PAGES = raw::FUSE_MAX_PAGES as u64;
        /// Symlink targets in the page cache.
        const CACHE_SYMLINKS = raw::FUSE_CACHE_SYMLINKS as u64;
        /// ENOSYS to OPENDIR means: never ask again.
        const NO_OPENDIR_SUPPORT = raw::FUSE_NO_OPENDIR_SUPPORT as u64;
        /// `flags2` is valid.
        const INIT_EXT = raw::FUSE_INIT_EXT as u64;
        /// `FUSE_NOTIFY_RESEND` is known (Linux 6.9).
        const HAS_RESEND = raw::FUSE_HAS_RESEND;
        /// Reads may bypass the server (Linux 6.9).
        const PASSTHROUGH = raw::FUSE_PASSTHROUGH;
        /// No NFS export by file handles.
        const NO_EXPORT_SUPPORT = raw::FUSE_NO_EXPORT_SUPPORT;
        // The kernel may know more than we do.
        const _ = !0;
    }
}

/// How READDIRPLUS is to be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readdirplus {
    /// Never.
    Never,
    /// Where the kernel sees that lookups follow.
    Adaptive,
    /// Always.
    Always,
}

/// How directories are opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirectoryOpens {
    /// OPENDIR and RELEASEDIR are sent.
    Sent,
    /// The file system will answer the first OPENDIR with ENOSYS, and no OPENDIR or RELEASEDIR comes after it. For
    /// directory offsets that need no state.
    Omitted,
}

/// Whether the mount can be exported by NFS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NfsExport {
    /// Lookups of `.` and `..` by nodeid are answered.
    Supported,
    /// Not offered.
    NotOffered,
}

/// What the caller wants of the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandshakeOptions {
    /// Background requests (read-ahead) the kernel lets wait for answers. Default 4096.
    pub max_background: u16,
    /// From how many background requests on the kernel calls the mount congested. Default 3072.
    pub congestion_threshold: u16,
    /// Default [`Readdirplus::Adaptive`].
    pub readdirplus: Readdirplus,
    /// Default [`DirectoryOpens::Sent`].
    pub directory_opens: DirectoryOpens,
    /// Default [`NfsExport::NotOffered`].
    pub nfs_export: NfsExport,
}

impl Default for HandshakeOptions {
    fn default() -> Self {
        Self {
            max_background: 4096,
            congestion_threshold: 3072,
            readdirplus: Readdirplus::Adaptive,
            directory_opens: DirectoryOpens::Sent,
            nfs_export: NfsExport::NotOffered,
        }
    }
}

/// What kernel and file system agreed on; stored before the INIT reply, handed to successors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Negotiated {
    /// Protocol minor version of the kernel.
    pub kernel_minor: u32,
    /// Protocol minor version spoken: the lesser of the kernel's and [`MINOR_MAX`].
    pub minor: u32,
    /// The flags agreed on.
    pub flags: InitFlags,
    /// Read-ahead, in bytes.
    pub max_readahead_bytes: u32,
    /// Largest WRITE, in bytes.
    pub max_write_bytes: u32,
    /// Largest READ, in pages of 4 KiB.
    pub max_pages: u16,
    /// See [`HandshakeOptions::max_background`].
    pub max_background: u16,
    /// See [`HandshakeOptions::congestion_threshold`].
    pub congestion_threshold: u16,
}

/// Why there is no common ground with the kernel. [`HandshakeError::errno`] is the answer to its INIT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// The kernel speaks another protocol than 7.x, or one older than [`MINOR_MIN`].
    #[error("the kernel speaks FUSE {major}.{minor}, at least 7.31 (Linux 5.4) is needed")]
    Protocol {
        /// The kernel's version, first part.
        major: u32,
        /// The kernel's version, second part.
        minor: u32,
    },
}

impl HandshakeError {
    /// The errno to answer INIT with.
    #[must_use]
    pub fn errno(self) -> Errno {
        match self {
            Self::Protocol { .. } => Errno::PROTO,
        }
    }
}

impl Negotiated {
    /// Decides what to take of the kernel's offer. Nothing is sent.
    ///
    /// # Errors
    /// [`HandshakeError::Protocol`] when the kernel is too old or speaks another protocol.
    pub fn choose(init: &InitRequest, options: &HandshakeOptions) -> Result<Self, HandshakeError> {
        if init.major != raw::FUSE_KERNEL_VERSION || init.minor < MINOR_MIN {
            return Err(HandshakeError::Protocol {
                major: init.major,
                minor: init.minor,
            });
        }
        Ok(Self {
            kernel_minor: init.minor,
            minor: init.minor.min(MINOR_MAX),
            flags: wanted(options) & init.offered,
            max_readahead_bytes: init.max_readahead_bytes,
            max_write_bytes: PAGE_BYTES,
            max_pages: const { (READ_MAX_BYTES / PAGE_BYTES as usize) as u16 },
            max_background: options.max_background,
            congestion_threshold: options.congestion_threshold,
        })
    }

    /// Whether `FUSE_NOTIFY_RESEND` can be used.
    #[must_use]
    pub fn has_resend(&self) -> bool {
        self.flags.contains(InitFlags::HAS_RESEND)
    }

    /// The largest READ, in bytes.
    #[must_use]
    pub fn max_read_bytes(&self) -> u32 {
        u32::from(self.max_pages) * PAGE_BYTES
    }

    /// The body of the INIT reply.
    pub(crate) fn to_raw(self) -> raw::fuse_init_out {
        let bits = self.flags.bits();
        raw::fuse_init_out {
            major: raw::FUSE_KERNEL_VERSION,
            minor: self.minor,
            max_readahead: self.max_readahead_bytes,
            flags: bits as u32,
            flags2: (bits >> 32) as u32,
            max_background: self.max_background,
            congestion_threshold: self.congestion_threshold,
            max_write: self.max_write_bytes,
            time_gran: 1,
            max_pages: self.max_pages,
            ..raw::fuse_init_out::default()
        }
    }
}

fn wanted(options: &HandshakeOptions) -> InitFlags {
    let always = InitFlags::ASYNC_READ
        | InitFlags::PARALLEL_DIROPS
        | InitFlags::ABORT_ERROR
        | InitFlags::MAX_PAGES
        | InitFlags::CACHE_SYMLINKS
        | InitFlags::INIT_EXT
        | InitFlags::HAS_RESEND;
    let readdirplus = match options.readdirplus {
        Readdirplus::Never => InitFlags::empty(),
        Readdirplus::Adaptive => InitFlags::DO_READDIRPLUS | InitFlags::READDIRPLUS_AUTO,
        Readdirplus::Always => InitFlags::DO_READDIRPLUS,
    };
    let directory_opens = match options.directory_opens {
        DirectoryOpens::Sent => InitFlags::empty(),
        DirectoryOpens::Omitted => InitFlags::NO_OPENDIR_SUPPORT,
    };
    let export = match options.nfs_export {
        NfsExport::Supported => InitFlags::EXPORT_SUPPORT,
        NfsExport::NotOffered => InitFlags::NO_EXPORT_SUPPORT,
    };
    always | readdirplus | directory_opens | export
}

#[cfg(test)]
#[path = "handshake_tests.rs"]
mod tests;
