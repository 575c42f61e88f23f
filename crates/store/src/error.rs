//! One error type per operation, each with its errno.
//!
//! Invariant: every errno is what the kernel said where the kernel said it, and otherwise one that names the cause.

use std::io;
use std::path::PathBuf;

use holdfast_proto::{ByteRange, Errno};

/// The number of `error`; EIO when it did not come from the kernel.
fn errno_of(error: &io::Error) -> Errno {
    error
        .raw_os_error()
        .and_then(Errno::new)
        .unwrap_or(Errno::EIO)
}

/// Why a cache cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The path exists and is not a directory.
    #[error("{} is not a directory", .0.display())]
    NotADirectory(PathBuf),
    /// The directory holds a cache of a layout this version does not know.
    #[error("the cache in {} has format {found:?}, which this version does not know; use another directory, or remove this one to begin anew", .dir.display())]
    UnknownFormat {
        /// The cache directory.
        dir: PathBuf,
        /// The first line of its format file, made printable.
        found: String,
    },
    /// Another process has it open.
    #[error("the cache in {} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// A system call failed.
    #[error("cannot {step} in {}: {source}", .dir.display())]
    Io {
        /// The cache directory.
        dir: PathBuf,
        /// What was being done.
        step: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

impl OpenError {
    /// The errno that fits.
    #[must_use]
    pub fn errno(&self) -> Errno {
        match self {
            Self::NotADirectory(_) => Errno::ENOTDIR,
            Self::UnknownFormat { .. } => Errno::EINVAL,
            Self::InUse(_) => Errno::EBUSY,
            Self::Io { source, .. } => errno_of(source),
        }
    }
}

/// Why a record could not be written; nothing it was to say is acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file system is full (or a quota is): ENOSPC or EDQUOT.
    #[error("no space left for the object's record")]
    NoSpace(#[source] io::Error),
    /// This incarnation was unlinked.
    #[error("the object was removed from the cache")]
    Unlinked,
    /// Another system call error.
    #[error("cannot use the object's files: {0}")]
    Io(#[source] io::Error),
}

impl RecordError {
    /// The errno that fits.
    #[must_use]
    pub fn errno(&self) -> Errno {
        match self {
            Self::NoSpace(source) | Self::Io(source) => errno_of(source),
            Self::Unlinked => Errno::ESTALE,
        }
    }
}

impl From<io::Error> for RecordError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace(error),
            _ => Self::Io(error),
        }
    }
}

/// Why an object could not be looked up. That it is not there is no error.
#[derive(Debug, thiserror::Error)]
#[error("cannot look the object up: {0}")]
pub struct LookupError(#[source] pub io::Error);

impl LookupError {
    /// The errno that fits.
    #[must_use]
    pub fn errno(&self) -> Errno {
        errno_of(&self.0)
    }
}

/// Why an object could not be created; nothing of the new incarnation is left.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// A key is empty of meaning to a record because it is too long, see [`KEY_BYTES_MAX`](crate::KEY_BYTES_MAX).
    #[error("a key of {0} bytes is too long")]
    KeyTooLong(usize),
    /// See [`VALIDATOR_BYTES_MAX`](crate::VALIDATOR_BYTES_MAX).
    #[error("a validator of {0} bytes is too long")]
    ValidatorTooLong(usize),
    /// See [`OBJECT_SIZE_MAX_BYTES`](crate::OBJECT_SIZE_MAX_BYTES).
    #[error("an object of {0} bytes is too large")]
    TooLarge(u64),
    /// The files could not be made or written.
    #[error(transparent)]
    Record(#[from] RecordError),
}

impl CreateError {
    /// The errno that fits.
    #[must_use]
    pub fn errno(&self) -> Errno {
        match self {
            Self::KeyTooLong(_) => Errno::ENAMETOOLONG,
            Self::ValidatorTooLong(_) => Errno::EMSGSIZE,
            Self::TooLarge(_) => Errno::EFBIG,
            Self::Record(error) => error.errno(),
        }
    }
}

/// Why an object's size could not be set.
#[derive(Debug, thiserror::Error)]
pub enum SetSizeError {
    /// The size is known already, and is another.
    #[error("the object's size is {known_bytes} bytes already")]
    Known {
        /// The size it has.
        known_bytes: u64,
    },
    /// See [`VALIDATOR_BYTES_MAX`](crate::VALIDATOR_BYTES_MAX).
    #[error("a validator of {0} bytes is too long")]
    ValidatorTooLong(usize),
    /// See [`OBJECT_SIZE_MAX_BYTES`](crate::OBJECT_SIZE_MAX_BYTES).
    #[error("an object of {0} bytes is too large")]
    TooLarge(u64),
    /// The record could not be written; the size stays unknown.
    #[error(transparent)]
    Record(#[from] RecordError),
}

impl SetSizeError {
    /// The errno that fits.
    #[must_use]
    pub fn errno(&self) -> Errno {
        match self {
            Self::Known { .. } => Errno::ESTALE,
            Self::ValidatorTooLong(_) => Errno::EMSGSIZE,
            Self::TooLarge(_) => Errno::EFBIG,
            Self::Record(error) => error.errno(),
        }
    }
}

/// Why blocks could not be marked present; none of them is.
#[derive(Debug, thiserror::Error)]
pub enum MarkError {
    /// Nothing can be present in an object whose size is unknown.
    #[error("the object's size is not known yet")]
    SizeUnknown,
    /// The range does not consist of whole blocks of the object.
    #[error("the range {0} does not consist of whole blocks of the object")]
    NotBlocks(ByteRange),
    /// No data was written at that byte of the range: a hole, or behind the data file's end.
    #[error("nothing was written at byte {at}")]
    Hole {
        /// First byte without data.
        at: u64,
    },
    /// The record could not be written.
    #[error(transparent)]
    Record(#[from] RecordError),
}

impl MarkError {
    /// The errno that fits.
    #[must_use]
    pub fn errno(&self) -> Errno {
        match self {
            Self::SizeUnknown | Self::NotBlocks(_) => Errno::EINVAL,
            Self::Hole { .. } => Errno::ENODATA,
            Self::Record(error) => error.errno(),
        }
    }
}

/// Why bytes could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Nothing can be read of an object whose size is unknown.
    #[error("the object's size is not known yet")]
    SizeUnknown,
    /// Some of the bytes asked for are not present: fetch them.
    #[error("bytes {0} are not all present")]
    Absent(ByteRange),
    /// Bytes recorded as present are not in the data file; from that byte on the object is now absent.
    #[error("the data file ends at byte {at}, before bytes recorded as present")]
    Torn {
        /// First byte that was missing.
        at: u64,
    },
    /// A system call failed, or this incarnation was unlinked and its files are closed.
    #[error("cannot read the object's data: {0}")]
    Io(#[source] io::Error),
}

impl ReadError {
    /// The errno that fits. [`ReadError::Absent`] and [`ReadError::Torn`] call for a fetch and need none; they map to EAGAIN.
    #[must_use]
    pub fn errno(&self) -> Errno {
        match self {
            Self::SizeUnknown => Errno::EINVAL,
            Self::Absent(_) | Self::Torn { .. } => Errno::EAGAIN,
            Self::Io(source) => errno_of(source),
        }
    }
}

/// Why what is present could not be made durable.
#[derive(Debug, thiserror::Error)]
pub enum DurableError {
    /// There is nothing to make durable: the size is unknown.
    #[error("the object's size is not known yet")]
    SizeUnknown,
    /// The data file was not open without a break since before the first write, so a successful sync would prove nothing.
    /// The blocks stay present for this boot.
    #[error("the data file was not open since before it was written to")]
    Unprovable,
    /// The sync failed: everything present and not yet durable is now absent.
    #[error("the data could not be written to disk: {0}")]
    SyncFailed(#[source] io::Error),
    /// The record could not be written.
    #[error(transparent)]
    Record(#[from] RecordError),
}

impl DurableError {
    /// The errno that fits.
    #[must_use]
    pub fn errno(&self) -> Errno {
        match self {
            Self::SizeUnknown => Errno::EINVAL,
            Self::Unprovable => Errno::EAGAIN,
            Self::SyncFailed(source) => errno_of(source),
            Self::Record(error) => error.errno(),
        }
    }
}

/// Why an object could not be removed; it may be gone in part and is then absent.
#[derive(Debug, thiserror::Error)]
#[error("cannot remove the object: {0}")]
pub struct RemoveError(#[source] pub io::Error);

impl RemoveError {
    /// The errno that fits.
    #[must_use]
    pub fn errno(&self) -> Errno {
        errno_of(&self.0)
    }
}
