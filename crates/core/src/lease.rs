//! Leases that live: an object's handle in the hands of one session.
//!
//! Kept by their number on the wire, so that no two live ones can share it.

use alloc::collections::BTreeMap;

use holdfast_proto::WireObjectId;

use crate::{LeaseId, ObjectId, SessionId};

/// One live lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Lease {
    id: LeaseId,
    pub(crate) object: ObjectId,
    pub(crate) session: SessionId,
    pub(crate) yield_so_far: Yield,
}

/// What a lease was good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Yield {
    /// No bytes yet.
    Nothing,
    /// Some bytes.
    Bytes,
}

/// All live leases.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Leases {
    by_wire: BTreeMap<WireObjectId, Lease>,
    next: u64,
}

impl Leases {
    pub(crate) fn insert(&mut self, object: ObjectId, session: SessionId) -> LeaseId {
        let mut id = LeaseId(self.next);
        while self.by_wire.contains_key(&id.wire()) {
            id = LeaseId(id.0 + 1);
        }
        self.next = id.0 + 1;
        let lease = Lease {
            id,
            object,
            session,
            yield_so_far: Yield::Nothing,
        };
        self.by_wire.insert(id.wire(), lease);
        id
    }

    pub(crate) fn get(&self, id: LeaseId) -> Option<&Lease> {
        self.by_wire.get(&id.wire()).filter(|lease| lease.id == id)
    }

    /// The lease `id`, which the caller knows to live because another table names it.
    pub(crate) fn live(&self, id: LeaseId) -> &Lease {
        self.get(id).expect("a named lease lives")
    }

    pub(crate) fn note_bytes(&mut self, id: LeaseId) {
        let lease = self.by_wire.get_mut(&id.wire());
        lease.expect("a named lease lives").yield_so_far = Yield::Bytes;
    }

    pub(crate) fn remove(&mut self, id: LeaseId) -> Lease {
        assert!(self.get(id).is_some(), "only a live lease is removed");
        self.by_wire
            .remove(&id.wire())
            .expect("it was there just now")
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (LeaseId, &Lease)> {
        self.by_wire.values().map(|lease| (lease.id, lease))
    }
}
