//! Readers that wait, and for which bytes.
//!
//! A waiting reader's bytes are kept as *pieces*, each of which lies within one READ of the object. So what a READ is
//! wanted for, and whom an arriving range concerns, is found by its offsets alone.
//!
//! Invariant: a reader waits either for an OPEN or for at least one piece.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use holdfast_proto::ByteRange;

use crate::moment::Moment;
use crate::{ObjectId, ReaderId};

/// One waiting reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Waiter {
    pub(crate) object: ObjectId,
    since: Moment,
}

/// All waiting readers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Waiters {
    by_reader: BTreeMap<ReaderId, Waiter>,
    by_age: BTreeSet<(Moment, ReaderId)>,
    /// Offset of a piece → its length.
    pieces: BTreeMap<(ReaderId, u64), u64>,
    by_offset: BTreeSet<(ObjectId, u64, ReaderId)>,
    opens: BTreeSet<(ObjectId, ReaderId)>,
}

impl Waiters {
    /// # Panics
    /// When the reader waits already.
    pub(crate) fn insert(&mut self, reader: ReaderId, object: ObjectId, since: Moment) {
        let old = self.by_reader.insert(reader, Waiter { object, since });
        assert!(old.is_none(), "reader {reader} waits already");
        self.by_age.insert((since, reader));
    }

    pub(crate) fn wait_for_open(&mut self, reader: ReaderId, object: ObjectId) {
        self.opens.insert((object, reader));
    }

    pub(crate) fn wait_for_piece(&mut self, reader: ReaderId, object: ObjectId, piece: ByteRange) {
        let old = self.pieces.insert((reader, piece.offset), piece.len);
        assert!(old.is_none(), "reader {reader} named a byte twice");
        self.by_offset.insert((object, piece.offset, reader));
    }

    pub(crate) fn contains(&self, reader: ReaderId) -> bool {
        self.by_reader.contains_key(&reader)
    }

    /// Forgets the reader; gives its object and the offsets it still waited for.
    pub(crate) fn remove(&mut self, reader: ReaderId) -> Option<(ObjectId, Vec<u64>)> {
        let Waiter { object, since } = self.by_reader.remove(&reader)?;
        self.by_age.remove(&(since, reader));
        self.opens.remove(&(object, reader));
        let offsets: Vec<u64> = self.offsets_of(reader).collect();
        for &offset in &offsets {
            self.pieces.remove(&(reader, offset));
            self.by_offset.remove(&(object, offset, reader));
        }
        Some((object, offsets))
    }

    /// Takes `present` off every piece at or after `scan_from`; gives the readers that have nothing left to wait for.
    ///
    /// `scan_from` is where the READ that holds the first byte of `present` begins: no piece that begins earlier
    /// can reach into it.
    pub(crate) fn cover(
        &mut self,
        object: ObjectId,
        scan_from: u64,
        present: ByteRange,
    ) -> Vec<ReaderId> {
        let mut done = Vec::new();
        for (reader, piece) in self.pieces_in(object, scan_from, present) {
            self.pieces.remove(&(reader, piece.offset));
            self.by_offset.remove(&(object, piece.offset, reader));
            let (before, after) = piece.subtract(present);
            for rest in before.into_iter().chain(after) {
                self.wait_for_piece(reader, object, rest);
            }
            if self.offsets_of(reader).next().is_none() {
                done.push(reader);
            }
        }
        done
    }

    /// Pieces that begin at or after `scan_from` and overlap `range`.
    fn pieces_in(
        &self,
        object: ObjectId,
        scan_from: u64,
        range: ByteRange,
    ) -> Vec<(ReaderId, ByteRange)> {
        let first = (object, scan_from, ReaderId(0));
        let end = (object, range.end(), ReaderId(0));
        self.by_offset
            .range(first..end)
            .map(|&(_, offset, reader)| (reader, self.piece(reader, offset)))
            .filter(|(_, piece)| piece.overlaps(range))
            .collect()
    }

    fn piece(&self, reader: ReaderId, offset: u64) -> ByteRange {
        let len = self.pieces[&(reader, offset)];
        ByteRange::new(offset, len).expect("only whole pieces were inserted")
    }

    fn offsets_of(&self, reader: ReaderId) -> impl Iterator<Item = u64> {
        self.pieces
            .range((reader, 0)..=(reader, u64::MAX))
            .map(|(&(_, offset), _)| offset)
    }

    /// Whether a reader waits for bytes of this READ's range.
    pub(crate) fn want(&self, object: ObjectId, read: ByteRange) -> bool {
        let first = (object, read.offset, ReaderId(0));
        let end = (object, read.end(), ReaderId(0));
        self.by_offset.range(first..end).next().is_some()
    }

    /// A reader that waits for bytes of this READ's range.
    pub(crate) fn first_in(&self, object: ObjectId, read: ByteRange) -> Option<ReaderId> {
        let first = (object, read.offset, ReaderId(0));
        let end = (object, read.end(), ReaderId(0));
        self.by_offset
            .range(first..end)
            .next()
            .map(|(_, _, reader)| *reader)
    }

    /// A reader that waits for an OPEN of the object.
    pub(crate) fn first_opener(&self, object: ObjectId) -> Option<ReaderId> {
        let all = (object, ReaderId(0))..=(object, ReaderId(u64::MAX));
        self.opens.range(all).next().map(|(_, reader)| *reader)
    }

    /// A reader that waits for anything of the object.
    pub(crate) fn first_of(&self, object: ObjectId) -> Option<ReaderId> {
        let all = (object, 0, ReaderId(0))..=(object, u64::MAX, ReaderId(u64::MAX));
        let for_bytes = self.by_offset.range(all).next();
        self.first_opener(object)
            .or_else(|| for_bytes.map(|(_, _, reader)| *reader))
    }

    /// Objects that readers wait for, each once or twice.
    pub(crate) fn objects(&self) -> Vec<ObjectId> {
        let mut found: Vec<ObjectId> = Vec::new();
        let mut from = ObjectId(0);
        while let Some(&(object, _, _)) = self.by_offset.range((from, 0, ReaderId(0))..).next() {
            found.push(object);
            from = ObjectId(object.0 + 1);
        }
        from = ObjectId(0);
        while let Some(&(object, _)) = self.opens.range((from, ReaderId(0))..).next() {
            found.push(object);
            from = ObjectId(object.0 + 1);
        }
        found
    }

    pub(crate) fn oldest(&self) -> Option<Moment> {
        self.by_age.first().map(|(since, _)| *since)
    }

    pub(crate) fn len(&self) -> usize {
        self.by_reader.len()
    }

    pub(crate) fn readers(&self) -> impl Iterator<Item = (ReaderId, ObjectId)> {
        self.by_reader
            .iter()
            .map(|(id, waiter)| (*id, waiter.object))
    }

    /// Every piece, for the invariants.
    pub(crate) fn all_pieces(&self) -> impl Iterator<Item = (ObjectId, ReaderId, ByteRange)> {
        self.by_offset
            .iter()
            .map(|&(object, offset, reader)| (object, reader, self.piece(reader, offset)))
    }

    /// Asserts that the tables agree with each other.
    pub(crate) fn check(&self) {
        assert_eq!(self.pieces.len(), self.by_offset.len());
        assert_eq!(self.by_age.len(), self.by_reader.len());
        for (&reader, waiter) in &self.by_reader {
            assert!(self.by_age.contains(&(waiter.since, reader)));
            let for_open = self.opens.contains(&(waiter.object, reader));
            let for_bytes = self.offsets_of(reader).next().is_some();
            assert!(for_open != for_bytes, "reader {reader} waits for one thing");
            for offset in self.offsets_of(reader) {
                assert!(self.by_offset.contains(&(waiter.object, offset, reader)));
            }
        }
        for (object, reader) in &self.opens {
            assert_eq!(self.by_reader[reader].object, *object);
        }
    }
}
