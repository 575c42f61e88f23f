//! When a dead process gets its successor: at once, or after a back-off.
//!
//! Sans-IO. The rule: a process that was healthy is replaced at once, however often it is killed (a test, an
//! out-of-memory killer or an operator may do so a hundred times a second); a program that dies by its own doing before
//! it was healthy is tried again after 100 ms, doubling to 5 s, for ever. A kill from outside that strikes before
//! `READY=1` says nothing about the program, so only a long row of them backs off (else a kill loop in the kernel would
//! become a fork loop here).

use std::time::Duration;

use crate::status::Cause;

/// First back-off; it doubles with every further strike.
pub(crate) const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// The longest back-off.
pub(crate) const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// A process that fails by itself within this time after `READY=1` was not healthy.
pub(crate) const HEALTHY_AFTER: Duration = Duration::from_secs(1);
/// Kills from outside before `READY=1`, in a row, that are answered at once.
pub(crate) const EARLY_KILLS_FREE: u32 = 16;

/// How far a process had come when it died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    /// It never said `READY=1`.
    NeverReady,
    /// It died this long after its `READY=1`.
    ReadyFor(Duration),
}

/// The memory of one slot: deaths in a row that were not preceded by health.
#[derive(Debug, Default)]
pub(crate) struct RestartPolicy {
    own_failures: u32,
    early_kills: u32,
}

impl RestartPolicy {
    /// Takes a death in and says how long to wait before the successor starts.
    pub(crate) fn died(&mut self, cause: Cause, health: Health) -> Duration {
        if self.was_healthy(cause, health) {
            *self = RestartPolicy::default();
            return Duration::ZERO;
        }
        if is_from_outside(cause) {
            self.early_kills = self.early_kills.saturating_add(1);
        } else {
            self.own_failures = self.own_failures.saturating_add(1);
        }
        let strikes = self
            .own_failures
            .saturating_add(self.early_kills.saturating_sub(EARLY_KILLS_FREE));
        backoff(strikes)
    }

    fn was_healthy(&self, cause: Cause, health: Health) -> bool {
        match health {
            Health::NeverReady => false,
            Health::ReadyFor(_) if is_from_outside(cause) => true,
            Health::ReadyFor(lived) => lived >= HEALTHY_AFTER,
        }
    }
}

/// A kill, by the operator, the kernel's memory killer or the watchdog, not a failure of the program's own.
fn is_from_outside(cause: Cause) -> bool {
    match cause {
        Cause::Signal(number) => {
            matches!(
                number,
                libc::SIGKILL | libc::SIGTERM | libc::SIGINT | libc::SIGHUP | libc::SIGQUIT
            )
        }
        // The watchdog's limit has passed before each such death, so it is its own back-off.
        Cause::Watchdog => true,
        Cause::Exit(_) | Cause::SpawnFailed | Cause::Unknown => false,
    }
}

fn backoff(strikes: u32) -> Duration {
    let Some(doublings) = strikes.checked_sub(1) else {
        return Duration::ZERO;
    };
    2u32.checked_pow(doublings)
        .and_then(|factor| BACKOFF_FIRST.checked_mul(factor))
        .map_or(BACKOFF_MAX, |delay| delay.min(BACKOFF_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KILL: Cause = Cause::Signal(libc::SIGKILL);

    #[test]
    fn a_healthy_process_killed_without_end_is_replaced_at_once() {
        let mut policy = RestartPolicy::default();
        for _ in 0..10_000 {
            assert_eq!(
                policy.died(KILL, Health::ReadyFor(Duration::ZERO)),
                Duration::ZERO
            );
        }
    }

    #[test]
    fn dying_at_start_backs_off_to_the_maximum_and_never_gives_up() {
        let mut policy = RestartPolicy::default();
        let delays: Vec<u128> = (0..8)
            .map(|_| policy.died(Cause::Exit(1), Health::NeverReady).as_millis())
            .collect();
        assert_eq!(delays, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        for _ in 0..1000 {
            assert_eq!(
                policy.died(Cause::SpawnFailed, Health::NeverReady),
                BACKOFF_MAX
            );
        }
    }

    #[test]
    fn early_kills_are_free_until_they_look_like_a_loop() {
        let mut policy = RestartPolicy::default();
        for _ in 0..EARLY_KILLS_FREE {
            assert_eq!(policy.died(KILL, Health::NeverReady), Duration::ZERO);
        }
        assert_eq!(policy.died(KILL, Health::NeverReady), BACKOFF_FIRST);
    }

    #[test]
    fn health_wipes_the_strikes() {
        let mut policy = RestartPolicy::default();
        policy.died(Cause::Exit(1), Health::NeverReady);
        policy.died(
            Cause::Signal(libc::SIGSEGV),
            Health::ReadyFor(Duration::ZERO),
        );
        assert_eq!(
            policy.died(Cause::Exit(1), Health::ReadyFor(HEALTHY_AFTER)),
            Duration::ZERO
        );
        assert_eq!(
            policy.died(Cause::Exit(1), Health::NeverReady),
            BACKOFF_FIRST
        );
    }
}
