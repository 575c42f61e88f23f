//! What was killed when, and how long readers stood still for it.
//!
//! A kill's *stall* is the time from the kill to the end of the last read that was under way when it fell; 0 when none was. A kill
//! counts once the death was seen.
//!
//! Invariant: a kill's time is taken under the same lock under which a finished read looks for kills, so a read that was under way
//! cannot miss one.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock::now_ns;

/// All kills of a run.
#[derive(Debug, Default)]
pub struct KillLog {
    kills: Mutex<Vec<Kill>>,
}

#[derive(Debug, Clone, Copy)]
struct Kill {
    at_ns: u64,
    stall_ns: u64,
    death: Death,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Death {
    /// The signal is being sent, or was.
    Awaited,
    /// The process ended after it.
    Real,
    /// There was nobody to kill any more.
    None,
}

/// Names a kill within its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KillIndex(usize);

impl KillLog {
    /// Notes that a signal is about to be sent, now.
    pub(crate) fn announce(&self) -> KillIndex {
        let mut kills = self.kills();
        kills.push(Kill {
            at_ns: now_ns(),
            stall_ns: 0,
            death: Death::Awaited,
        });
        KillIndex(kills.len() - 1)
    }

    /// Notes that the process of an announced kill ended, or that it had ended before.
    pub(crate) fn settle(&self, kill: KillIndex, died_of_it: bool) {
        self.kills()[kill.0].death = if died_of_it { Death::Real } else { Death::None };
    }

    /// Notes a read that has just ended; times are of CLOCK_MONOTONIC.
    pub(crate) fn read_finished(&self, start_ns: u64, end_ns: u64) {
        let mut kills = self.kills();
        // Times ascend: only the latest kills can fall into a read that has just ended.
        for kill in kills
            .iter_mut()
            .rev()
            .take_while(|kill| kill.at_ns >= start_ns)
        {
            kill.stall_ns = kill.stall_ns.max(end_ns.saturating_sub(kill.at_ns));
        }
    }

    /// Number of kills whose deaths were seen.
    #[must_use]
    pub fn real(&self) -> u64 {
        let real = self
            .kills()
            .iter()
            .filter(|kill| kill.death == Death::Real)
            .count();
        u64::try_from(real).expect("a count in memory fits into 64 bits")
    }

    /// The stall of each real kill, in nanoseconds, in the order of the kills.
    pub(crate) fn stalls_ns(&self) -> Vec<u64> {
        self.kills()
            .iter()
            .filter(|kill| kill.death == Death::Real)
            .map(|kill| kill.stall_ns)
            .collect()
    }

    fn kills(&self) -> MutexGuard<'_, Vec<Kill>> {
        // Every change is one push or one assignment.
        self.kills.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_is_the_time_from_the_kill_to_the_end_of_the_last_read_it_fell_into() {
        let log = KillLog::default();
        let before = now_ns();
        let first = log.announce();
        let second = log.announce();
        let at = |kill: KillIndex| log.kills()[kill.0].at_ns;
        let (first_at, second_at) = (at(first), at(second));
        log.read_finished(before, first_at + 500);
        log.read_finished(second_at + 1, second_at + 9_000); // began after both
        log.read_finished(before, first_at + 300); // shorter than the first
        log.settle(first, true);
        log.settle(second, true);
        assert_eq!(
            log.stalls_ns(),
            vec![500, (first_at + 500).saturating_sub(second_at)]
        );
    }

    #[test]
    fn only_deaths_that_were_seen_count() {
        let log = KillLog::default();
        let (real, none) = (log.announce(), log.announce());
        log.announce();
        assert_eq!(log.real(), 0);
        log.settle(real, true);
        log.settle(none, false);
        assert_eq!((log.real(), log.stalls_ns()), (1, vec![0]));
    }
}
