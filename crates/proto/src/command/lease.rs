//! Commands on the lease of an object. All of them are extensions: the kernel completes a READ by an ioctl
//! without an error number, and looks into the file to see what is present.

use super::text;
use super::{NumberError, TextError};
use crate::{BLOCK_BYTES, ByteRange, Errno, MessageId};
use core::fmt;

/// A command on a lease; numbers are plain decimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseCommand {
    /// `cread <id>` or `cread <id>,-<errno>`: the answer to a READ.
    Cread {
        /// The READ's number.
        msg_id: MessageId,
        /// Its bytes are written, or why they cannot be.
        answer: Result<(), Errno>,
    },
    /// `present <off>,<len>`: these bytes are written. The range begins at a block boundary; that it ends
    /// at one or at the object's end is for the receiver to check, who knows the size.
    Present(ByteRange),
}

/// Why a text is no command of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseCommandError {
    /// It is no text of a command at all.
    #[error(transparent)]
    Text(#[from] TextError),
    /// The first word is no command of a lease.
    #[error("unknown command on a lease")]
    UnknownCommand,
    /// `cread` names no request.
    #[error("`cread` of no request: {0}")]
    CreadId(NumberError),
    /// `cread` names a request and a malformed error; nothing is completed.
    #[error("`cread` of request {0} with something that is no error number")]
    CreadErrno(MessageId),
    /// `present` names no range.
    #[error("`present` of no range: {0}")]
    PresentRange(NumberError),
    /// The range of `present` does not begin at a block boundary.
    #[error("`present` from {0}, which is no multiple of {BLOCK_BYTES}")]
    PresentUnaligned(u64),
}

impl LeaseCommandError {
    /// The error number that the command fails with.
    #[must_use]
    pub const fn errno(&self) -> Errno {
        match self {
            Self::Text(error) => error.errno(),
            Self::UnknownCommand => Errno::EOPNOTSUPP,
            Self::CreadId(error) | Self::PresentRange(error) => error.errno(),
            Self::CreadErrno(_) | Self::PresentUnaligned(_) => Errno::EINVAL,
        }
    }
}

impl LeaseCommand {
    /// The command of this text: up to the first newline, if there is one.
    ///
    /// # Errors
    /// [`LeaseCommandError`] when it is no text of a command, of an unknown word, or its numbers are malformed.
    pub fn parse(text: &[u8]) -> Result<Self, LeaseCommandError> {
        let (word, argument) = text::split(text)?;
        match word {
            b"cread" => parse_cread(argument),
            b"present" => parse_present(argument),
            _ => Err(LeaseCommandError::UnknownCommand),
        }
    }
}

fn parse_cread(argument: &[u8]) -> Result<LeaseCommand, LeaseCommandError> {
    let (id, errno) = match split_comma(argument) {
        Some((id, errno)) => (id, Some(errno)),
        None => (argument, None),
    };
    let id = text::decimal(id).map_err(LeaseCommandError::CreadId)?;
    let id = u32::try_from(id).map_err(|_| LeaseCommandError::CreadId(NumberError::Invalid))?;
    let msg_id = MessageId(id);
    let Some(errno) = errno else {
        return Ok(LeaseCommand::Cread {
            msg_id,
            answer: Ok(()),
        });
    };
    let errno = errno
        .strip_prefix(b"-")
        .and_then(|digits| text::decimal(digits).ok())
        .and_then(|number| i32::try_from(number).ok())
        .and_then(Errno::new)
        .ok_or(LeaseCommandError::CreadErrno(msg_id))?;
    Ok(LeaseCommand::Cread {
        msg_id,
        answer: Err(errno),
    })
}

fn parse_present(argument: &[u8]) -> Result<LeaseCommand, LeaseCommandError> {
    let invalid = LeaseCommandError::PresentRange(NumberError::Invalid);
    let (offset, len) = split_comma(argument).ok_or(invalid)?;
    let offset = text::decimal(offset).map_err(LeaseCommandError::PresentRange)?;
    let len = text::decimal(len).map_err(LeaseCommandError::PresentRange)?;
    let range = ByteRange::new(offset, len).ok_or(invalid)?;
    if !offset.is_multiple_of(BLOCK_BYTES) {
        return Err(LeaseCommandError::PresentUnaligned(offset));
    }
    Ok(LeaseCommand::Present(range))
}

fn split_comma(argument: &[u8]) -> Option<(&[u8], &[u8])> {
    let comma = argument.iter().position(|byte| *byte == b',')?;
    Some((&argument[..comma], &argument[comma + 1..]))
}

impl fmt::Display for LeaseCommand {
    /// The command's text, to be sent in one piece.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cread {
                msg_id,
                answer: Ok(()),
            } => write!(formatter, "cread {msg_id}"),
            Self::Cread {
                msg_id,
                answer: Err(errno),
            } => {
                write!(formatter, "cread {msg_id},-{}", errno.get())
            }
            Self::Present(range) => write!(formatter, "present {},{}", range.offset, range.len),
        }
    }
}
