//! Which READ asks for which bytes of which object.
//!
//! Invariant: the ranges of one object are disjoint, so a byte is asked for once (single-flight).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use holdfast_proto::{ByteRange, MessageId};

use crate::ObjectId;

/// READs by object and offset, and those of which every byte arrived.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct ReadTable {
    /// First offset → length and number.
    wanting: BTreeMap<(ObjectId, u64), (u64, MessageId)>,
    covered: BTreeSet<(ObjectId, MessageId)>,
}

impl ReadTable {
    pub(crate) fn insert(&mut self, object: ObjectId, range: ByteRange, id: MessageId) {
        let old = self.wanting.insert((object, range.offset), (range.len, id));
        assert!(old.is_none(), "two READs begin at {range:?}");
    }

    pub(crate) fn remove(&mut self, object: ObjectId, range: ByteRange) {
        let old = self.wanting.remove(&(object, range.offset));
        assert!(old.is_some(), "no READ begins at {range:?}");
    }

    pub(crate) fn insert_covered(&mut self, object: ObjectId, id: MessageId) {
        self.covered.insert((object, id));
    }

    pub(crate) fn remove_covered(&mut self, object: ObjectId, id: MessageId) {
        let was_there = self.covered.remove(&(object, id));
        assert!(was_there, "READ {id} is not a covered one");
    }

    /// The READ that asks for the byte at `offset`.
    pub(crate) fn at(&self, object: ObjectId, offset: u64) -> Option<(ByteRange, MessageId)> {
        let before = self.wanting.range((object, 0)..=(object, offset));
        let (range, id) = before.map(entry).next_back()?;
        range.contains_offset(offset).then_some((range, id))
    }

    /// READs that ask for bytes of `range`, ascending.
    pub(crate) fn overlapping(
        &self,
        object: ObjectId,
        range: ByteRange,
    ) -> impl Iterator<Item = (ByteRange, MessageId)> {
        let first = self.at(object, range.offset);
        let start = first.map_or(range.offset, |(read, _)| read.offset);
        self.wanting
            .range((object, start)..(object, range.end()))
            .map(entry)
    }

    /// The bytes of `range` that no READ asks for, ascending.
    pub(crate) fn gaps(&self, object: ObjectId, range: ByteRange) -> Vec<ByteRange> {
        let asked: Vec<ByteRange> = self
            .overlapping(object, range)
            .map(|(read, _)| read)
            .collect();
        range.subtract_all(&asked)
    }

    /// READs of the object that still want bytes.
    pub(crate) fn of(&self, object: ObjectId) -> impl Iterator<Item = (ByteRange, MessageId)> {
        self.wanting
            .range((object, 0)..=(object, u64::MAX))
            .map(entry)
    }

    /// READs of the object that only lack their `cread`.
    pub(crate) fn covered_of(&self, object: ObjectId) -> impl Iterator<Item = MessageId> {
        self.covered
            .range((object, MessageId(0))..=(object, MessageId(u32::MAX)))
            .map(|(_, id)| *id)
    }

    /// Whether the object has READs that want bytes.
    pub(crate) fn wants(&self, object: ObjectId) -> bool {
        self.of(object).next().is_some()
    }

    /// Whether the object has READs of any kind.
    pub(crate) fn has(&self, object: ObjectId) -> bool {
        self.wants(object) || self.covered_of(object).next().is_some()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (ObjectId, ByteRange, MessageId)> {
        self.wanting.iter().map(|item| {
            let (range, id) = entry(item);
            (item.0.0, range, id)
        })
    }

    pub(crate) fn covered(&self) -> impl Iterator<Item = (ObjectId, MessageId)> {
        self.covered.iter().copied()
    }
}

fn entry(
    (&(_, offset), &(len, id)): (&(ObjectId, u64), &(u64, MessageId)),
) -> (ByteRange, MessageId) {
    let range = ByteRange::new(offset, len).expect("only whole ranges were inserted");
    (range, id)
}
