//! What the readers have done and seen so far; written by many threads, looked at by the view.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hdrhistogram::Histogram;

use crate::kills::KillLog;

/// Failures described in words; more are only counted.
const DESCRIBED_MAX: usize = 20;

/// The longest latency told apart: an hour, in nanoseconds. A histogram without bounds would cut every latency to its first few.
const LATENCY_MAX_NS: u64 = 3_600_000_000_000;

/// The counters of a run.
#[derive(Debug)]
pub(crate) struct Score {
    pub kills: KillLog,
    reads: AtomicU64,
    bytes_read: AtomicU64,
    failed_reads: AtomicU64,
    differing_bytes: AtomicU64,
    files_compared: AtomicU64,
    latencies_ns: Mutex<Histogram<u64>>,
    described: Mutex<Vec<String>>,
}

/// A read that ended well, or at least with bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadDone {
    /// CLOCK_MONOTONIC.
    pub start_ns: u64,
    /// CLOCK_MONOTONIC.
    pub end_ns: u64,
    pub bytes: u64,
    pub differing_bytes: u64,
}

impl Score {
    pub fn new() -> Self {
        Self {
            kills: KillLog::default(),
            reads: AtomicU64::new(0),
            bytes_read: AtomicU64::new(0),
            failed_reads: AtomicU64::new(0),
            differing_bytes: AtomicU64::new(0),
            files_compared: AtomicU64::new(0),
            latencies_ns: Mutex::new(
                Histogram::new_with_max(LATENCY_MAX_NS, 3).expect("3 is a valid number of digits"),
            ),
            described: Mutex::new(Vec::new()),
        }
    }

    /// Counts a read and attributes its time to the kills that fell into it.
    pub fn read_done(&self, read: ReadDone) {
        self.kills.read_finished(read.start_ns, read.end_ns);
        self.latencies()
            .saturating_record(read.end_ns.saturating_sub(read.start_ns));
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.bytes_read.fetch_add(read.bytes, Ordering::Relaxed);
        self.differing_bytes
            .fetch_add(read.differing_bytes, Ordering::Relaxed);
    }

    /// Counts a read (or open, or lookup) that failed, and keeps the first descriptions.
    pub fn read_failed(&self, what: String) {
        self.failed_reads.fetch_add(1, Ordering::Relaxed);
        self.describe(what);
    }

    /// Keeps a description for the summary.
    pub fn describe(&self, what: String) {
        let mut described = self
            .described
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if described.len() < DESCRIBED_MAX {
            described.push(what);
        }
    }

    /// Counts a file that one kind of reader has compared from its first byte to its last.
    pub fn file_compared(&self) {
        self.files_compared.fetch_add(1, Ordering::Relaxed);
    }

    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    pub fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    pub fn failed_reads(&self) -> u64 {
        self.failed_reads.load(Ordering::Relaxed)
    }

    pub fn differing_bytes(&self) -> u64 {
        self.differing_bytes.load(Ordering::Relaxed)
    }

    pub fn files_compared(&self) -> u64 {
        self.files_compared.load(Ordering::Relaxed)
    }

    pub fn described(&self) -> Vec<String> {
        self.described
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Latencies of all reads, in nanoseconds.
    pub fn latencies(&self) -> MutexGuard<'_, Histogram<u64>> {
        self.latencies_ns
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Grows whenever a reader does anything: a run in which it stands still hangs.
    pub fn pulse(&self) -> u64 {
        self.reads()
            .wrapping_add(self.failed_reads())
            .wrapping_add(self.files_compared())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_of_any_length_are_told() {
        let score = Score::new();
        score.read_done(ReadDone {
            start_ns: 5,
            end_ns: 5 + 80_000_000,
            bytes: 1,
            differing_bytes: 0,
        });
        let max = score.latencies().max();
        assert!((80_000_000..81_000_000).contains(&max), "{max}");
    }
}
