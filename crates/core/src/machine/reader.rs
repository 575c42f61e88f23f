//! Readers come, wait and go.

use core::time::Duration;

use holdfast_proto::{BLOCK_BYTES, ByteRange, Errno, MessageId};

use super::Core;
use crate::object::State;
use crate::request::{Body, Origin};
use crate::{Event, ObjectId, ObjectState, ReaderId};

impl Core {
    /// The reader waits until an OPEN of the object was answered at least once, so that its size is known.
    ///
    /// At once [`Event::ReaderReady`] when one was; [`Event::ReaderFailed`] (EIO) when the object is gone or being dropped.
    ///
    /// # Panics
    /// When `reader` waits already.
    pub fn open(&mut self, now: Duration, object: ObjectId, reader: ReaderId) {
        self.advance(now);
        if self.object_size(object).is_some()
            && self.object_state(object) != Some(ObjectState::Dropping)
        {
            assert!(
                !self.waiters.contains(reader),
                "reader {reader} waits already"
            );
            self.tell_ready(reader);
            return;
        }
        if !self.admit(object, reader) {
            return;
        }
        self.waiters.insert(reader, object, self.now);
        self.waiters.wait_for_open(reader, object);
        self.note_unserved(object);
        match self.objects.live(object).state() {
            State::Close => {
                let open = self.new_open(object);
                self.objects.set_state(object, State::Opening { open });
                self.make_ready(open);
            }
            State::Opening { open } | State::Reopening { open } => self.rearm(open),
            State::Open { .. } | State::Dropping { .. } => {
                unreachable!("an object that is or was OPEN has a size")
            }
        }
    }

    /// The reader waits until every byte of `missing` is present.
    ///
    /// Bytes that are asked for already are not asked for again. A READ on a CLOSE object reopens it (seed 2).
    /// [`Event::ReaderFailed`] (EIO) at once when the object is gone or being dropped.
    ///
    /// # Panics
    /// When `reader` waits already, or `missing` is empty, not ascending and disjoint, or begins inside a block.
    pub fn read(
        &mut self,
        now: Duration,
        object: ObjectId,
        reader: ReaderId,
        missing: &[ByteRange],
    ) {
        self.advance(now);
        check_missing(missing);
        if !self.admit(object, reader) {
            return;
        }
        self.waiters.insert(reader, object, self.now);
        for &range in missing {
            self.ask_for(object, range, Origin::Reader);
            self.wait_for(reader, object, range);
        }
        self.note_unserved(object);
        self.drive_reads(object);
    }

    /// Asks for the missing bytes of `range` though nobody waits for them. Ignored when the object is gone or being dropped.
    ///
    /// A prefetch that nobody joined is dropped, not repeated, when anything goes wrong.
    ///
    /// # Panics
    /// When `range` begins inside a block.
    pub fn prefetch(&mut self, now: Duration, object: ObjectId, range: ByteRange) {
        self.advance(now);
        check_missing(&[range]);
        match self.object_state(object) {
            None | Some(ObjectState::Dropping) => return,
            Some(ObjectState::Close | ObjectState::Open | ObjectState::Reopening) => {}
        }
        self.ask_for(object, range, Origin::Prefetch);
        self.drive_reads(object);
    }

    /// The reader was killed or gave up. `true`: it waited, is forgotten, and no later event names it.
    ///
    /// What was made for it alone is dropped, unless a daemon works on it already (then it may finish).
    pub fn interrupt(&mut self, now: Duration, reader: ReaderId) -> bool {
        self.advance(now);
        let waited = self.forget_reader(reader);
        self.counters.readers_interrupted += u64::from(waited);
        waited
    }

    /// Whether the reader may wait; otherwise it has its answer.
    fn admit(&mut self, object: ObjectId, reader: ReaderId) -> bool {
        assert!(
            !self.waiters.contains(reader),
            "reader {reader} waits already"
        );
        let admitted = match self.object_state(object) {
            None | Some(ObjectState::Dropping) => false,
            Some(ObjectState::Close | ObjectState::Open | ObjectState::Reopening) => {
                self.may_try_again(object)
            }
        };
        if !admitted {
            self.tell_failed(reader, Errno::EIO);
        }
        admitted
    }

    /// Makes READs for the bytes of `range` that none asks for yet.
    fn ask_for(&mut self, object: ObjectId, range: ByteRange, origin: Origin) {
        for gap in self.reads.gaps(object, range) {
            let mut start = gap.offset;
            while start < gap.end() {
                let end = gap
                    .end()
                    .min(start.saturating_add(self.config.read_len_max_bytes));
                let part = ByteRange::from_bounds(start, end).expect("a part of a gap is no less");
                let body = Body::Read {
                    range: part,
                    origin,
                };
                let id = self.requests.insert(object, body, self.now);
                self.reads.insert(object, part, id);
                self.make_ready(id);
                start = end;
            }
        }
    }

    /// Lets the reader wait for the parts of `range` in the READs that ask for them.
    fn wait_for(&mut self, reader: ReaderId, object: ObjectId, range: ByteRange) {
        let asked: alloc::vec::Vec<(ByteRange, MessageId)> =
            self.reads.overlapping(object, range).collect();
        for (read, id) in asked {
            let piece = read.intersect(range).expect("they overlap");
            self.waiters.wait_for_piece(reader, object, piece);
            self.rearm(id);
        }
    }

    /// Sees to it that the object's READs can be handed out: it is OPEN or being reopened.
    fn drive_reads(&mut self, object: ObjectId) {
        if !self.reads.wants(object) {
            return;
        }
        match self.objects.live(object).state() {
            State::Close => {
                let open = self.new_open(object);
                self.objects.set_state(object, State::Reopening { open });
                self.make_ready(open);
            }
            State::Opening { open } => {
                self.objects.set_state(object, State::Reopening { open });
                self.rearm(open);
            }
            State::Reopening { open } => self.rearm(open),
            State::Open { .. } => self.settle(object),
            State::Dropping { .. } => unreachable!("a dropped object takes no READs"),
        }
    }

    /// Takes the reader out, with what only it wanted. `false` when it does not wait.
    fn forget_reader(&mut self, reader: ReaderId) -> bool {
        let Some((object, offsets)) = self.waiters.remove(reader) else {
            return false;
        };
        for offset in offsets {
            if let Some((_, id)) = self.reads.at(object, offset) {
                self.prune_read(id);
            }
        }
        self.prune_open(object);
        self.settle(object);
        true
    }

    pub(super) fn fail_reader(&mut self, reader: ReaderId, errno: Errno) {
        if self.forget_reader(reader) {
            self.tell_failed(reader, errno);
        }
    }

    /// Fails everybody who waits for anything of the object.
    pub(super) fn fail_readers_of(&mut self, object: ObjectId, errno: Errno) {
        while let Some(reader) = self.waiters.first_of(object) {
            self.fail_reader(reader, errno);
        }
    }

    /// Takes the reader out and tells it that all it wanted is there.
    pub(super) fn serve_reader(&mut self, reader: ReaderId) {
        self.waiters.remove(reader);
        self.tell_ready(reader);
    }

    fn tell_ready(&mut self, reader: ReaderId) {
        self.counters.readers_ready += 1;
        self.events.push_back(Event::ReaderReady { reader });
    }

    fn tell_failed(&mut self, reader: ReaderId, errno: Errno) {
        self.counters.readers_failed += 1;
        self.events.push_back(Event::ReaderFailed { reader, errno });
    }
}

fn check_missing(missing: &[ByteRange]) {
    assert!(!missing.is_empty(), "a reader waits for something");
    for range in missing {
        assert_eq!(range.offset % BLOCK_BYTES, 0, "{range:?} begins in a block");
    }
    for pair in missing.windows(2) {
        assert!(pair[0].end() <= pair[1].offset, "{pair:?} is out of order");
    }
}
