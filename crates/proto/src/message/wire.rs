//! The fixed structures, byte for byte, with proof that they lie as the kernel lays them.

use core::mem::{offset_of, size_of};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub const OPCODE_OPEN: u32 = 0;
pub const OPCODE_CLOSE: u32 = 1;
pub const OPCODE_READ: u32 = 2;
pub const OPCODE_REJECTED: u32 = 16;

/// `expected_size` of an object whose size nobody knows yet.
pub const SIZE_UNKNOWN: u64 = u64::MAX;

/// `struct cachefiles_msg` without its payload.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Header {
    pub msg_id: u32,
    pub opcode: u32,
    pub len: u32,
    pub object_id: u32,
}

/// `struct cachefiles_open` without the keys.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct OpenHeader {
    pub volume_key_size: u32,
    pub cookie_key_size: u32,
    pub fd: u32,
    pub flags: u32,
}

/// The extension block of OPEN without the validator. It follows the cookie key unpadded, so it may lie unaligned.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct OpenExtensionHeader {
    pub expected_size: u64,
    pub validator_size: u32,
    pub reserved: u32,
}

/// `struct cachefiles_read`.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Read {
    pub off: u64,
    pub len: u64,
}

/// The payload of REJECTED.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Rejected {
    pub errno: u32,
    pub reserved: u32,
}

const _: () = {
    assert!(size_of::<Header>() == 16);
    assert!(offset_of!(Header, msg_id) == 0);
    assert!(offset_of!(Header, opcode) == 4);
    assert!(offset_of!(Header, len) == 8);
    assert!(offset_of!(Header, object_id) == 12);
    assert!(size_of::<OpenHeader>() == 16);
    assert!(offset_of!(OpenHeader, volume_key_size) == 0);
    assert!(offset_of!(OpenHeader, cookie_key_size) == 4);
    assert!(offset_of!(OpenHeader, fd) == 8);
    assert!(offset_of!(OpenHeader, flags) == 12);
    assert!(size_of::<Read>() == 16);
    assert!(offset_of!(Read, off) == 0);
    assert!(offset_of!(Read, len) == 8);
    assert!(size_of::<OpenExtensionHeader>() == 16);
    assert!(offset_of!(OpenExtensionHeader, validator_size) == 8);
    assert!(size_of::<Rejected>() == 8);
};
