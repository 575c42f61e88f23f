//! The report at the end of a run.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;

/// Percentiles of a set of times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StallPercentiles {
    /// Half of them are not longer.
    pub p50: Duration,
    /// 99 of 100 are not longer.
    pub p99: Duration,
    /// The longest.
    pub max: Duration,
}

impl StallPercentiles {
    /// Exact percentiles (nearest rank) of a list in any order; all zero for an empty one.
    #[must_use]
    pub fn of_ns(mut times_ns: Vec<u64>) -> Self {
        times_ns.sort_unstable();
        let rank = |percent: usize| {
            let at = (times_ns.len() * percent).div_ceil(100).saturating_sub(1);
            Duration::from_nanos(times_ns.get(at).copied().unwrap_or(0))
        };
        Self {
            p50: rank(50),
            p99: rank(99),
            max: rank(100),
        }
    }

    /// Percentiles of a histogram of nanoseconds.
    pub(crate) fn of_histogram(times_ns: &Histogram<u64>) -> Self {
        let at = |quantile| Duration::from_nanos(times_ns.value_at_quantile(quantile));
        Self {
            p50: at(0.5),
            p99: at(0.99),
            max: Duration::from_nanos(times_ns.max()),
        }
    }
}

impl fmt::Display for StallPercentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "p50 {}, p99 {}, max {}",
            short(self.p50),
            short(self.p99),
            short(self.max)
        )
    }
}

/// Milliseconds, or microseconds where those would be a fraction of one.
fn short(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1000.0;
    if time < Duration::from_millis(1) {
        format!("{:.0} µs", ms * 1000.0)
    } else {
        format!("{ms:.1} ms")
    }
}

/// What a run of the demo has shown. Printed with `{}` it is the report for people.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// The seed that repeats the data and the choice of kills.
    pub seed: u64,
    /// Size of the sample.
    pub sample_bytes: u64,
    /// Files of the sample.
    pub sample_files: u64,
    /// Times that everything was read, from an empty cache each, by every kind of reader.
    pub passes_complete: u64,
    /// Bytes that readers got from the mount and compared.
    pub bytes_read: u64,
    /// Reads that returned bytes.
    pub reads: u64,
    /// Kills whose deaths were seen.
    pub kills: u64,
    /// Whether kills were asked for.
    pub kills_wanted: bool,
    /// Reads, opens and lookups that failed.
    pub failed_reads: u64,
    /// Bytes that were not those of the source.
    pub differing_bytes: u64,
    /// Reader stall per kill: from the kill to the end of the last read that was under way.
    pub stall_per_kill: StallPercentiles,
    /// Latency of all reads.
    pub read_latency: StallPercentiles,
    /// Time in which the mount was being read.
    pub reading_time: Duration,
    /// The first failures in words.
    pub failures: Vec<String>,
    /// The run was ended by a signal before its time.
    pub interrupted: bool,
}

impl Summary {
    /// Whether everything that the demo claims was shown: nothing failed, nothing differed, every byte was compared at least once by
    /// every kind of reader, and, if kills were asked for, processes really died.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.failed_reads == 0
            && self.differing_bytes == 0
            && self.failures.is_empty()
            && self.passes_complete > 0
            && (self.kills > 0 || !self.kills_wanted)
            && !self.interrupted
    }

    /// Mean rate at which readers got bytes, in bytes per second.
    #[must_use]
    pub fn throughput_bytes_per_second(&self) -> f64 {
        let seconds = self.reading_time.as_secs_f64();
        // Both are far below 2^52, where f64 is exact.
        if seconds > 0.0 {
            self.bytes_read as f64 / seconds
        } else {
            0.0
        }
    }
}

/// Bytes for people, in MiB.
pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate_mib = self.throughput_bytes_per_second() / f64::from(1 << 20);
        let seconds = self.reading_time.as_secs_f64();
        writeln!(f, "seed                   {}", self.seed)?;
        writeln!(
            f,
            "sample                 {:.1} MiB in {} files",
            mib(self.sample_bytes),
            self.sample_files
        )?;
        writeln!(f, "complete cold passes   {}", self.passes_complete)?;
        writeln!(
            f,
            "bytes read             {} ({rate_mib:.1} MiB/s for {seconds:.1} s)",
            self.bytes_read
        )?;
        writeln!(f, "kills                  {} (deaths seen)", self.kills)?;
        writeln!(f, "reads that failed      {}", self.failed_reads)?;
        writeln!(f, "bytes that differed    {}", self.differing_bytes)?;
        writeln!(f, "reader stall per kill  {}", self.stall_per_kill)?;
        writeln!(
            f,
            "read latency           {} ({} reads)",
            self.read_latency, self.reads
        )?;
        for failure in &self.failures {
            writeln!(f, "  failure: {failure}")?;
        }
        let verdict = if self.succeeded() {
            "passed: no reader noticed"
        } else if self.interrupted {
            "interrupted before the end: nothing proved"
        } else if self.passes_complete == 0 {
            "FAILED: not every byte was compared"
        } else if self.kills_wanted && self.kills == 0 {
            "FAILED: nothing was killed"
        } else {
            "FAILED"
        };
        write!(f, "{verdict}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Summary {
        Summary {
            seed: 1,
            sample_bytes: 1 << 20,
            sample_files: 3,
            passes_complete: 1,
            bytes_read: 3 << 20,
            reads: 9,
            kills: 2,
            kills_wanted: true,
            failed_reads: 0,
            differing_bytes: 0,
            stall_per_kill: StallPercentiles::of_ns(vec![1_000_000, 2_000_000]),
            read_latency: StallPercentiles::default(),
            reading_time: Duration::from_secs(3),
            failures: Vec::new(),
            interrupted: false,
        }
    }

    #[test]
    fn percentiles_are_nearest_rank() {
        let ns = Duration::from_nanos;
        assert_eq!(
            StallPercentiles::of_ns(Vec::new()),
            StallPercentiles::default()
        );
        let one = StallPercentiles::of_ns(vec![7]);
        assert_eq!((one.p50, one.p99, one.max), (ns(7), ns(7), ns(7)));
        let hundred = StallPercentiles::of_ns((1..=100).rev().collect());
        assert_eq!(
            (hundred.p50, hundred.p99, hundred.max),
            (ns(50), ns(99), ns(100))
        );
        let many = StallPercentiles::of_ns((1..=200).collect());
        assert_eq!((many.p50, many.p99, many.max), (ns(100), ns(198), ns(200)));
    }

    #[test]
    fn only_a_run_that_shows_everything_succeeds() {
        assert!(good().succeeded());
        assert!(
            Summary {
                kills: 0,
                kills_wanted: false,
                ..good()
            }
            .succeeded()
        );
        for bad in [
            Summary {
                failed_reads: 1,
                ..good()
            },
            Summary {
                differing_bytes: 1,
                ..good()
            },
            Summary {
                passes_complete: 0,
                ..good()
            },
            Summary { kills: 0, ..good() },
            Summary {
                interrupted: true,
                ..good()
            },
            Summary {
                failures: vec!["a reader panicked".into()],
                ..good()
            },
        ] {
            assert!(!bad.succeeded(), "{bad:?}");
            assert!(!bad.to_string().contains("passed"), "{bad}");
        }
    }

    #[test]
    fn the_report_names_every_figure() {
        let text = good().to_string();
        assert!(
            text.contains("bytes read             3145728 (1.0 MiB/s for 3.0 s)"),
            "{text}"
        );
        assert!(text.contains("kills                  2"), "{text}");
        assert!(
            text.contains("p50 1.0 ms, p99 2.0 ms, max 2.0 ms"),
            "{text}"
        );
        assert!(text.ends_with("passed: no reader noticed"), "{text}");
    }
}
