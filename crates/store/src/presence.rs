//! Which blocks of an object are present, in memory.
//!
//! Invariants: a bit is set only after the record on disk has it; bits behind the last block are never set;
//! readers take no lock. Costs one bit per block: 32 KiB for an object of 1 GiB.

use std::sync::atomic::{AtomicU64, Ordering};

use holdfast_proto::{BLOCK_BYTES, ByteRange};

const WORD_BLOCKS: u64 = 64;

/// Words of a bitmap for an object of `size_bytes`.
pub(crate) fn words_for(size_bytes: u64) -> u64 {
    size_bytes.div_ceil(BLOCK_BYTES).div_ceil(WORD_BLOCKS)
}

/// The bits of word `word` that stand for blocks of `first..end`.
pub(crate) fn mask_of(word: u64, first: u64, end: u64) -> u64 {
    let base = word * WORD_BLOCKS;
    let low = first.clamp(base, base + WORD_BLOCKS) - base;
    let high = end.clamp(base, base + WORD_BLOCKS) - base;
    if low >= high {
        return 0;
    }
    (u64::MAX >> (WORD_BLOCKS - (high - low))) << low
}

/// The words that hold blocks `first..end` (non-empty), as indices.
pub(crate) fn words_of(first: u64, end: u64) -> std::ops::Range<u64> {
    first / WORD_BLOCKS..end.div_ceil(WORD_BLOCKS)
}

/// Number of the last set bit plus one.
pub(crate) fn end_block(words: &[u64]) -> u64 {
    words
        .iter()
        .enumerate()
        .rev()
        .find(|(_, word)| **word != 0)
        .map_or(0, |(index, word)| {
            index as u64 * WORD_BLOCKS + WORD_BLOCKS - u64::from(word.leading_zeros())
        })
}

/// Presence of the blocks of an object of known size.
#[derive(Debug)]
pub(crate) struct Presence {
    size_bytes: u64,
    present_blocks: AtomicU64,
    words: Words,
}

/// The bits; an object of at most 256 KiB needs no allocation.
#[derive(Debug)]
enum Words {
    One(AtomicU64),
    Many(Box<[AtomicU64]>),
}

impl Presence {
    /// `words` may be shorter than the object's bitmap: the rest is absent. Bits behind the last block are dropped.
    pub(crate) fn new(size_bytes: u64, words: &[u64]) -> Self {
        let blocks = size_bytes.div_ceil(BLOCK_BYTES);
        let word = |index: u64| {
            let bits = usize::try_from(index)
                .ok()
                .and_then(|index| words.get(index))
                .copied()
                .unwrap_or(0);
            AtomicU64::new(bits & mask_of(index, 0, blocks))
        };
        let words = match words_for(size_bytes) {
            0 | 1 => Words::One(word(0)),
            count => Words::Many((0..count).map(word).collect()),
        };
        let presence = Self {
            size_bytes,
            present_blocks: AtomicU64::new(0),
            words,
        };
        let present = presence
            .words()
            .iter()
            .map(|word| u64::from(word.load(Ordering::Relaxed).count_ones()))
            .sum();
        presence.present_blocks.store(present, Ordering::Relaxed);
        presence
    }

    fn words(&self) -> &[AtomicU64] {
        match &self.words {
            Words::One(word) => std::slice::from_ref(word),
            Words::Many(words) => words,
        }
    }

    fn word(&self, index: u64) -> &AtomicU64 {
        let index =
            usize::try_from(index).expect("a bitmap in memory has no more words than usize counts");
        &self.words()[index]
    }

    pub(crate) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    pub(crate) fn blocks(&self) -> u64 {
        self.size_bytes.div_ceil(BLOCK_BYTES)
    }

    pub(crate) fn present_blocks(&self) -> u64 {
        self.present_blocks.load(Ordering::Acquire)
    }

    /// Bytes of the object that are present.
    pub(crate) fn present_bytes(&self) -> u64 {
        let blocks = self.blocks();
        let last_present = blocks > 0 && self.contains(blocks - 1, blocks);
        let padding = if last_present {
            blocks * BLOCK_BYTES - self.size_bytes
        } else {
            0
        };
        // A block taken back at this very moment must not make it negative.
        (self.present_blocks() * BLOCK_BYTES).saturating_sub(padding)
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.present_blocks() == self.blocks()
    }

    /// A copy of words `range`.
    pub(crate) fn load(&self, range: std::ops::Range<u64>) -> Vec<u64> {
        range
            .map(|index| self.word(index).load(Ordering::Acquire))
            .collect()
    }

    /// Whether all of blocks `first..end` are present.
    pub(crate) fn contains(&self, first: u64, end: u64) -> bool {
        words_of(first, end).all(|index| {
            let mask = mask_of(index, first, end);
            self.word(index).load(Ordering::Acquire) & mask == mask
        })
    }

    /// The runs of absent blocks among `first..end`, as byte ranges of whole blocks, ascending.
    pub(crate) fn missing(&self, first: u64, end: u64) -> Vec<ByteRange> {
        let mut runs: Vec<ByteRange> = Vec::new();
        for index in words_of(first, end) {
            let mut absent = !self.word(index).load(Ordering::Acquire) & mask_of(index, first, end);
            while absent != 0 {
                let low = u64::from(absent.trailing_zeros());
                let len = u64::from((!(absent >> low)).trailing_zeros());
                absent &= !mask_of(0, low, low + len);
                let start = index * WORD_BLOCKS + low;
                push_run(&mut runs, start * BLOCK_BYTES, len * BLOCK_BYTES);
            }
        }
        runs
    }

    /// Sets the bits of blocks `first..end`; returns how many were not set.
    pub(crate) fn insert(&self, first: u64, end: u64) -> u64 {
        assert!(
            end <= self.blocks(),
            "blocks {first}..{end} of an object of {} blocks",
            self.blocks()
        );
        let added: u64 = words_of(first, end)
            .map(|index| {
                let mask = mask_of(index, first, end);
                let old = self.word(index).fetch_or(mask, Ordering::AcqRel);
                u64::from((mask & !old).count_ones())
            })
            .sum();
        self.present_blocks.fetch_add(added, Ordering::AcqRel);
        added
    }

    /// Keeps only the blocks that `words` has too; returns how many went.
    pub(crate) fn retain(&self, words: &[u64]) -> u64 {
        let removed: u64 = self
            .words()
            .iter()
            .enumerate()
            .map(|(index, word)| {
                let kept = words.get(index).copied().unwrap_or(0);
                u64::from((word.fetch_and(kept, Ordering::AcqRel) & !kept).count_ones())
            })
            .sum();
        self.present_blocks.fetch_sub(removed, Ordering::AcqRel);
        removed
    }
}

/// Appends a run, joined to the last where they touch. Runs of an object in memory are valid ranges: its size is bounded.
fn push_run(runs: &mut Vec<ByteRange>, offset: u64, len: u64) {
    let Some(run) = ByteRange::new(offset, len) else {
        return;
    };
    match runs
        .last_mut()
        .and_then(|last| last.merge(run).map(|merged| (last, merged)))
    {
        Some((last, merged)) => *last = merged,
        None => runs.push(run),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn masks_at_the_edges() {
        assert_eq!(mask_of(0, 0, 64), u64::MAX);
        assert_eq!(mask_of(0, 63, 64), 1 << 63);
        assert_eq!(mask_of(1, 0, 64), 0);
        assert_eq!(mask_of(1, 63, 66), 0b11);
        assert_eq!(end_block(&[0, 0b100]), 67);
        assert_eq!(end_block(&[0, 0]), 0);
    }

    proptest! {
        #[test]
        fn presence_equals_a_plain_set(blocks in 1u64..200, marks in proptest::collection::vec((0u64..200, 1u64..80), 0..12)) {
            let presence = Presence::new(blocks * BLOCK_BYTES - 5, &[]);
            let mut model = vec![false; blocks as usize];
            for (first, len) in marks {
                let (first, end) = (first.min(blocks - 1), (first.min(blocks - 1) + len).min(blocks));
                let fresh = model[first as usize..end as usize].iter().filter(|bit| !**bit).count() as u64;
                prop_assert_eq!(presence.insert(first, end), fresh);
                model[first as usize..end as usize].fill(true);
            }
            let present = model.iter().filter(|bit| **bit).count() as u64;
            prop_assert_eq!(presence.present_blocks(), present);
            let missing = presence.missing(0, blocks);
            for (block, bit) in model.iter().enumerate() {
                let at = block as u64 * BLOCK_BYTES;
                prop_assert_eq!(*bit, !missing.iter().any(|run| run.contains_offset(at)));
                prop_assert_eq!(*bit, presence.contains(block as u64, block as u64 + 1));
            }
            for pair in missing.windows(2) {
                prop_assert!(pair[0].end() < pair[1].offset);
            }
            prop_assert_eq!(presence.retain(&[u64::MAX]), model.iter().skip(64).filter(|bit| **bit).count() as u64);
        }
    }
}
