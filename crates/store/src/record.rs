//! The record of an object, as bytes: who it is, and which of its blocks are present.
//!
//! ```text
//!   0  identity, 128 bytes: magic, version, lengths of keys and validator, incarnation, size, time of creation, checksum
//! 128  state A, 64 bytes ┐ sequence, boot id, time of verification, whether ever synced, checksum;
//! 192  state B, 64 bytes ┘ the whole one of higher sequence counts, the other one is written next
//! 256  volume key, cookie key, validator
//!   …  at the next multiple of 8: bitmap of blocks present this boot, then bitmap of durable blocks
//! ```
//! All numbers are little endian; times are nanoseconds since 1970; block `n` is bit `n % 64` of word `n / 64`.
//!
//! Invariants: identity is written before any block is present and never after; state is never overwritten in place; so no torn write of a
//! header loses a block that was acknowledged. The bitmaps need no checksum: each bit stands for itself.

use std::time::{Duration, SystemTime};

use zerocopy::little_endian::{I64, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::boot::BootId;
use crate::presence;

/// Greatest length of a volume key and of a cookie key, each.
pub const KEY_BYTES_MAX: usize = 8 << 10;
/// Greatest length of a validator.
pub const VALIDATOR_BYTES_MAX: usize = 1 << 10;
/// Greatest size of an object: the greatest file of ext4 with 4 KiB blocks (16 TiB). Its bitmap is 512 MiB in memory.
pub const OBJECT_SIZE_MAX_BYTES: u64 = 16 << 40;

const MAGIC: [u8; 8] = *b"HFRECORD";
const VERSION: u32 = 1;
const SIZE_UNKNOWN: u64 = u64::MAX;
const IDENTITY_BYTES: usize = 128;
const STATE_BYTES: usize = 64;
const KEYS_OFFSET: usize = IDENTITY_BYTES + 2 * STATE_BYTES;
/// No header is longer than this.
pub(crate) const HEADER_BYTES_MAX: usize =
    KEYS_OFFSET + 2 * KEY_BYTES_MAX + VALIDATOR_BYTES_MAX + 8;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy)]
#[repr(C)]
struct IdentityBytes {
    magic: [u8; 8],
    version: U32,
    volume_key_bytes: U32,
    cookie_key_bytes: U32,
    validator_bytes: U32,
    incarnation: U64,
    size_bytes: U64,
    created_ns: I64,
    reserved: [u8; 64],
    checksum: [u8; 16],
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy)]
#[repr(C)]
struct StateBytes {
    sequence: U64,
    boot_id: [u8; 16],
    verified_ns: I64,
    synced: U32,
    reserved: [u8; 12],
    checksum: [u8; 16],
}

const _: () =
    assert!(size_of::<IdentityBytes>() == IDENTITY_BYTES && size_of::<StateBytes>() == STATE_BYTES);

/// The part of a record that is written once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Identity {
    pub(crate) volume_key: Box<[u8]>,
    pub(crate) cookie_key: Box<[u8]>,
    pub(crate) validator: Box<[u8]>,
    pub(crate) incarnation: u64,
    pub(crate) size_bytes: Option<u64>,
    pub(crate) created: SystemTime,
}

/// Whether the durable bitmap on disk can be believed after a power cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Synced {
    /// The bitmap's bytes never reached the disk for certain: they may be anything.
    Never,
    /// They did, so a bit that is set was set by us.
    Once,
}

/// The part of a record that changes while blocks are present.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct State {
    pub(crate) sequence: u64,
    pub(crate) boot: BootId,
    pub(crate) verified: SystemTime,
    pub(crate) synced: Synced,
}

/// Where things are in the record file of an object of known size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BitmapPlace {
    /// Offset of the bitmap of present blocks.
    pub(crate) offset: u64,
    /// Words of each bitmap.
    pub(crate) words: u64,
}

impl BitmapPlace {
    pub(crate) fn present_offset(self, word: u64) -> u64 {
        self.offset + word * 8
    }

    pub(crate) fn durable_offset(self, word: u64) -> u64 {
        self.offset + (self.words + word) * 8
    }

    /// Length of the whole record file.
    pub(crate) fn record_bytes(self) -> u64 {
        self.durable_offset(self.words)
    }
}

impl Identity {
    /// Length of everything before the bitmaps.
    pub(crate) fn header_bytes(&self) -> usize {
        let end =
            KEYS_OFFSET + self.volume_key.len() + self.cookie_key.len() + self.validator.len();
        end.next_multiple_of(8)
    }

    /// Where the bitmaps are; of no words while the size is unknown.
    pub(crate) fn bitmap_place(&self) -> BitmapPlace {
        BitmapPlace {
            offset: self.header_bytes() as u64,
            words: self.size_bytes.map_or(0, presence::words_for),
        }
    }

    /// Identity, first state and keys, up to the bitmaps.
    pub(crate) fn encode(&self, state: &State) -> Vec<u8> {
        let mut fixed = IdentityBytes {
            magic: MAGIC,
            version: U32::new(VERSION),
            volume_key_bytes: length(&self.volume_key),
            cookie_key_bytes: length(&self.cookie_key),
            validator_bytes: length(&self.validator),
            incarnation: U64::new(self.incarnation),
            size_bytes: U64::new(self.size_bytes.unwrap_or(SIZE_UNKNOWN)),
            created_ns: I64::new(to_ns(self.created)),
            reserved: [0; 64],
            checksum: [0; 16],
        };
        let keys = [&*self.volume_key, &*self.cookie_key, &*self.validator].concat();
        fixed.checksum = checksum(&[fixed.as_bytes(), &keys]);
        let mut image = Vec::with_capacity(self.header_bytes());
        image.extend_from_slice(fixed.as_bytes());
        image.resize(KEYS_OFFSET, 0);
        let (offset, bytes) = state.encode();
        image[offset as usize..][..STATE_BYTES].copy_from_slice(&bytes);
        image.extend_from_slice(&keys);
        image.resize(self.header_bytes(), 0);
        image
    }
}

impl State {
    /// The slot of this sequence number: its offset in the record and its bytes.
    pub(crate) fn encode(&self) -> (u64, [u8; STATE_BYTES]) {
        let mut bytes = StateBytes {
            sequence: U64::new(self.sequence),
            boot_id: self.boot.0,
            verified_ns: I64::new(to_ns(self.verified)),
            synced: U32::new(match self.synced {
                Synced::Never => 0,
                Synced::Once => 1,
            }),
            reserved: [0; 12],
            checksum: [0; 16],
        };
        bytes.checksum = checksum(&[bytes.as_bytes()]);
        let slot = (self.sequence % 2) as usize;
        (
            (IDENTITY_BYTES + slot * STATE_BYTES) as u64,
            zerocopy::transmute!(bytes),
        )
    }

    fn parse(bytes: &StateBytes) -> Option<Self> {
        let unsigned = StateBytes {
            checksum: [0; 16],
            ..*bytes
        };
        if checksum(&[unsigned.as_bytes()]) != bytes.checksum {
            return None;
        }
        let synced = match bytes.synced.get() {
            0 => Synced::Never,
            1 => Synced::Once,
            _ => return None,
        };
        let verified = from_ns(bytes.verified_ns.get());
        Some(Self {
            sequence: bytes.sequence.get(),
            boot: BootId(bytes.boot_id),
            verified,
            synced,
        })
    }
}

/// The header at the start of `image`, which is the file's first [`HEADER_BYTES_MAX`] bytes or all of it;
/// `None` when it is not whole.
pub(crate) fn parse(image: &[u8]) -> Option<(Identity, State)> {
    let (fixed, rest) = IdentityBytes::ref_from_prefix(image).ok()?;
    if fixed.magic != MAGIC || fixed.version.get() != VERSION {
        return None;
    }
    let (slots, rest) = <[StateBytes; 2]>::ref_from_prefix(rest).ok()?;
    let lengths = [
        fixed.volume_key_bytes,
        fixed.cookie_key_bytes,
        fixed.validator_bytes,
    ]
    .map(|len| len.get() as usize);
    let maxima = [KEY_BYTES_MAX, KEY_BYTES_MAX, VALIDATOR_BYTES_MAX];
    if lengths
        .iter()
        .zip(maxima)
        .any(|(length, max)| *length > max)
    {
        return None;
    }
    let keys = rest.get(..lengths.iter().sum())?;
    let unsigned = IdentityBytes {
        checksum: [0; 16],
        ..*fixed
    };
    if checksum(&[unsigned.as_bytes(), keys]) != fixed.checksum {
        return None;
    }
    let size_bytes = Some(fixed.size_bytes.get()).filter(|size| *size != SIZE_UNKNOWN);
    if size_bytes.is_some_and(|size| size > OBJECT_SIZE_MAX_BYTES) {
        return None;
    }
    let (volume_key, keys) = keys.split_at(lengths[0]);
    let (cookie_key, validator) = keys.split_at(lengths[1]);
    let identity = Identity {
        volume_key: volume_key.into(),
        cookie_key: cookie_key.into(),
        validator: validator.into(),
        incarnation: fixed.incarnation.get(),
        size_bytes,
        created: from_ns(fixed.created_ns.get()),
    };
    let state = slots
        .iter()
        .filter_map(State::parse)
        .max_by_key(|state| state.sequence)?;
    Some((identity, state))
}

fn length(bytes: &[u8]) -> U32 {
    U32::new(
        u32::try_from(bytes.len())
            .expect("keys and validators are bounded when an object is created"),
    )
}

fn checksum(parts: &[&[u8]]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    let mut checksum = [0; 16];
    hasher.finalize_xof().fill(&mut checksum);
    checksum
}

/// Nanoseconds since 1970; times that do not fit (before 1970, after 2262) become the nearest that does.
fn to_ns(time: SystemTime) -> i64 {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

fn from_ns(ns: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(u64::try_from(ns).unwrap_or(0))
}

#[cfg(test)]
mod tests;
