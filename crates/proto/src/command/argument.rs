//! Free-text arguments of commands.

use super::{COMMAND_BYTES_MAX, text};
use alloc::boxed::Box;
use core::fmt;

/// Room for the longest word and its space before an argument.
const ARGUMENT_BYTES_MAX: usize = COMMAND_BYTES_MAX - "secctx ".len();

/// The argument of a command that takes any text: not empty, no NUL, no newline, no leading white space,
/// and no longer than a command has room for.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Argument(Box<[u8]>);

/// The name of a file in a cache's directory: an [`Argument`] without `/`.
///
/// Stricter than the kernel in one point: an empty name is refused at once, not by the look-up.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CullName(Argument);

impl Argument {
    /// The argument of these bytes; `None` when a command cannot carry them.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let first = bytes.first()?;
        let broken = bytes.iter().any(|byte| matches!(byte, 0 | b'\n'));
        if broken || text::is_space(*first) || bytes.len() > ARGUMENT_BYTES_MAX {
            return None;
        }
        Some(Self(bytes.into()))
    }

    /// The argument's bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl CullName {
    /// The name of these bytes; `None` when a command cannot carry them, or when there is a `/`.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        if bytes.contains(&b'/') {
            return None;
        }
        Argument::new(bytes).map(Self)
    }

    /// The name's bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Argument {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Argument({})", self.0.escape_ascii())
    }
}

impl fmt::Debug for CullName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "CullName({})", self.as_bytes().escape_ascii())
    }
}
