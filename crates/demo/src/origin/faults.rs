//! Faults that can be switched while an origin runs.
//!
//! Rules are looked at when a request arrives; all that apply to it act together (latencies add up; of two that decide the same
//! thing the one added first wins). A body that is already flowing goes on as it began.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use super::misfortune::{Misfortune, Version};

use rand::{RngExt as _, SeedableRng as _};
use rand_xoshiro::Xoshiro256PlusPlus;

/// Which requests a [`FaultRule`] applies to. Paths are decoded, relative to the root, without leading slash; a directory's ends
/// in a slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Every request.
    All,
    /// Requests for exactly this path.
    Path(Vec<u8>),
    /// Requests for paths that begin with these bytes.
    Prefix(Vec<u8>),
}

/// A way to misbehave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Wait before the response begins.
    Latency(Duration),
    /// Never answer, with the connection open, until the origin stops or drops its connections.
    Stall,
    /// Send the header and this many bytes of the body, then nothing more, with the connection open.
    StallInBody {
        /// Body bytes before the stall.
        after_bytes: u64,
    },
    /// Close the connection instead of answering.
    Drop,
    /// Send the header and this many bytes of the body, then close the connection (a client that does not read gets less).
    DropInBody {
        /// Body bytes before the close.
        after_bytes: u64,
    },
    /// Announce a `Content-Length` that is this much more (positive: the connection closes early) or less (negative: the body
    /// is cut there) than the body has.
    ContentLengthOffBy {
        /// Bytes to add to the truth; the sum is cut at 0.
        delta_bytes: i64,
    },
    /// Answer a range that begins this many bytes later than asked, and say so in `Content-Range`. A range so moved past the end
    /// of the file answers 416.
    RangeOffBy {
        /// Bytes to add to the start.
        delta_bytes: u64,
    },
    /// Answer this status with a short text.
    Status {
        /// 400..=599.
        code: u16,
    },
    /// Answer 302 with this `Location`.
    Redirect {
        /// URL, absolute or not.
        location: String,
    },
    /// Send the body no faster than this (per response).
    Throttle {
        /// Bytes per second, at least 1.
        bytes_per_second: u64,
    },
}

/// A fault and the requests that meet it.
#[derive(Debug, Clone, PartialEq)]
pub struct FaultRule {
    /// Which requests.
    pub scope: Scope,
    /// What happens to them.
    pub fault: Fault,
    /// To how many of them, in order of arrival; `None`: all.
    pub times: Option<u32>,
    /// To which share of them, at random, 0.0..=1.0.
    pub probability: f64,
}

impl FaultRule {
    /// A rule for every request, always.
    #[must_use]
    pub fn always(fault: Fault) -> Self {
        Self {
            scope: Scope::All,
            fault,
            times: None,
            probability: 1.0,
        }
    }

    /// The same rule for other requests.
    #[must_use]
    pub fn on(self, scope: Scope) -> Self {
        Self { scope, ..self }
    }

    /// The same rule for the next `times` requests only.
    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Self {
            times: Some(times),
            ..self
        }
    }

    /// The same rule for a random share of the requests.
    #[must_use]
    pub fn with_probability(self, probability: f64) -> Self {
        Self {
            probability,
            ..self
        }
    }
}

/// Names a rule, to take it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FaultId(u64);

/// The switchboard of an origin's faults.
#[derive(Debug)]
pub struct Faults {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    next_id: u64,
    rules: Vec<(FaultId, FaultRule)>,
    versions: HashMap<Vec<u8>, Version>,
    random: Xoshiro256PlusPlus,
}

impl Faults {
    pub(super) fn new(seed: u64) -> Self {
        let random = Xoshiro256PlusPlus::seed_from_u64(seed);
        Self {
            state: Mutex::new(State {
                next_id: 0,
                rules: Vec::new(),
                versions: HashMap::new(),
                random,
            }),
        }
    }

    /// Adds a rule; it applies from the next request on.
    ///
    /// # Panics
    /// When the probability is not within 0.0..=1.0, a status is not within 400..=599, or a throttle is 0.
    pub fn add(&self, rule: FaultRule) -> FaultId {
        assert!(
            (0.0..=1.0).contains(&rule.probability),
            "probability out of range: {}",
            rule.probability
        );
        match &rule.fault {
            Fault::Status { code } => {
                assert!((400..=599).contains(code), "not an error status: {code}")
            }
            Fault::Throttle { bytes_per_second } => {
                assert!(*bytes_per_second > 0, "a throttle of 0 is a stall")
            }
            Fault::Latency(_)
            | Fault::Stall
            | Fault::StallInBody { .. }
            | Fault::Drop
            | Fault::DropInBody { .. }
            | Fault::ContentLengthOffBy { .. }
            | Fault::RangeOffBy { .. }
            | Fault::Redirect { .. } => {}
        }
        let mut state = self.state();
        let id = FaultId(state.next_id);
        state.next_id += 1;
        state.rules.push((id, rule));
        id
    }

    /// Takes one rule back; false when it is gone already (taken back, or used up).
    pub fn remove(&self, id: FaultId) -> bool {
        let mut state = self.state();
        let before = state.rules.len();
        state.rules.retain(|(other, _)| *other != id);
        state.rules.len() < before
    }

    /// Takes all rules and all versions back.
    pub fn clear(&self) {
        let mut state = self.state();
        state.rules.clear();
        state.versions.clear();
    }

    /// From now on serves another version of a file: equal size, every byte XORed with `content_xor`, another entity tag and
    /// `Last-Modified`. (0 changes the validators alone.) Each call makes yet another version.
    pub fn change_content(&self, path: &[u8], content_xor: u8) {
        let mut state = self.state();
        let version = state.versions.entry(path.to_vec()).or_default();
        version.content_xor = content_xor;
        version.validator_step += 1;
    }

    /// From now on serves other bytes under the same validators: what a broken origin does.
    pub fn change_content_silently(&self, path: &[u8], content_xor: u8) {
        self.state()
            .versions
            .entry(path.to_vec())
            .or_default()
            .content_xor = content_xor;
    }

    pub(super) fn version(&self, path: &[u8]) -> Version {
        self.state().versions.get(path).copied().unwrap_or_default()
    }

    /// What a request that arrives now meets; uses up limited rules.
    pub(super) fn meet(&self, path: &[u8]) -> Misfortune {
        let mut state = self.state();
        let State { rules, random, .. } = &mut *state;
        let mut met = Misfortune::default();
        rules.retain_mut(|(_, rule)| {
            if rule.scope.covers(path)
                && (rule.probability >= 1.0 || random.random_bool(rule.probability))
            {
                met.suffer(&rule.fault);
                rule.times = rule.times.map(|times| times.saturating_sub(1));
            }
            rule.times != Some(0)
        });
        met
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // Every change is a single assignment, push or retain: the state is whole even when a caller's panic poisoned the lock.
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Scope {
    fn covers(&self, path: &[u8]) -> bool {
        match self {
            Self::All => true,
            Self::Path(exact) => exact == path,
            Self::Prefix(prefix) => path.starts_with(prefix),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::misfortune::Instead;
    use super::*;

    #[test]
    fn limited_rules_are_used_up() {
        let faults = Faults::new(1);
        let id = faults.add(FaultRule::always(Fault::Status { code: 503 }).times(2));
        let failed = (0..5)
            .filter(|_| faults.meet(b"x").instead.is_some())
            .count();
        assert_eq!(failed, 2);
        assert!(!faults.remove(id));
    }

    #[test]
    fn rules_apply_in_their_scope_only() {
        let faults = Faults::new(1);
        faults.add(FaultRule::always(Fault::Stall).on(Scope::Path(b"a".to_vec())));
        let id = faults.add(FaultRule::always(Fault::Drop).on(Scope::Prefix(b"d/".to_vec())));
        assert_eq!(faults.meet(b"a").instead, Some(Instead::Stall));
        assert_eq!(faults.meet(b"ab").instead, None);
        assert_eq!(faults.meet(b"d/e").instead, Some(Instead::Drop));
        assert!(faults.remove(id));
        assert_eq!(faults.meet(b"d/e"), Misfortune::default());
    }

    #[test]
    fn probability_is_a_share() {
        let faults = Faults::new(7);
        faults.add(FaultRule::always(Fault::Status { code: 500 }).with_probability(0.25));
        let failed = (0..4000)
            .filter(|_| faults.meet(b"x").instead.is_some())
            .count();
        assert!((800..1200).contains(&failed), "{failed} of 4000 at 0.25");
    }
}
