//! Marking blocks present, and taking it back.
//!
//! Invariant: the record on disk says it first, memory second, the caller third; taking back goes the other way round.

use holdfast_proto::{BLOCK_BYTES, ByteRange};

use super::{History, Life, Object, Record};
use crate::error::{MarkError, RecordError};
use crate::files::Files;
use crate::handles::lock;
use crate::presence::{Presence, mask_of, words_of};
use crate::usage::Change;

impl Object {
    /// Marks blocks present whose bytes have been written. When this returns, a kill of this process does not undo it.
    ///
    /// `range` begins at a block boundary and ends at one or at the object's end. Where the file system's reports of holes are
    /// trusted, a range with a byte that was never written is refused; so is any range that would complete an object with such a byte.
    ///
    /// # Errors
    /// [`MarkError::SizeUnknown`]; [`MarkError::NotBlocks`] for another shape or bytes behind the end; [`MarkError::Hole`]; [`MarkError::Record`]
    /// when the disk is full, the kernel refuses, or the incarnation was unlinked. In all cases nothing is marked.
    pub fn mark_present(&self, range: ByteRange) -> Result<(), MarkError> {
        let presence = self.presence.get().ok_or(MarkError::SizeUnknown)?;
        let (first, end) = whole_blocks(presence, range).ok_or(MarkError::NotBlocks(range))?;
        let mut record = lock(&self.record);
        record.check_linked()?;
        if presence.contains(first, end) {
            return Ok(());
        }
        let files = self.files().map_err(RecordError::from)?;
        self.check_written(&record, &files, presence, first, end)?;
        record.mark(&files, presence, first, end)?;
        let before = presence.present_bytes();
        let added = presence.insert(first, end);
        self.shared.usage.add(Change {
            objects: 0,
            present_bytes: (presence.present_bytes() - before).cast_signed(),
            allocated_bytes: (added * BLOCK_BYTES).cast_signed(),
        });
        Ok(())
    }

    /// Refuses what the file system says was never written. The whole object is looked at before it becomes complete: a
    /// data file that somebody cut and wrote again has holes below its end.
    fn check_written(
        &self,
        record: &Record,
        files: &Files,
        presence: &Presence,
        first: u64,
        end: u64,
    ) -> Result<(), MarkError> {
        let absent: u64 = presence
            .missing(first, end)
            .iter()
            .map(|run| run.len / BLOCK_BYTES)
            .sum();
        let completes = presence.present_blocks() + absent == presence.blocks();
        let (first, end) = if completes {
            (0, presence.blocks())
        } else {
            (first, end)
        };
        let end_bytes = (end * BLOCK_BYTES).min(presence.size_bytes());
        let hole = self
            .shared
            .holes
            .first_missing(&files.data, first * BLOCK_BYTES, end_bytes);
        let Some(at) = hole.map_err(RecordError::from)? else {
            return Ok(());
        };
        if presence.contains(at / BLOCK_BYTES, at / BLOCK_BYTES + 1) {
            self.forget(record, files, presence, at / BLOCK_BYTES);
        }
        Err(MarkError::Hole { at })
    }

    /// Makes every block from `first` on absent, because the data file lacks its bytes.
    pub(super) fn forget_from(&self, files: &Files, presence: &Presence, first: u64) {
        self.forget(&lock(&self.record), files, presence, first);
    }

    /// Takes back in memory first, then in both bitmaps on disk.
    fn forget(&self, record: &Record, files: &Files, presence: &Presence, first: u64) {
        let place = record.place;
        let mut kept = presence.load(0..place.words);
        keep_before(&mut kept, 0, first);
        self.retain(record, presence, &kept);
        let from = first / 64;
        let tail = kept
            .get(usize::try_from(from).unwrap_or(usize::MAX)..)
            .unwrap_or_default();
        // Where the disk refuses, the next process finds the data file short and discards the object: no error is
        // needed, and the reader that waits gains nothing by it.
        let _ = files.record.write_words(place.present_offset(from), tail);
        let _ = files
            .record
            .read_words(place.durable_offset(from), place.words - from)
            .and_then(|mut durable| {
                keep_before(&mut durable, from, first);
                files
                    .record
                    .write_words(place.durable_offset(from), &durable)
            });
    }

    /// Keeps only the blocks of `words` in memory, and corrects the totals (of an object that still counts in them).
    pub(super) fn retain(&self, record: &Record, presence: &Presence, words: &[u64]) {
        let before = presence.present_bytes();
        let removed = presence.retain(words);
        match record.life {
            Life::Linked => self.shared.usage.add(Change {
                objects: 0,
                present_bytes: presence.present_bytes().cast_signed() - before.cast_signed(),
                allocated_bytes: -(removed * BLOCK_BYTES).cast_signed(),
            }),
            Life::Unlinked => {}
        }
    }
}

impl Record {
    /// Writes the words that hold blocks `first..end` with those blocks set.
    fn mark(
        &mut self,
        files: &Files,
        presence: &Presence,
        first: u64,
        end: u64,
    ) -> Result<(), RecordError> {
        let range = words_of(first, end);
        let start = range.start;
        let mut words = presence.load(range);
        for (index, word) in (start..).zip(&mut words) {
            *word |= mask_of(index, first, end);
        }
        match self.history {
            // Written through a descriptor that was not ours to watch.
            History::Clean => self.history = History::Broken,
            History::Since(_) | History::Broken => {}
        }
        Ok(files
            .record
            .write_words(self.place.present_offset(start), &words)?)
    }
}

/// Clears the bits of every block from `first` on; the first of `words` is word number `from`.
fn keep_before(words: &mut [u64], from: u64, first: u64) {
    for (index, word) in (from..).zip(words) {
        *word &= mask_of(index, 0, first);
    }
}

/// The blocks that `range` consists of; `None` when it does not consist of whole blocks of the object.
fn whole_blocks(presence: &Presence, range: ByteRange) -> Option<(u64, u64)> {
    let end = range.end_block();
    let whole_end = range.end().is_multiple_of(BLOCK_BYTES) || range.end() == presence.size_bytes();
    let whole = range.offset.is_multiple_of(BLOCK_BYTES) && whole_end && end <= presence.blocks();
    whole.then(|| (range.first_block(), end))
}
