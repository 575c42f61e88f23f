//! What daemons answer: `copen`, `cread` and `present`.

use alloc::vec::Vec;
use core::time::Duration;

use holdfast_proto::{ByteRange, Errno, MessageId};

use super::Core;
use crate::object::{State, Usage};
use crate::reply::Refusal;
use crate::request::{Body, Phase};
use crate::{LeaseId, ObjectId, ReplyError, SessionId};

impl Core {
    /// The object and lease of an OPEN that this session was handed and has not answered.
    #[must_use]
    pub fn open_request(&self, session: SessionId, id: MessageId) -> Option<(ObjectId, LeaseId)> {
        let request = self.requests.get(id)?;
        let Phase::Delivered { lease } = request.phase() else {
            return None;
        };
        let is_this = request.body == Body::Open && self.leases.live(lease).session == session;
        is_this.then_some((request.object, lease))
    }

    /// The object of a READ that was handed out with this lease and is not answered, and what is missing of its range.
    ///
    /// When every byte was announced already, the part announced last.
    #[must_use]
    pub fn read_request(&self, lease: LeaseId, id: MessageId) -> Option<(ObjectId, ByteRange)> {
        let request = self.requests.get(id)?;
        match request.body {
            Body::Read { range, .. } if request.delivered_with() == Some(lease) => {
                Some((request.object, range))
            }
            Body::Open | Body::Read { .. } | Body::Close { .. } => None,
        }
    }

    /// The session answers an OPEN: with the object's size in bytes, or an error.
    ///
    /// An error that tells of an outage is followed by another attempt after a while; one that may pass, by a bounded
    /// number of them; any other fails the object's readers with it. The lease of a refused OPEN ends.
    ///
    /// An object never changes its size: another one than before counts as ESTALE of a daemon that may be mistaken,
    /// and is tried again a bounded number of times (the kernel takes it over silently).
    ///
    /// # Errors
    /// [`ReplyError::NoSuchRequest`]: this session was not handed such an OPEN, or it was taken back since.
    pub fn copen(
        &mut self,
        now: Duration,
        session: SessionId,
        id: MessageId,
        answer: Result<u64, Errno>,
    ) -> Result<ObjectId, ReplyError> {
        self.advance(now);
        let (object, lease) = self.answered_open(session, id)?;
        match answer {
            Ok(size_bytes) if self.is_same_size(object, size_bytes) => {
                self.opened(object, lease, id, size_bytes);
            }
            Ok(_) => self.open_refused(object, lease, id, Errno::ESTALE, Refusal::Passing),
            Err(errno) => self.open_refused(object, lease, id, errno, Refusal::from(errno)),
        }
        Ok(object)
    }

    /// The session answers an OPEN with another version of the object than its owner knows: as with another size in
    /// [`Core::copen`], the daemon may be mistaken, so that it is ESTALE only after a bounded number of attempts.
    ///
    /// # Errors
    /// As [`Core::copen`].
    pub fn copen_of_another_version(
        &mut self,
        now: Duration,
        session: SessionId,
        id: MessageId,
    ) -> Result<ObjectId, ReplyError> {
        self.advance(now);
        let (object, lease) = self.answered_open(session, id)?;
        self.open_refused(object, lease, id, Errno::ESTALE, Refusal::Passing);
        Ok(object)
    }

    fn answered_open(
        &mut self,
        session: SessionId,
        id: MessageId,
    ) -> Result<(ObjectId, LeaseId), ReplyError> {
        let open = self.open_request(session, id);
        self.counters.replies_refused += u64::from(open.is_none());
        open.ok_or(ReplyError::NoSuchRequest)
    }

    fn is_same_size(&self, object: ObjectId, size_bytes: u64) -> bool {
        let known = self.objects.live(object).size_bytes;
        known.is_none_or(|known| known == size_bytes)
    }

    fn opened(&mut self, object: ObjectId, lease: LeaseId, open: MessageId, size_bytes: u64) {
        self.remove_request(open);
        let usage = Usage::Busy;
        self.objects.set_state(object, State::Open { lease, usage });
        self.objects.live_mut(object).size_bytes = Some(size_bytes);
        while let Some(reader) = self.waiters.first_opener(object) {
            self.serve_reader(reader);
        }
        let reads: Vec<MessageId> = self.reads.of(object).map(|(_, id)| id).collect();
        if reads.is_empty() {
            self.clear_outage(object);
        }
        for id in reads {
            if self.requests.live(id).phase() == Phase::New {
                self.make_ready(id);
            }
        }
        self.settle(object);
    }

    fn open_refused(
        &mut self,
        object: ObjectId,
        lease: LeaseId,
        open: MessageId,
        errno: Errno,
        refusal: Refusal,
    ) {
        self.take_back(open);
        self.end_lease(lease);
        let attempts_max = self.config.open_attempts_max;
        if self.is_given_up(open, refusal, attempts_max) {
            self.remove_request(open);
            self.objects.set_state(object, State::Close);
            self.fail_readers_of(object, errno);
        } else {
            self.back_off(open);
            if refusal == Refusal::Outage {
                self.note_outage(object);
            }
        }
        self.drop_unwanted_reads(object);
        self.prune_open(object);
    }

    /// Counts the refusal; whether the request is not to be tried again.
    fn is_given_up(&mut self, id: MessageId, refusal: Refusal, attempts_max: u8) -> bool {
        match refusal {
            Refusal::Outage => false,
            Refusal::Final => true,
            Refusal::Passing => {
                let request = self.requests.live_mut(id);
                request.refusals = request.refusals.saturating_add(1);
                request.refusals >= attempts_max
            }
        }
    }

    /// The daemon answers a READ: its range is written and present in the store, or an error.
    ///
    /// Errors are followed by other attempts as for [`Core::copen`], and concern the readers of that range only.
    ///
    /// # Errors
    /// [`ReplyError::NoSuchRequest`]: no such READ was handed out with this lease, or it was taken back since.
    pub fn cread(
        &mut self,
        now: Duration,
        lease: LeaseId,
        id: MessageId,
        answer: Result<(), Errno>,
    ) -> Result<ObjectId, ReplyError> {
        self.advance(now);
        let Some((object, range)) = self.read_request(lease, id) else {
            self.counters.replies_refused += 1;
            return Err(ReplyError::NoSuchRequest);
        };
        let covered = matches!(self.requests.live(id).phase(), Phase::Covered { .. });
        match answer {
            Ok(()) => {
                self.arrived(object, lease, range);
                self.remove_request(id);
            }
            Err(_) if covered => self.remove_request(id),
            Err(errno) => self.read_refused(object, range, id, errno),
        }
        self.settle(object);
        Ok(object)
    }

    fn read_refused(&mut self, object: ObjectId, range: ByteRange, id: MessageId, errno: Errno) {
        self.take_back(id);
        let attempts_max = self.config.read_attempts_max;
        let refusal = Refusal::from(errno);
        if self.is_given_up(id, refusal, attempts_max) {
            self.remove_request(id);
            while let Some(reader) = self.waiters.first_in(object, range) {
                self.fail_reader(reader, errno);
            }
            return;
        }
        self.back_off(id);
        self.drop_unwanted_read(id);
        if refusal == Refusal::Outage {
            self.note_outage(object);
        }
    }

    /// The daemon says that a range is written; the store has it marked as present.
    ///
    /// Any range of the open object: a part of a READ, or more than was asked for. Whole blocks of it count; the
    /// object's last block is whole at the object's end.
    ///
    /// # Errors
    /// [`ReplyError::NoSuchLease`]: the lease has ended, or its OPEN is not answered yet, or the object is being dropped.
    pub fn present(
        &mut self,
        now: Duration,
        lease: LeaseId,
        range: ByteRange,
    ) -> Result<ObjectId, ReplyError> {
        self.advance(now);
        let object = self.leases.get(lease).map(|lease| lease.object);
        let open = object.filter(|&id| self.objects.live(id).state().open_lease() == Some(lease));
        let Some(object) = open else {
            self.counters.replies_refused += 1;
            return Err(ReplyError::NoSuchLease);
        };
        let size_bytes = self.object_size(object).unwrap_or(ByteRange::END_MAX);
        if let Some(blocks) = range.complete_blocks(size_bytes) {
            self.arrived(object, lease, blocks);
            self.settle(object);
        }
        Ok(object)
    }

    /// Bytes of the object arrived: serves who waits for them and shrinks what asks for them.
    fn arrived(&mut self, object: ObjectId, lease: LeaseId, range: ByteRange) {
        self.leases.note_bytes(lease);
        self.objects.live_mut(object).futile_opens = 0;
        self.clear_outage(object);
        let touched: Vec<(ByteRange, MessageId)> = self.reads.overlapping(object, range).collect();
        let scan_from = touched
            .first()
            .map_or(range.offset, |(read, _)| read.offset.min(range.offset));
        for reader in self.waiters.cover(object, scan_from, range) {
            self.serve_reader(reader);
        }
        for (read, id) in touched {
            self.shrink_read(object, read, id, range);
        }
    }

    /// Takes `present` off a READ, from the front or the end. A hole in the middle is left to be filled again.
    fn shrink_read(
        &mut self,
        object: ObjectId,
        read: ByteRange,
        id: MessageId,
        present: ByteRange,
    ) {
        let rest = match read.subtract(present) {
            (None, None) => return self.cover_read(object, read, id),
            (Some(rest), None) | (None, Some(rest)) => rest,
            (Some(_), Some(_)) => read,
        };
        let request = self.requests.live_mut(id);
        let Body::Read { range, .. } = &mut request.body else {
            unreachable!("the READ table names READs only");
        };
        *range = rest;
        self.reads.remove(object, read);
        self.reads.insert(object, rest, id);
        self.prune_read(id);
    }

    /// Every byte of the READ is there: it is over, but for the `cread` of the daemon that has it.
    fn cover_read(&mut self, object: ObjectId, read: ByteRange, id: MessageId) {
        match self.requests.live(id).phase() {
            Phase::Delivered { lease } => {
                self.reads.remove(object, read);
                self.reads.insert_covered(object, id);
                self.requests.set_phase(id, Phase::Covered { lease });
            }
            Phase::New | Phase::Backoff { .. } => self.remove_request(id),
            Phase::Covered { .. } => unreachable!("a covered READ wants no bytes"),
        }
    }

    /// Drops what no reader waits for: prefetches are not worth trouble.
    pub(super) fn drop_unwanted_reads(&mut self, object: ObjectId) {
        let reads: Vec<MessageId> = self.reads.of(object).map(|(_, id)| id).collect();
        for id in reads {
            self.drop_unwanted_read(id);
        }
    }
}
