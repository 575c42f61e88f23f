//! An object's share of the daemon that holds it: how many of its READs may be on their way at once.
//!
//! Without it an object whose origin never answers would take every credit of its daemon, and nobody else's READ would
//! be handed out (H08).

use alloc::collections::{BTreeMap, BTreeSet};

use holdfast_proto::MessageId;

use crate::LeaseId;

/// The READs of one lease.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Share {
    /// How many stand in the session's ready queue or are handed out.
    active: usize,
    /// New ones beyond the limit, in the order of their numbers.
    parked: BTreeSet<MessageId>,
}

/// The shares of all leases that have READs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Shares(BTreeMap<LeaseId, Share>);

impl Shares {
    /// A READ wants to stand in the ready queue: true when it may, false when it is parked.
    pub(crate) fn enter(&mut self, lease: LeaseId, id: MessageId, max: usize) -> bool {
        let share = self.0.entry(lease).or_default();
        if share.active < max {
            share.active += 1;
            return true;
        }
        share.parked.insert(id);
        false
    }

    /// A READ left the ready queue or its daemon: the one that may take its place, which counts as entered.
    pub(crate) fn leave(&mut self, lease: LeaseId) -> Option<MessageId> {
        let share = self.0.get_mut(&lease).expect("it had entered");
        assert!(share.active > 0, "no more leave than entered");
        let next = share.parked.pop_first();
        if next.is_none() {
            share.active -= 1;
            if share.active == 0 {
                self.0.remove(&lease);
            }
        }
        next
    }

    /// A READ is no more new: takes it from where it is parked, if it is.
    pub(crate) fn unpark(&mut self, lease: LeaseId, id: MessageId) -> bool {
        let share = self.0.get_mut(&lease);
        share.is_some_and(|share| share.parked.remove(&id))
    }

    /// Whether the READ is parked.
    pub(crate) fn is_parked(&self, lease: LeaseId, id: MessageId) -> bool {
        let share = self.0.get(&lease);
        share.is_some_and(|share| share.parked.contains(&id))
    }

    /// The lease, how many READs are active, and how many are parked; for checks.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (LeaseId, usize, usize)> {
        self.0
            .iter()
            .map(|(lease, share)| (*lease, share.active, share.parked.len()))
    }
}
