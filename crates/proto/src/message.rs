//! Messages: what a daemon receives, one per packet (socket) or `read` (kernel device).
//!
//! The first 16 bytes are the kernel's `struct cachefiles_msg`, the payloads of OPEN and READ its
//! `struct cachefiles_open` and `struct cachefiles_read` (`include/uapi/linux/cachefiles.h`), all in host byte
//! order. Ours are the extension block of OPEN (announced by flag bit 0, which the kernel leaves
//! clear) and the opcode REJECTED.
//!
//! Invariants: a parsed message was consumed to its last byte; an encoded one parses to the same message.

mod encode;
mod parse;
mod wire;

use crate::{ByteRange, Errno, MessageId, WireObjectId};

pub use encode::EncodeError;
pub use parse::MessageError;

/// Greatest length of a message on the socket. A daemon's buffer must hold as much.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024;
/// Greatest length of a message on the kernel's device (`CACHEFILES_MSG_MAX_SIZE`).
pub const KERNEL_MESSAGE_BYTES_MAX: usize = 1024;
/// Bit of [`Open::flags`]: an extension block follows the keys.
pub const OPEN_FLAG_EXTENSION: u32 = 1;

/// One message from the engine (or the kernel) to a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Number of the request; in REJECTED the number of the refused command of this session, from 0.
    pub msg_id: MessageId,
    /// The object's handle; [`WireObjectId::NO_OBJECT`] in REJECTED.
    pub object_id: WireObjectId,
    /// What is asked for or told.
    pub body: Body<'a>,
}

/// What a message asks for or tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// Opcode 0: take charge of an object and answer `copen` with its size.
    Open(Open<'a>),
    /// Opcode 1: the object is no more needed; close its descriptors. Not answered.
    Close,
    /// Opcode 2: write these bytes into the object and answer `cread`.
    Read(ByteRange),
    /// Opcode 16, an extension: a command of this session failed with this error.
    Rejected(Errno),
}

/// The payload of OPEN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open<'a> {
    /// The volume's [key](crate::key::VolumeKey), without NUL.
    pub volume_key: &'a [u8],
    /// The object's [key](crate::key::CookieKey) within the volume.
    pub cookie_key: &'a [u8],
    /// The anonymous descriptor, already open in the reading process (kernel); 0 on the socket, where descriptors travel beside.
    pub fd: u32,
    /// [`OPEN_FLAG_EXTENSION`] exactly when there is an extension; all other bits are clear.
    pub flags: u32,
    /// What the kernel's message has no room for.
    pub extension: Option<OpenExtension<'a>>,
}

/// The extension block of OPEN: which version the engine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenExtension<'a> {
    /// The size in bytes that the engine knows already and that `copen` must state again.
    pub expected_size: Option<u64>,
    /// The version that the engine has; empty at the first OPEN of an object whose version is not known.
    pub validator: &'a [u8],
}

#[cfg(test)]
mod tests;
