//! Time that counts against a silent process (hazard H19: watchdogs kill the healthy).
//!
//! Sans-IO. A process is accused of silence only for time in which the keeper's own tick came punctually: after a
//! freeze, a suspended machine or an overload the keeper is late too, and that time counts for nobody. So a limit is a
//! number of punctual ticks, not a deadline on a clock.

use std::time::{Duration, Instant};

/// The longest distance between two ticks.
const TICK_MAX: Duration = Duration::from_secs(1);
/// Ticks per limit: the granularity with which silence is seen.
const TICKS_PER_LIMIT: u32 = 5;

/// The keeper's tick; it runs only while some process is watched.
#[derive(Debug, Default)]
pub(crate) struct Tick {
    armed: Option<Armed>,
}

#[derive(Debug, Clone, Copy)]
struct Armed {
    last: Instant,
    interval: Duration,
}

impl Tick {
    /// Sets the tick for the shortest of the limits in force, or stops it when there is none.
    pub(crate) fn watch(&mut self, now: Instant, limit_min: Option<Duration>) {
        self.armed = limit_min.map(|limit| {
            let interval = (limit / TICKS_PER_LIMIT).min(TICK_MAX);
            let last = self.armed.map_or(now, |armed| armed.last);
            Armed { last, interval }
        });
    }

    /// When the next tick is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.armed.map(|armed| armed.last + armed.interval)
    }

    /// If a tick is due: the time that it adds to every watched process's silence. That is one interval if the tick
    /// came no later than one more interval after it was due, and nothing otherwise.
    pub(crate) fn pass(&mut self, now: Instant) -> Option<Duration> {
        let armed = self.armed.as_mut()?;
        let elapsed = now.saturating_duration_since(armed.last);
        if elapsed < armed.interval {
            return None;
        }
        armed.last = now;
        Some(if elapsed <= armed.interval * 2 {
            armed.interval
        } else {
            Duration::ZERO
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(500);
    const INTERVAL: Duration = Duration::from_millis(100);

    #[test]
    fn punctual_ticks_add_up_to_the_limit() {
        let start = Instant::now();
        let mut tick = Tick::default();
        tick.watch(start, Some(LIMIT));
        let mut silence = Duration::ZERO;
        for n in 1..=TICKS_PER_LIMIT {
            assert_eq!(tick.due(), Some(start + INTERVAL * n));
            silence += tick.pass(start + INTERVAL * n).expect("due");
        }
        assert_eq!(silence, LIMIT);
    }

    #[test]
    fn h19_time_in_which_the_keeper_was_late_counts_for_nobody() {
        let start = Instant::now();
        let mut tick = Tick::default();
        tick.watch(start, Some(LIMIT));
        assert_eq!(
            tick.pass(start + Duration::from_secs(3600)),
            Some(Duration::ZERO)
        );
        assert_eq!(
            tick.pass(start + Duration::from_secs(3600) + INTERVAL / 2),
            None
        );
        assert_eq!(
            tick.pass(start + Duration::from_secs(3600) + INTERVAL),
            Some(INTERVAL)
        );
    }

    #[test]
    fn nothing_watched_means_no_timer() {
        let mut tick = Tick::default();
        tick.watch(Instant::now(), Some(LIMIT));
        tick.watch(Instant::now(), None);
        assert_eq!(tick.due(), None);
        assert_eq!(tick.pass(Instant::now() + LIMIT), None);
    }
}
