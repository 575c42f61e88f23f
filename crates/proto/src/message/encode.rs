//! From a message to its packet.

use super::wire::{self, Header, OpenExtensionHeader, OpenHeader, SIZE_UNKNOWN};
use super::{Body, MESSAGE_BYTES_MAX, Message, OPEN_FLAG_EXTENSION, Open};
use crate::key::{
    COOKIE_KEY_BYTES_MAX, VALIDATOR_BYTES_MAX, VOLUME_KEY_BYTES_MAX, VolumeKeyError,
    check_volume_key,
};
use alloc::vec::Vec;
use core::mem::size_of;
use zerocopy::IntoBytes;

// The bounds of the parts keep every message within the whole's, so only the parts are checked.
const _: () = assert!(
    size_of::<Header>()
        + size_of::<OpenHeader>()
        + VOLUME_KEY_BYTES_MAX
        + 1
        + COOKIE_KEY_BYTES_MAX
        + size_of::<OpenExtensionHeader>()
        + VALIDATOR_BYTES_MAX
        <= MESSAGE_BYTES_MAX
);

/// Why a message has no packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The volume key breaks its rules.
    #[error(transparent)]
    VolumeKey(#[from] VolumeKeyError),
    /// The cookie key is longer than [`COOKIE_KEY_BYTES_MAX`].
    #[error("a cookie key of {0} bytes is longer than {COOKIE_KEY_BYTES_MAX}")]
    CookieKeyTooLong(usize),
    /// The validator is longer than [`VALIDATOR_BYTES_MAX`].
    #[error("a validator of {0} bytes is longer than {VALIDATOR_BYTES_MAX}")]
    ValidatorTooLong(usize),
    /// The expected size is `u64::MAX`, which on the wire means "unknown".
    #[error("an expected size of 2^64-1 cannot be stated")]
    ExpectedSize,
    /// The flags do not say whether there is an extension block, or say more.
    #[error("the flags {0:#x} do not fit the message")]
    Flags(u32),
}

impl Message<'_> {
    /// Appends the packet to `packet`; nothing is appended on an error.
    ///
    /// # Errors
    /// [`EncodeError`] when a part of an OPEN is longer than the wire allows, cannot be stated, or contradicts the flags.
    pub fn encode(&self, packet: &mut Vec<u8>) -> Result<(), EncodeError> {
        match self.body {
            Body::Open(open) => self.encode_open(&open, packet)?,
            Body::Close => self.encode_fixed(wire::OPCODE_CLOSE, &[], packet),
            Body::Read(range) => {
                let payload = wire::Read {
                    off: range.offset,
                    len: range.len,
                };
                self.encode_fixed(wire::OPCODE_READ, payload.as_bytes(), packet);
            }
            Body::Rejected(errno) => {
                let payload = wire::Rejected {
                    errno: errno.get().unsigned_abs(),
                    reserved: 0,
                };
                self.encode_fixed(wire::OPCODE_REJECTED, payload.as_bytes(), packet);
            }
        }
        Ok(())
    }

    fn encode_fixed(&self, opcode: u32, payload: &[u8], packet: &mut Vec<u8>) {
        let len = size_of::<Header>() + payload.len();
        // Bounded by MESSAGE_BYTES_MAX, see above, so the cast loses nothing.
        let header = Header {
            msg_id: self.msg_id.0,
            opcode,
            len: len as u32,
            object_id: self.object_id.0,
        };
        packet.reserve(len);
        packet.extend_from_slice(header.as_bytes());
        packet.extend_from_slice(payload);
    }

    fn encode_open(&self, open: &Open<'_>, packet: &mut Vec<u8>) -> Result<(), EncodeError> {
        check(open)?;
        let mut payload = Vec::new();
        let header = OpenHeader {
            volume_key_size: open.volume_key.len() as u32 + 1,
            cookie_key_size: open.cookie_key.len() as u32,
            fd: open.fd,
            flags: open.flags,
        };
        payload.extend_from_slice(header.as_bytes());
        payload.extend_from_slice(open.volume_key);
        payload.push(0);
        payload.extend_from_slice(open.cookie_key);
        if let Some(extension) = &open.extension {
            let header = OpenExtensionHeader {
                expected_size: extension.expected_size.unwrap_or(SIZE_UNKNOWN),
                validator_size: extension.validator.len() as u32,
                reserved: 0,
            };
            payload.extend_from_slice(header.as_bytes());
            payload.extend_from_slice(extension.validator);
        }
        self.encode_fixed(wire::OPCODE_OPEN, &payload, packet);
        Ok(())
    }
}

fn check(open: &Open<'_>) -> Result<(), EncodeError> {
    check_volume_key(open.volume_key)?;
    if open.cookie_key.len() > COOKIE_KEY_BYTES_MAX {
        return Err(EncodeError::CookieKeyTooLong(open.cookie_key.len()));
    }
    let mut flags = 0;
    if let Some(extension) = &open.extension {
        flags = OPEN_FLAG_EXTENSION;
        if extension.validator.len() > VALIDATOR_BYTES_MAX {
            return Err(EncodeError::ValidatorTooLong(extension.validator.len()));
        }
        if extension.expected_size == Some(SIZE_UNKNOWN) {
            return Err(EncodeError::ExpectedSize);
        }
    }
    if open.flags != flags {
        return Err(EncodeError::Flags(open.flags));
    }
    Ok(())
}
