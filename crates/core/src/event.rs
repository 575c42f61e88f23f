//! What the core tells the shell to do.

use holdfast_proto::{ByteRange, Errno, MessageId};

use crate::{LeaseId, ObjectId, ReaderId, SessionId};

/// Something that happened and that the shell must act on, in the order given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// All that the reader waited for is there. The last event that names it.
    ReaderReady {
        /// The reader, whose number is free again.
        reader: ReaderId,
    },
    /// The reader cannot be served. The last event that names it.
    ReaderFailed {
        /// The reader, whose number is free again.
        reader: ReaderId,
        /// What it gets.
        errno: Errno,
    },
    /// The session can take a request now: call [`crate::Core::next_delivery`] until it gives `None`, or until a
    /// delivery fails. Given once, until `next_delivery` found nothing or a delivery failed.
    SessionReady {
        /// The session.
        session: SessionId,
    },
    /// The lease is void: close the engine's ends of it. Given exactly once for each lease delivered.
    LeaseEnded {
        /// The lease.
        lease: LeaseId,
        /// The object it was of (which may be gone already).
        object: ObjectId,
    },
    /// The object is dropped for good; its number is never used again.
    ObjectGone {
        /// The object.
        object: ObjectId,
    },
}

/// A request for a session, counted as handed out from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Delivery {
    /// Its number; stays the same when it is handed out again.
    pub msg_id: MessageId,
    /// The object it is about. After a CLOSE it may be gone already.
    pub object: ObjectId,
    /// What is asked.
    pub body: DeliveryBody,
}

/// What a [`Delivery`] asks of the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeliveryBody {
    /// Open the object; make the data descriptor and the lease, and answer with `copen`.
    Open {
        /// The fresh lease.
        lease: LeaseId,
    },
    /// Fill the range; answer with `cread` on the lease.
    Read {
        /// The live lease of the object.
        lease: LeaseId,
        /// What is still missing of what was asked for.
        range: ByteRange,
    },
    /// Close the object's descriptors. No answer. The lease has ended already.
    Close {
        /// The lease that ended.
        lease: LeaseId,
    },
}

/// When to try a failed delivery again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeliveryRetry {
    /// The socket is full: hand nothing to this session before [`crate::Core::session_writable`].
    WhenWritable,
    /// Something else is short (descriptors, memory): this request waits, longer each time.
    AfterBackoff,
}
