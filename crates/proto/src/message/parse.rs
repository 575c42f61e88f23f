//! From a packet to its message.

use super::wire::{self, Header, OpenExtensionHeader, OpenHeader, SIZE_UNKNOWN};
use super::{Body, MESSAGE_BYTES_MAX, Message, OPEN_FLAG_EXTENSION, Open, OpenExtension};
use crate::key::{COOKIE_KEY_BYTES_MAX, VALIDATOR_BYTES_MAX, VolumeKeyError, check_volume_key};
use crate::{ByteRange, Errno, MessageId, WireObjectId};
use zerocopy::{FromBytes, Immutable, KnownLayout};

/// Why a packet is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// The packet is longer than [`MESSAGE_BYTES_MAX`].
    #[error("a message of {0} bytes is longer than {MESSAGE_BYTES_MAX}")]
    TooLong(usize),
    /// It ends within a structure, key or validator.
    #[error("the message ends within its {0}")]
    Truncated(&'static str),
    /// The header's length is not the packet's.
    #[error("the header says {stated} bytes, the packet has {actual}")]
    Length {
        /// The header's `len`.
        stated: u32,
        /// Bytes of the packet.
        actual: usize,
    },
    /// There are bytes after the payload.
    #[error("{0} bytes follow the message's payload")]
    Trailing(usize),
    /// The opcode is none that we know.
    #[error("unknown opcode {0}")]
    UnknownOpcode(u32),
    /// OPEN has a flag that we do not know, so what follows the keys is not known either.
    #[error("unknown flags {0:#x} in OPEN")]
    UnknownFlags(u32),
    /// The volume key does not end with its only NUL.
    #[error("the volume key does not end with NUL")]
    VolumeKeyEnd,
    /// The volume key breaks its other rules.
    #[error(transparent)]
    VolumeKey(#[from] VolumeKeyError),
    /// The cookie key is longer than [`COOKIE_KEY_BYTES_MAX`].
    #[error("a cookie key of {0} bytes is longer than {COOKIE_KEY_BYTES_MAX}")]
    CookieKeyTooLong(usize),
    /// The validator is longer than [`VALIDATOR_BYTES_MAX`].
    #[error("a validator of {0} bytes is longer than {VALIDATOR_BYTES_MAX}")]
    ValidatorTooLong(usize),
    /// A field that must be 0 is not.
    #[error("a reserved field is {0}, not 0")]
    Reserved(u32),
    /// READ asks for nothing, or for bytes that no file offset reaches.
    #[error("READ of {len} bytes from {off} is no range")]
    Range {
        /// The payload's `off`.
        off: u64,
        /// The payload's `len`.
        len: u64,
    },
    /// REJECTED names no error.
    #[error("{0} is no error number")]
    Errno(u32),
}

impl<'a> Message<'a> {
    /// The message of one packet.
    ///
    /// # Errors
    /// [`MessageError`] when the packet is not exactly one message that this crate knows.
    pub fn parse(packet: &'a [u8]) -> Result<Self, MessageError> {
        if packet.len() > MESSAGE_BYTES_MAX {
            return Err(MessageError::TooLong(packet.len()));
        }
        let mut rest = packet;
        let header: Header = take_struct(&mut rest, "header")?;
        if usize::try_from(header.len) != Ok(packet.len()) {
            return Err(MessageError::Length {
                stated: header.len,
                actual: packet.len(),
            });
        }
        let body = match header.opcode {
            wire::OPCODE_OPEN => Body::Open(parse_open(&mut rest)?),
            wire::OPCODE_CLOSE => Body::Close,
            wire::OPCODE_READ => Body::Read(parse_read(&mut rest)?),
            wire::OPCODE_REJECTED => Body::Rejected(parse_rejected(&mut rest)?),
            other => return Err(MessageError::UnknownOpcode(other)),
        };
        if !rest.is_empty() {
            return Err(MessageError::Trailing(rest.len()));
        }
        Ok(Self {
            msg_id: MessageId(header.msg_id),
            object_id: WireObjectId(header.object_id),
            body,
        })
    }
}

fn parse_open<'a>(rest: &mut &'a [u8]) -> Result<Open<'a>, MessageError> {
    let header: OpenHeader = take_struct(rest, "OPEN header")?;
    if header.flags & !OPEN_FLAG_EXTENSION != 0 {
        return Err(MessageError::UnknownFlags(header.flags));
    }
    let volume_key = take(rest, header.volume_key_size, "volume key")?;
    let Some((0, volume_key)) = volume_key.split_last() else {
        return Err(MessageError::VolumeKeyEnd);
    };
    check_volume_key(volume_key)?;
    let cookie_key = take(rest, header.cookie_key_size, "cookie key")?;
    if cookie_key.len() > COOKIE_KEY_BYTES_MAX {
        return Err(MessageError::CookieKeyTooLong(cookie_key.len()));
    }
    let extension = match header.flags & OPEN_FLAG_EXTENSION {
        0 => None,
        _ => Some(parse_extension(rest)?),
    };
    Ok(Open {
        volume_key,
        cookie_key,
        fd: header.fd,
        flags: header.flags,
        extension,
    })
}

fn parse_extension<'a>(rest: &mut &'a [u8]) -> Result<OpenExtension<'a>, MessageError> {
    let header: OpenExtensionHeader = take_struct(rest, "OPEN extension")?;
    check_reserved(header.reserved)?;
    let validator = take(rest, header.validator_size, "validator")?;
    if validator.len() > VALIDATOR_BYTES_MAX {
        return Err(MessageError::ValidatorTooLong(validator.len()));
    }
    let expected_size = Some(header.expected_size).filter(|size| *size != SIZE_UNKNOWN);
    Ok(OpenExtension {
        expected_size,
        validator,
    })
}

fn parse_read(rest: &mut &[u8]) -> Result<ByteRange, MessageError> {
    let wire::Read { off, len } = take_struct(rest, "READ payload")?;
    ByteRange::new(off, len).ok_or(MessageError::Range { off, len })
}

fn parse_rejected(rest: &mut &[u8]) -> Result<Errno, MessageError> {
    let payload: wire::Rejected = take_struct(rest, "REJECTED payload")?;
    check_reserved(payload.reserved)?;
    let errno = i32::try_from(payload.errno).ok().and_then(Errno::new);
    errno.ok_or(MessageError::Errno(payload.errno))
}

const fn check_reserved(field: u32) -> Result<(), MessageError> {
    match field {
        0 => Ok(()),
        other => Err(MessageError::Reserved(other)),
    }
}

fn take_struct<T: FromBytes + KnownLayout + Immutable>(
    rest: &mut &[u8],
    what: &'static str,
) -> Result<T, MessageError> {
    let (value, after) = T::read_from_prefix(rest).map_err(|_| MessageError::Truncated(what))?;
    *rest = after;
    Ok(value)
}

fn take<'a>(rest: &mut &'a [u8], len: u32, what: &'static str) -> Result<&'a [u8], MessageError> {
    let len = usize::try_from(len).map_err(|_| MessageError::Truncated(what))?;
    let (taken, after) = rest
        .split_at_checked(len)
        .ok_or(MessageError::Truncated(what))?;
    *rest = after;
    Ok(taken)
}
