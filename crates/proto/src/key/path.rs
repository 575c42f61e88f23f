//! Paths relative to a source, of any bytes that a Unix name may have.

use super::{COOKIE_KEY_BYTES_MAX, VALIDATOR_BYTES_MAX};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

/// Greatest length of one component (`NAME_MAX` of Linux).
pub const NAME_BYTES_MAX: usize = 255;
/// Greatest length of a path: with kind, NUL and the longest validator it still fits into a cookie key.
pub const PATH_BYTES_MAX: usize = COOKIE_KEY_BYTES_MAX - 2 - VALIDATOR_BYTES_MAX;

/// A path below the root of a source: components joined by `/`; the root itself is empty.
///
/// No component is empty, `.`, `..`, longer than [`NAME_BYTES_MAX`], or holds a NUL; the whole has at most
/// [`PATH_BYTES_MAX`] bytes. The bytes need not be UTF-8.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelativePath(Box<[u8]>);

/// Why bytes are no name of a file in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// There is no byte.
    #[error("a name must not be empty")]
    Empty,
    /// It is `.` or `..`, which would lead elsewhere.
    #[error("`.` and `..` are no names")]
    Dots,
    /// There are more than [`NAME_BYTES_MAX`] bytes.
    #[error("a name of {0} bytes is longer than {NAME_BYTES_MAX}")]
    TooLong(usize),
    /// There is a `/` or a NUL.
    #[error("a name must not hold `/` or NUL")]
    Separator,
}

/// Why bytes are no path below a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// There are more than [`PATH_BYTES_MAX`] bytes.
    #[error("a path of {0} bytes is longer than {PATH_BYTES_MAX}")]
    TooLong(usize),
    /// A component is no name; a leading, trailing or doubled `/` makes an empty one.
    #[error("a component of the path is no name: {0}")]
    Component(#[from] NameError),
}

/// Whether these bytes can be the name of a file in a directory.
///
/// # Errors
/// [`NameError`] when they are empty, `.` or `..`, too long, or hold `/` or NUL.
pub fn check_name(name: &[u8]) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name == b"." || name == b".." {
        return Err(NameError::Dots);
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong(name.len()));
    }
    if name.iter().any(|byte| matches!(byte, 0 | b'/')) {
        return Err(NameError::Separator);
    }
    Ok(())
}

impl RelativePath {
    /// The source itself.
    #[must_use]
    pub fn root() -> Self {
        Self(Box::default())
    }

    /// The path of these bytes; empty bytes are the root.
    ///
    /// # Errors
    /// [`PathError`] when they are too long or a component is no name.
    pub fn new(bytes: &[u8]) -> Result<Self, PathError> {
        if bytes.len() > PATH_BYTES_MAX {
            return Err(PathError::TooLong(bytes.len()));
        }
        if !bytes.is_empty() {
            bytes.split(|byte| *byte == b'/').try_for_each(check_name)?;
        }
        Ok(Self(bytes.into()))
    }

    /// The path of `name` in this directory.
    ///
    /// # Errors
    /// [`PathError`] when `name` is none, or the whole would be too long.
    pub fn join(&self, name: &[u8]) -> Result<Self, PathError> {
        check_name(name)?;
        let separator: &[u8] = if self.is_root() { b"" } else { b"/" };
        let len = self.0.len() + separator.len() + name.len();
        if len > PATH_BYTES_MAX {
            return Err(PathError::TooLong(len));
        }
        Ok(Self([&*self.0, separator, name].concat().into()))
    }

    /// Goes down to `name` in this directory; on an error the path stays as it was.
    ///
    /// # Errors
    /// [`PathError`] when `name` is none, or the whole would be too long.
    pub fn push(&mut self, name: &[u8]) -> Result<(), PathError> {
        *self = self.join(name)?;
        Ok(())
    }

    /// The directory that holds it; `None` for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let slash = self.0.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        Some(Self(self.0[..slash].into()))
    }

    /// The last component; `None` for the root.
    #[must_use]
    pub fn file_name(&self) -> Option<&[u8]> {
        self.0
            .rsplit(|byte| *byte == b'/')
            .next()
            .filter(|name| !name.is_empty())
    }

    /// The components from the root down; none for the root.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0
            .split(|byte| *byte == b'/')
            .filter(|name| !name.is_empty())
    }

    /// Whether it is the source itself.
    #[must_use]
    pub const fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The components joined by `/`; empty for the root.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The same bytes, given away.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0.into_vec()
    }
}

impl fmt::Display for RelativePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "/{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for RelativePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "RelativePath({self})")
    }
}
