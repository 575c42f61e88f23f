//! Keys: how a volume is named, and an object within it.
//!
//! A *volume key* is the canonical text of a source. A *cookie key* is one byte for the kind of object, then the
//! path relative to the source; the key of file data also has the version, so that another version of a
//! file is another object and no version can mix with another.
//!
//! Invariants: a key is within the bounds of the wire ([`VOLUME_KEY_BYTES_MAX`], [`COOKIE_KEY_BYTES_MAX`]); a [`RelativePath`]
//! never leaves its source: no empty, `.` or `..` component, no NUL.

mod path;

use alloc::vec::Vec;
use core::fmt;

pub use path::{NAME_BYTES_MAX, NameError, PATH_BYTES_MAX, PathError, RelativePath, check_name};

/// Greatest length of a volume key, without its NUL.
pub const VOLUME_KEY_BYTES_MAX: usize = 4096;
/// Greatest length of a cookie key.
pub const COOKIE_KEY_BYTES_MAX: usize = 8192;
/// Greatest length of a validator.
pub const VALIDATOR_BYTES_MAX: usize = 1024;

const DATA: u8 = b'D';
const LISTING: u8 = b'L';
const ENTRY: u8 = b'E';

/// The name of a volume: the canonical text of its source, without secrets.
///
/// 1 to [`VOLUME_KEY_BYTES_MAX`] bytes, none of them NUL.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VolumeKey(alloc::boxed::Box<[u8]>);

/// Why bytes are no volume key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VolumeKeyError {
    /// There is no byte.
    #[error("a volume key must not be empty")]
    Empty,
    /// There are more than [`VOLUME_KEY_BYTES_MAX`] bytes.
    #[error("a volume key of {0} bytes is longer than {VOLUME_KEY_BYTES_MAX}")]
    TooLong(usize),
    /// There is a NUL, which ends the key on the wire.
    #[error("a volume key must not hold a NUL")]
    Nul,
}

impl VolumeKey {
    /// The volume key of these bytes.
    ///
    /// # Errors
    /// [`VolumeKeyError`] when they are empty, too long or hold a NUL.
    pub fn new(bytes: &[u8]) -> Result<Self, VolumeKeyError> {
        check_volume_key(bytes)?;
        Ok(Self(bytes.into()))
    }

    /// The key's bytes, without a NUL.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Whether these bytes are a volume key, without copying them.
///
/// # Errors
/// [`VolumeKeyError`] when they are empty, too long or hold a NUL.
pub fn check_volume_key(bytes: &[u8]) -> Result<(), VolumeKeyError> {
    if bytes.is_empty() {
        return Err(VolumeKeyError::Empty);
    }
    if bytes.len() > VOLUME_KEY_BYTES_MAX {
        return Err(VolumeKeyError::TooLong(bytes.len()));
    }
    if bytes.contains(&0) {
        return Err(VolumeKeyError::Nul);
    }
    Ok(())
}

impl fmt::Display for VolumeKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for VolumeKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "VolumeKey({self})")
    }
}

/// The name of an object within its volume: what it is, of which path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CookieKey {
    /// The bytes of one version of a file.
    Data {
        /// The file.
        path: RelativePath,
        /// The version, opaque; at most [`VALIDATOR_BYTES_MAX`] bytes, possibly none.
        validator: Vec<u8>,
    },
    /// The entries of a directory, as a [listing](crate::listing).
    Listing {
        /// The directory.
        path: RelativePath,
    },
    /// The attributes of one name, as a [listing](crate::listing) of one record or a negative one.
    Entry {
        /// The name, with the directories that lead to it.
        path: RelativePath,
    },
}

/// Why bytes are no cookie key of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CookieKeyError {
    /// There is no byte, so no kind.
    #[error("a cookie key must not be empty")]
    Empty,
    /// There are more than [`COOKIE_KEY_BYTES_MAX`] bytes.
    #[error("a cookie key of {0} bytes is longer than {COOKIE_KEY_BYTES_MAX}")]
    TooLong(usize),
    /// The first byte is none of `D`, `L`, `E`.
    #[error("a cookie key of unknown kind {0:#04x}")]
    UnknownKind(u8),
    /// A data key has no NUL between path and validator.
    #[error("a data key without a validator")]
    NoValidator,
    /// The validator has more than [`VALIDATOR_BYTES_MAX`] bytes.
    #[error("a validator of {0} bytes is longer than {VALIDATOR_BYTES_MAX}")]
    ValidatorTooLong(usize),
    /// The path is none.
    #[error(transparent)]
    Path(#[from] PathError),
}

impl CookieKey {
    /// The path that the object is of.
    #[must_use]
    pub const fn path(&self) -> &RelativePath {
        match self {
            Self::Data { path, .. } | Self::Listing { path } | Self::Entry { path } => path,
        }
    }

    /// The key's bytes, as they travel in OPEN and as the store keeps them.
    ///
    /// At most [`COOKIE_KEY_BYTES_MAX`], if the validator keeps its bound.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (kind, validator) = match self {
            Self::Data { validator, .. } => (DATA, Some(validator)),
            Self::Listing { .. } => (LISTING, None),
            Self::Entry { .. } => (ENTRY, None),
        };
        let path = self.path().as_bytes();
        let mut key = Vec::with_capacity(2 + path.len() + validator.map_or(0, Vec::len));
        key.push(kind);
        key.extend_from_slice(path);
        if let Some(validator) = validator {
            key.push(0);
            key.extend_from_slice(validator);
        }
        key
    }

    /// The object named by these bytes.
    ///
    /// # Errors
    /// [`CookieKeyError`] when they are empty or too long, of an unknown kind, when a data key has no or too long a
    /// validator, or when the path is none (of which a NUL in the key of a listing or entry is a case).
    pub fn parse(key: &[u8]) -> Result<Self, CookieKeyError> {
        if key.len() > COOKIE_KEY_BYTES_MAX {
            return Err(CookieKeyError::TooLong(key.len()));
        }
        let (&kind, rest) = key.split_first().ok_or(CookieKeyError::Empty)?;
        match kind {
            DATA => Self::parse_data(rest),
            LISTING => Ok(Self::Listing {
                path: RelativePath::new(rest)?,
            }),
            ENTRY => Ok(Self::Entry {
                path: RelativePath::new(rest)?,
            }),
            other => Err(CookieKeyError::UnknownKind(other)),
        }
    }

    fn parse_data(rest: &[u8]) -> Result<Self, CookieKeyError> {
        let nul = rest
            .iter()
            .position(|byte| *byte == 0)
            .ok_or(CookieKeyError::NoValidator)?;
        let (path, validator) = (&rest[..nul], &rest[nul + 1..]);
        if validator.len() > VALIDATOR_BYTES_MAX {
            return Err(CookieKeyError::ValidatorTooLong(validator.len()));
        }
        Ok(Self::Data {
            path: RelativePath::new(path)?,
            validator: validator.to_vec(),
        })
    }
}

impl fmt::Display for CookieKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data { path, validator } => {
                write!(formatter, "data of {path} at {}", validator.escape_ascii())
            }
            Self::Listing { path } => write!(formatter, "listing of {path}"),
            Self::Entry { path } => write!(formatter, "entry of {path}"),
        }
    }
}

impl fmt::Debug for CookieKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "CookieKey({self})")
    }
}

#[cfg(test)]
pub(crate) mod tests;
