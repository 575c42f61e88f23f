//! How far to fetch ahead of a reader, per object. Pure: offsets in, ranges out.
//!
//! The kernel's own read-ahead asks for at most a few hundred KiB; over a network that leaves the
//! line idle between requests. A reader that goes forward is therefore followed by a window that
//! doubles up to a limit; a reader that jumps gets exactly what it asked for, so that random reads
//! cost the origin no byte too many.

use holdfast_proto::{BLOCK_BYTES, ByteRange};

/// The window a reader gets with its first step forward.
const FIRST_WINDOW_BYTES: u64 = 512 * 1024;
/// Reads of one stream arrive in disorder, since several threads carry them; this much is forgiven.
const DISORDER_BYTES: u64 = 1024 * 1024;

/// What is known of how an object is being read.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    /// Jumps about, or was never read.
    Random,
    /// Goes forward.
    Sequential {
        /// Current size of the window.
        window_bytes: u64,
        /// End of what was asked for so far.
        asked_until: u64,
    },
}

/// The read-ahead state of one object.
#[derive(Debug)]
pub struct ReadAhead {
    limit_bytes: u64,
    next_offset: u64,
    pattern: Pattern,
}

impl ReadAhead {
    /// A window of at most `limit_bytes`; 0 switches read-ahead off.
    #[must_use]
    pub fn new(limit_bytes: u64) -> Self {
        Self {
            limit_bytes,
            next_offset: 0,
            pattern: Pattern::Random,
        }
    }

    /// Notes a read of `range` in an object of `size` bytes; returns what to fetch besides, behind
    /// the read, block-aligned at its start.
    pub fn on_read(&mut self, range: ByteRange, size: u64) -> Option<ByteRange> {
        if self.limit_bytes == 0 {
            return None;
        }
        let sequential = self.continues(range);
        let end = range.end();
        self.next_offset = if sequential {
            self.next_offset.max(end)
        } else {
            end
        };
        if !sequential {
            self.pattern = Pattern::Random;
            return None;
        }
        let (window_bytes, asked_until) = match self.pattern {
            Pattern::Random => (FIRST_WINDOW_BYTES.min(self.limit_bytes), end),
            Pattern::Sequential {
                window_bytes,
                asked_until,
            } => (window_bytes, asked_until.max(end)),
        };
        let goal = self.next_offset.saturating_add(window_bytes).min(size);
        // Ask in halves of the window: one request per read would be many small ones.
        let worth_it =
            goal > asked_until && (goal - asked_until >= window_bytes / 2 || goal == size);
        let (window_bytes, asked_until, ask) = if worth_it {
            let doubled = (window_bytes * 2).min(self.limit_bytes);
            (doubled, goal, aligned(asked_until, goal))
        } else {
            (window_bytes, asked_until, None)
        };
        self.pattern = Pattern::Sequential {
            window_bytes,
            asked_until,
        };
        ask
    }

    fn continues(&self, range: ByteRange) -> bool {
        let from = self.next_offset.saturating_sub(DISORDER_BYTES);
        let until = match self.pattern {
            // The first read of a stream is at the start or right behind the last one.
            Pattern::Random => return range.offset == self.next_offset,
            Pattern::Sequential { .. } => self.next_offset.saturating_add(DISORDER_BYTES),
        };
        (from..=until).contains(&range.offset)
    }
}

fn aligned(from: u64, until: u64) -> Option<ByteRange> {
    let start = from - from % BLOCK_BYTES;
    ByteRange::new(start, until.saturating_sub(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn range(offset: u64, len: u64) -> ByteRange {
        ByteRange::new(offset, len).expect("tests give non-empty ranges")
    }

    #[test]
    fn a_sequential_reader_is_led_through_the_whole_object_without_gap_or_repeat() {
        let size = 50 * MIB + 17;
        let mut ahead = ReadAhead::new(8 * MIB);
        let mut asked_until = 0;
        let mut offset = 0;
        while offset < size {
            let len = (128 * 1024).min(size - offset);
            if let Some(ask) = ahead.on_read(range(offset, len), size) {
                assert!(
                    ask.offset <= asked_until.max(offset + len),
                    "a gap before {ask:?}"
                );
                assert!(
                    ask.offset + BLOCK_BYTES > asked_until,
                    "asked twice: {ask:?}"
                );
                asked_until = ask.end();
            }
            offset += len;
        }
        assert_eq!(asked_until, size);
    }

    #[test]
    fn a_random_reader_costs_nothing_extra() {
        let mut ahead = ReadAhead::new(8 * MIB);
        for offset in [40 * MIB, 3 * MIB, 77 * MIB, 12 * MIB] {
            assert_eq!(ahead.on_read(range(offset, 4096), 100 * MIB), None);
        }
    }

    #[test]
    fn disorder_within_a_stream_is_no_jump() {
        let mut ahead = ReadAhead::new(8 * MIB);
        assert!(ahead.on_read(range(0, 131_072), 64 * MIB).is_some());
        ahead.on_read(range(262_144, 131_072), 64 * MIB);
        ahead.on_read(range(131_072, 131_072), 64 * MIB);
        assert!(matches!(ahead.pattern, Pattern::Sequential { .. }));
    }

    #[test]
    fn a_limit_of_zero_switches_it_off() {
        let mut ahead = ReadAhead::new(0);
        assert_eq!(ahead.on_read(range(0, 4096), MIB), None);
    }
}
