//! The fixed structures of a listing, byte for byte.

use super::HEADER_BYTES;
use zerocopy::little_endian::{I64, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The header of a document as it lies in its bytes.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct WireHeader {
    pub magic: [u8; 8],
    pub flags: U32,
    pub reserved: U32,
    pub record_count: U64,
    pub total_bytes: U64,
}

/// The fixed part of a record as it lies in its bytes; name, validator and target follow.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct WireRecord {
    pub record_bytes: U32,
    pub kind: u8,
    pub flags: u8,
    pub name_bytes: U16,
    pub size: U64,
    pub mtime_s: I64,
    pub mtime_ns: U32,
    pub mode: U32,
    pub validator_bytes: U16,
    pub target_bytes: U16,
    pub reserved: U32,
}

/// Bytes of a record before its name.
pub const RECORD_FIXED_BYTES: usize = 40;
/// A record's fixed part and a name of one byte, padded.
pub const RECORD_BYTES_MIN: usize = 48;
/// Records begin at multiples of this.
pub const RECORD_ALIGN_BYTES: usize = 8;

/// Header flag: no record, because the name does not exist.
pub const FLAG_NEGATIVE: u32 = 1;

pub const KIND_FILE: u8 = 1;
pub const KIND_DIRECTORY: u8 = 2;
pub const KIND_SYMLINK: u8 = 3;

pub const FLAG_SIZE: u8 = 1;
pub const FLAG_MODE: u8 = 2;
pub const FLAG_MTIME: u8 = 4;

const _: () = {
    use core::mem::{offset_of, size_of};
    assert!(size_of::<WireHeader>() == HEADER_BYTES);
    assert!(offset_of!(WireHeader, record_count) == 16);
    assert!(offset_of!(WireHeader, total_bytes) == 24);
    assert!(size_of::<WireRecord>() == RECORD_FIXED_BYTES);
    assert!(offset_of!(WireRecord, name_bytes) == 6);
    assert!(offset_of!(WireRecord, size) == 8);
    assert!(offset_of!(WireRecord, mtime_s) == 16);
    assert!(offset_of!(WireRecord, mtime_ns) == 24);
    assert!(offset_of!(WireRecord, mode) == 28);
    assert!(offset_of!(WireRecord, validator_bytes) == 32);
    assert!(offset_of!(WireRecord, target_bytes) == 34);
    assert!(offset_of!(WireRecord, reserved) == 36);
};
