//! Commands: what a daemon writes, one per packet (socket) or `write` (kernel device).
//!
//! They are the kernel's own text commands (`fs/cachefiles/daemon.c`, `cachefiles_ondemand_copen` in
//! `ondemand.c`), parsed in the kernel's order with the kernel's errors, and two extensions: `credit`, and a
//! validator behind the size of `copen`. On the lease of an object travel [`LeaseCommand`]s, which are ours.
//!
//! What depends on the state of the receiver (is it bound, is this id pending) is not decided here.
//! Invariant: what was parsed encodes to a text that parses to the same.

mod argument;
mod lease;
mod parse;
mod text;

use crate::{Errno, MessageId};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::num::NonZeroU32;

pub use argument::{Argument, CullName};
pub use lease::{LeaseCommand, LeaseCommandError};
pub use text::{NumberError, TextError};

/// Greatest length of a command (the kernel's page size less one).
pub const COMMAND_BYTES_MAX: usize = 4095;

/// A command on the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `bind` or `bind ondemand`: begin.
    Bind(BindMode),
    /// `copen <id>,<size>[ validator=<hex>]` or `copen <id>,-<errno>`: the answer to an OPEN.
    Copen {
        /// The OPEN's number.
        msg_id: MessageId,
        /// The object's size and version, or why it cannot be opened.
        answer: Result<OpenAnswer, Errno>,
    },
    /// `restore`: hand out again whatever was handed out and not answered.
    Restore,
    /// `credit <n>`, an extension: so many more requests may be handed out to this session.
    Credit(NonZeroU32),
    /// `cull <name>`: delete an object's file.
    Cull(CullName),
    /// `inuse <name>`: tell whether an object's file is in use.
    InUse(CullName),
    /// `dir <path>`: where the cache lies.
    Dir(Argument),
    /// `tag <name>`: what the cache is called.
    Tag(Argument),
    /// `secctx <label>`: the security label to act under.
    SecurityContext(Argument),
    /// `brun`, `bcull`, `bstop`, `frun`, `fcull`, `fstop` with `<decimal>%`: a limit of the cache's space.
    Limit {
        /// Which of the limits.
        limit: Limit,
        /// Percent of the file system, at most 99.
        percent: u8,
    },
    /// `debug <mask>`: what the kernel logs.
    Debug(u64),
}

/// In which mode a device is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindMode {
    /// `bind`: a plain cache.
    Cache,
    /// `bind ondemand`: requests are handed out to the daemon.
    OnDemand,
}

/// A positive answer to OPEN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenAnswer {
    /// The object's size in bytes. Parsed values are at most `i64::MAX`.
    pub size: u64,
    /// The version, opaque; `None` when the daemon did not state one. Parsed values have at most
    /// [`VALIDATOR_BYTES_MAX`](crate::key::VALIDATOR_BYTES_MAX) bytes; longer ones encode to a text that is refused.
    pub validator: Option<Vec<u8>>,
}

/// A limit of a cache's space, of blocks (`b`) or files (`f`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    /// Above so much free space of blocks culling stops.
    Brun,
    /// Below so much free space of blocks culling starts.
    Bcull,
    /// Below so much free space of blocks nothing is stored.
    Bstop,
    /// Above so many free files culling stops.
    Frun,
    /// Below so many free files culling starts.
    Fcull,
    /// Below so many free files nothing is stored.
    Fstop,
}

impl Limit {
    const ALL: [Self; 6] = [
        Self::Brun,
        Self::Bcull,
        Self::Bstop,
        Self::Frun,
        Self::Fcull,
        Self::Fstop,
    ];

    /// The command's word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Brun => "brun",
            Self::Bcull => "bcull",
            Self::Bstop => "bstop",
            Self::Frun => "frun",
            Self::Fcull => "fcull",
            Self::Fstop => "fstop",
        }
    }
}

/// Why a text is no command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// It is no text of a command at all.
    #[error(transparent)]
    Text(#[from] TextError),
    /// The first word is no command.
    #[error("unknown command")]
    UnknownCommand,
    /// The argument of `bind` is neither absent nor `ondemand`. The kernel sees that only after it has seen that the
    /// device is not bound yet.
    #[error("`bind` takes nothing or `ondemand`")]
    BindArgument,
    /// The argument of this command (but `bind` and `copen`) is missing or malformed.
    #[error("missing or malformed argument of `{0}`")]
    Argument(&'static str),
    /// `copen` has no argument, no comma, or nothing that is the number of a request.
    #[error("`copen` of no request: {0}")]
    CopenId(NumberError),
    /// `copen` answers this request, but the answer is malformed. If that OPEN is pending, it **fails** with the
    /// error's number, and so does the command; else the command fails with `EINVAL`.
    #[error("malformed answer of `copen` to request {msg_id}: {error}")]
    CopenAnswer {
        /// The request that fails by it.
        msg_id: MessageId,
        /// What is wrong with the answer.
        error: NumberError,
    },
}

impl CommandError {
    /// The error number that the command fails with.
    #[must_use]
    pub const fn errno(&self) -> Errno {
        match self {
            Self::Text(error) => error.errno(),
            Self::UnknownCommand => Errno::EOPNOTSUPP,
            Self::BindArgument | Self::Argument(_) => Errno::EINVAL,
            Self::CopenId(error) | Self::CopenAnswer { error, .. } => error.errno(),
        }
    }

    /// Whether the command is one that, before `bind ondemand`, fails with `EOPNOTSUPP` whatever its argument is.
    #[must_use]
    pub fn needs_on_demand(&self) -> bool {
        match self {
            Self::CopenId(_) | Self::CopenAnswer { .. } => true,
            Self::Argument(word) => *word == "credit",
            Self::Text(_) | Self::UnknownCommand | Self::BindArgument => false,
        }
    }
}

impl Command {
    /// Whether the command, before `bind ondemand`, fails with `EOPNOTSUPP`.
    #[must_use]
    pub const fn needs_on_demand(&self) -> bool {
        match self {
            Self::Copen { .. } | Self::Restore | Self::Credit(_) => true,
            Self::Bind(_)
            | Self::Cull(_)
            | Self::InUse(_)
            | Self::Dir(_)
            | Self::Tag(_)
            | Self::SecurityContext(_)
            | Self::Limit { .. }
            | Self::Debug(_) => false,
        }
    }

    /// The command's text, to be written in one piece.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Bind(BindMode::Cache) => b"bind".to_vec(),
            Self::Bind(BindMode::OnDemand) => b"bind ondemand".to_vec(),
            Self::Copen { msg_id, answer } => copen_text(*msg_id, answer).into_bytes(),
            Self::Restore => b"restore".to_vec(),
            Self::Credit(credits) => format!("credit {credits}").into_bytes(),
            Self::Cull(name) => with_argument("cull", name.as_bytes()),
            Self::InUse(name) => with_argument("inuse", name.as_bytes()),
            Self::Dir(path) => with_argument("dir", path.as_bytes()),
            Self::Tag(tag) => with_argument("tag", tag.as_bytes()),
            Self::SecurityContext(label) => with_argument("secctx", label.as_bytes()),
            Self::Limit { limit, percent } => format!("{} {percent}%", limit.word()).into_bytes(),
            Self::Debug(mask) => format!("debug {mask}").into_bytes(),
        }
    }
}

fn copen_text(msg_id: MessageId, answer: &Result<OpenAnswer, Errno>) -> String {
    match answer {
        Err(errno) => format!("copen {msg_id},-{}", errno.get()),
        Ok(OpenAnswer {
            size,
            validator: None,
        }) => format!("copen {msg_id},{size}"),
        Ok(OpenAnswer {
            size,
            validator: Some(validator),
        }) => {
            format!("copen {msg_id},{size} validator={}", hex::encode(validator))
        }
    }
}

fn with_argument(word: &str, argument: &[u8]) -> Vec<u8> {
    [word.as_bytes(), b" ", argument].concat()
}

impl fmt::Display for Command {
    /// The command's text, with bytes that are not printable ASCII escaped.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.encode().escape_ascii())
    }
}

#[cfg(test)]
mod tests;
