//! The few numbers of the kernel's `include/uapi/linux/fuse.h` (protocol 7.41–7.45) that `fuse-abi`, made from
//! protocol 7.40, does not have, and the ones it types in a way that does not fit.
//!
//! Invariant: nothing here changes the meaning of a constant of `fuse-abi`; it only adds.

/// Set in `fuse_in_header.unique` of a request that has been delivered before (`FUSE_UNIQUE_RESEND`).
pub(crate) const UNIQUE_RESEND: u64 = 1 << 63;

/// `FUSE_NOTIFY_RESEND`, the notification that makes the kernel deliver unanswered requests again.
pub(crate) const NOTIFY_RESEND: i32 = 7;

/// `FUSE_COPY_FILE_RANGE_64`, protocol 7.45.
pub(crate) const COPY_FILE_RANGE_64: u32 = 53;

/// Alignment of directory entries (`FUSE_DIRENT_ALIGN`).
pub(crate) const DIRENT_ALIGN_BYTES: usize = 8;

/// Unit of `fuse_in_header.total_extlen`.
pub(crate) const EXTENSION_UNIT_BYTES: usize = 8;

/// The largest READ of our sessions: 256 pages of 4 KiB (`FUSE_MAX_MAX_PAGES` of kernels without a larger
/// `fs.fuse.max_pages_limit`).
pub(crate) const READ_MAX_BYTES: usize = 1 << 20;
