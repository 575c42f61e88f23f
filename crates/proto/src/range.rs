//! Ranges of bytes of an object, and the blocks they consist of.
//!
//! Invariant: a [`ByteRange`] is never empty and never ends above [`ByteRange::END_MAX`], so its end, and the end
//! of the blocks it touches, are always file offsets.

use alloc::vec::Vec;
use core::fmt;

/// Bytes of a block, the unit in which an object is requested and recorded as present.
pub const BLOCK_BYTES: u64 = 4096;

/// The bytes `offset..offset + len` of an object; at least one.
///
/// The fields are public to be read; a range is made by [`ByteRange::new`] only.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct ByteRange {
    /// First byte, counted from the object's start.
    pub offset: u64,
    /// Number of bytes, at least 1.
    pub len: u64,
}

impl ByteRange {
    /// Greatest end of a range: the greatest file offset (`loff_t`) that is a block boundary.
    ///
    /// It is also the greatest size of an object that can be read to its end.
    pub const END_MAX: u64 = i64::MAX as u64 / BLOCK_BYTES * BLOCK_BYTES;

    /// The `len_bytes` bytes from `offset_bytes`; `None` when that is empty or ends above [`Self::END_MAX`].
    #[must_use]
    pub const fn new(offset_bytes: u64, len_bytes: u64) -> Option<Self> {
        match offset_bytes.checked_add(len_bytes) {
            Some(end) => Self::from_bounds(offset_bytes, end),
            None => None,
        }
    }

    /// The bytes `start..end`; `None` when that is empty or ends above [`Self::END_MAX`].
    #[must_use]
    pub const fn from_bounds(start: u64, end: u64) -> Option<Self> {
        if start >= end || end > Self::END_MAX {
            return None;
        }
        Some(Self {
            offset: start,
            len: end - start,
        })
    }

    /// All bytes of an object of `size_bytes`; `None` when it is empty or larger than [`Self::END_MAX`].
    #[must_use]
    pub const fn whole(size_bytes: u64) -> Option<Self> {
        Self::from_bounds(0, size_bytes)
    }

    /// The offset after the last byte.
    #[must_use]
    pub const fn end(self) -> u64 {
        self.offset + self.len
    }

    /// Whether the byte at `offset` is one of the range.
    #[must_use]
    pub const fn contains_offset(self, offset: u64) -> bool {
        self.offset <= offset && offset < self.end()
    }

    /// Whether every byte of `other` is one of this range.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.offset <= other.offset && other.end() <= self.end()
    }

    /// Whether the two have a byte in common.
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        self.offset < other.end() && other.offset < self.end()
    }

    /// Whether the two overlap or one begins where the other ends.
    #[must_use]
    pub const fn touches(self, other: Self) -> bool {
        self.offset <= other.end() && other.offset <= self.end()
    }

    /// The bytes that both have.
    #[must_use]
    pub fn intersect(self, other: Self) -> Option<Self> {
        Self::from_bounds(self.offset.max(other.offset), self.end().min(other.end()))
    }

    /// The bytes of either, when they are one range.
    #[must_use]
    pub fn merge(self, other: Self) -> Option<Self> {
        if !self.touches(other) {
            return None;
        }
        Self::from_bounds(self.offset.min(other.offset), self.end().max(other.end()))
    }

    /// What is left of this range before and after `other`.
    #[must_use]
    pub fn subtract(self, other: Self) -> (Option<Self>, Option<Self>) {
        let before = Self::from_bounds(self.offset, self.end().min(other.offset));
        let after = Self::from_bounds(self.offset.max(other.end()), self.end());
        (before, after)
    }

    /// What is left of this range without `others` (in any order, overlapping or not), ascending.
    #[must_use]
    pub fn subtract_all(self, others: &[Self]) -> Vec<Self> {
        let mut sorted: Vec<Self> = others
            .iter()
            .copied()
            .filter(|other| self.overlaps(*other))
            .collect();
        sorted.sort_unstable();
        let mut left = Vec::new();
        let mut rest = Some(self);
        for other in sorted {
            let Some(range) = rest else { break };
            let (before, after) = range.subtract(other);
            left.extend(before);
            rest = after;
        }
        left.extend(rest);
        left
    }

    /// Whether it begins and ends at block boundaries.
    #[must_use]
    pub const fn is_block_aligned(self) -> bool {
        self.offset.is_multiple_of(BLOCK_BYTES) && self.len.is_multiple_of(BLOCK_BYTES)
    }

    /// All bytes of all blocks that the range touches.
    #[must_use]
    pub const fn align_outward(self) -> Self {
        let start = self.offset / BLOCK_BYTES * BLOCK_BYTES;
        // END_MAX is a block boundary, so rounding up stays below it.
        let end = self.end().div_ceil(BLOCK_BYTES) * BLOCK_BYTES;
        Self {
            offset: start,
            len: end - start,
        }
    }

    /// All bytes of the blocks that lie wholly in the range; `None` when no block does.
    #[must_use]
    pub const fn align_inward(self) -> Option<Self> {
        let start = self.offset.div_ceil(BLOCK_BYTES) * BLOCK_BYTES;
        Self::from_bounds(start, self.end() / BLOCK_BYTES * BLOCK_BYTES)
    }

    /// The part that lies in an object of `size_bytes`; `None` when the range begins at or behind its end.
    #[must_use]
    pub fn clip(self, size_bytes: u64) -> Option<Self> {
        Self::from_bounds(self.offset, self.end().min(size_bytes))
    }

    /// The blocks wholly present once these bytes are, in an object of `size_bytes`: like
    /// [`Self::align_inward`], but reaching the object's end completes its last, partial block too.
    #[must_use]
    pub fn complete_blocks(self, size_bytes: u64) -> Option<Self> {
        let clipped = self.clip(size_bytes)?;
        if clipped.end() < size_bytes {
            return clipped.align_inward();
        }
        let start = clipped.offset.div_ceil(BLOCK_BYTES) * BLOCK_BYTES;
        Self::from_bounds(start, clipped.align_outward().end())
    }

    /// Number of the first block that the range touches.
    #[must_use]
    pub const fn first_block(self) -> u64 {
        self.offset / BLOCK_BYTES
    }

    /// Number after the last block that the range touches.
    #[must_use]
    pub const fn end_block(self) -> u64 {
        self.end().div_ceil(BLOCK_BYTES)
    }

    /// The first at most `max_bytes` bytes, and the rest. `max_bytes` 0 counts as 1.
    #[must_use]
    pub fn split_first(self, max_bytes: u64) -> (Self, Option<Self>) {
        let len = self.len.min(max_bytes.max(1));
        let first = Self {
            offset: self.offset,
            len,
        };
        (first, Self::from_bounds(first.end(), self.end()))
    }
}

impl fmt::Display for ByteRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}..{}", self.offset, self.end())
    }
}

impl fmt::Debug for ByteRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ByteRange({self})")
    }
}

#[cfg(test)]
mod tests;
