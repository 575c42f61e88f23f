//! One `/dev/fuse` descriptor: receive requests, send replies, take over.
//!
//! Invariants:
//! * All methods take `&self` and may be called by any thread; the kernel orders reads and writes itself.
//! * There is one kernel queue. Share the connection or dup its descriptor. A clone (`FUSE_DEV_IOC_CLONE`) has a queue
//!   of its own, which dies with its last holder, and replies written elsewhere get ENOENT.
//! * Every byte that the kernel copies lies in resident memory (see [`crate::buffers`]).
//!
//! Implements: `fuse_dev_do_read`, `fuse_dev_do_write`, `fuse_notify` in the kernel's `fs/fuse/dev.c`; fuse(4).

mod replies;

pub use replies::SMALL_REPLY_MAX_BYTES;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use rustix::io::{Errno, read};

use crate::abi;
use crate::buffers::{BufferError, ReceiveBuffer};
use crate::handshake::Negotiated;
use crate::request::{Request, RequestError, Unique};

/// A FUSE connection: a `/dev/fuse` descriptor and what was agreed on over it.
#[derive(Debug)]
pub struct Connection {
    device: OwnedFd,
    negotiated: OnceLock<Negotiated>,
}

/// What [`Connection::receive`] brought.
#[derive(Debug)]
pub enum Received<'a> {
    /// A request.
    Request(Request<'a>),
    /// The mount is gone (umount, or the last reference of a lazy one). No request will come any more.
    Unmounted,
    /// The connection was aborted (fusectl, or `fs.fuse.max_request_timeout`). No request will come any more.
    Aborted,
}

/// Why nothing was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReceiveError {
    /// The descriptor does not block and no request is there.
    #[error("no request is there")]
    WouldBlock,
    /// The kernel sent what we cannot parse. If it names a request, answer that with EIO.
    #[error("a request that cannot be understood: {0}")]
    Malformed(RequestError),
    /// The descriptor was never mounted (EPERM).
    #[error("the FUSE descriptor is not mounted yet")]
    NotMounted,
    /// Anything else that read(2) says.
    #[error("cannot read from the FUSE descriptor: {0}")]
    Read(Errno),
}

/// What became of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a reply that the kernel no longer knows may have to be given again after a resend"]
pub enum Accepted {
    /// The kernel took it; the request is over.
    Accepted,
    /// The kernel does not know this `unique`: answered before, or delivered again under another `unique`, or
    /// the connection is gone (ENOENT).
    Gone,
}

/// Why a reply was not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// No memory for the thread's reply buffer; the request still waits.
    #[error(transparent)]
    Buffer(#[from] BufferError),
    /// A body too long for a small reply; nothing was sent, the request still waits.
    #[error("a reply of {len_bytes} bytes, at most {max_bytes} fit")]
    TooLong {
        /// What was given.
        len_bytes: usize,
        /// What fits.
        max_bytes: usize,
    },
    /// The kernel refused the reply. Unless the errno is EPERM (not mounted), it has failed the request with EIO.
    #[error("the kernel refused a reply: {0}")]
    Write(Errno),
}

/// Why a notification was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotifyError {
    /// The kernel does not know FUSE_NOTIFY_RESEND (before Linux 6.9).
    #[error("this kernel cannot deliver FUSE requests again (Linux 6.9 can)")]
    NotSupported,
    /// The connection has ended, or was never mounted.
    #[error("the FUSE connection is not mounted")]
    NotConnected,
    /// No memory for the thread's reply buffer.
    #[error(transparent)]
    Buffer(#[from] BufferError),
    /// Anything else that write(2) says.
    #[error("cannot write to the FUSE descriptor: {0}")]
    Write(Errno),
}

impl Connection {
    /// A connection over a fresh `/dev/fuse` descriptor, mounted or about to be; the first request is INIT. The
    /// descriptor may be blocking or not, and this is not changed: with dups in other processes it is shared.
    #[must_use]
    pub fn new(device: OwnedFd) -> Self {
        Self {
            device,
            negotiated: OnceLock::new(),
        }
    }

    /// Takes a live connection over from a process that died: no INIT comes, what it agreed on is `negotiated`. To get
    /// what it had received and not answered, call [`Connection::notify_resend`] once it is dead for certain.
    ///
    /// If it died before its INIT reply, INIT comes again: answer it with the same `negotiated`.
    #[must_use]
    pub fn take_over(device: OwnedFd, negotiated: Negotiated) -> Self {
        Self {
            device,
            negotiated: OnceLock::from(negotiated),
        }
    }

    /// What was agreed on; `None` before the INIT reply.
    #[must_use]
    pub fn negotiated(&self) -> Option<&Negotiated> {
        self.negotiated.get()
    }

    /// Receives the next request, waiting for it unless the descriptor is non-blocking.
    ///
    /// # Errors
    /// * [`ReceiveError::WouldBlock`]: non-blocking, and nothing there.
    /// * [`ReceiveError::Malformed`]: not a request; to be answered with EIO where it has a number.
    /// * [`ReceiveError::NotMounted`]: nobody has mounted this descriptor yet.
    /// * [`ReceiveError::Read`]: any other errno of read(2).
    pub fn receive<'a>(&self, buffer: &'a mut ReceiveBuffer) -> Result<Received<'a>, ReceiveError> {
        let len = loop {
            match read(&self.device, buffer.bytes_mut()) {
                Ok(len) => break len,
                // ENOENT: the request was withdrawn while it was copied; the next one is as good.
                Err(Errno::INTR | Errno::NOENT) => {}
                Err(Errno::NODEV) => return Ok(Received::Unmounted),
                Err(Errno::CONNABORTED) => return Ok(Received::Aborted),
                Err(Errno::AGAIN) => return Err(ReceiveError::WouldBlock),
                Err(Errno::PERM) => return Err(ReceiveError::NotMounted),
                Err(errno) => return Err(ReceiveError::Read(errno)),
            }
        };
        Request::parse(&buffer.bytes()[..len])
            .map(Received::Request)
            .map_err(ReceiveError::Malformed)
    }

    /// Asks the kernel to deliver again every request that was received and not answered, each with its resent flag
    /// set ([`Unique::is_resent`]) and to be answered with that new `unique`. FORGETs are not delivered again,
    /// INTERRUPTs are. May be repeated: after the predecessor's death is certain it must be, when it was first called
    /// while a thread of it could still be inside a read. Then requests of this process are delivered again too, and a
    /// reply of it may be [`Accepted::Gone`]: recognise them by [`Unique::id`] and answer again.
    ///
    /// # Errors
    /// * [`NotifyError::NotSupported`]: the kernel is older than 6.9 (EINVAL).
    /// * [`NotifyError::NotConnected`]: not mounted, or ended.
    /// * [`NotifyError::Buffer`]: no memory.
    /// * [`NotifyError::Write`]: any other errno of write(2).
    pub fn notify_resend(&self) -> Result<(), NotifyError> {
        // A notification is a reply to request 0 whose error is the notification's code.
        match self.write_message(0, abi::NOTIFY_RESEND, &[])? {
            Ok(()) => Ok(()),
            Err(Errno::INVAL | Errno::NOSYS) => Err(NotifyError::NotSupported),
            Err(Errno::PERM | Errno::NOENT | Errno::NODEV | Errno::NOTCONN) => {
                Err(NotifyError::NotConnected)
            }
            Err(errno) => Err(NotifyError::Write(errno)),
        }
    }

    /// Receives INIT, lets `store` make the outcome durable, and answers: the whole handshake in one call. For a
    /// blocking descriptor.
    ///
    /// # Errors
    /// [`HandshakeFailure`]: the connection ended or another request came first, the kernel is too old (its INIT has then
    /// been answered with an error), `store` failed (INIT is not answered: a successor may), or the reply was not taken.
    pub fn handshake<E>(
        &self,
        buffer: &mut ReceiveBuffer,
        options: &crate::handshake::HandshakeOptions,
        store: impl FnOnce(&Negotiated) -> Result<(), E>,
    ) -> Result<Negotiated, HandshakeFailure<E>> {
        let request = match self.receive(buffer).map_err(HandshakeFailure::Receive)? {
            Received::Request(request) => request,
            Received::Unmounted | Received::Aborted => return Err(HandshakeFailure::Ended),
        };
        let crate::Operation::Init(init) = request.operation else {
            return Err(HandshakeFailure::NotInit(request.unique));
        };
        let negotiated = match Negotiated::choose(&init, options) {
            Ok(negotiated) => negotiated,
            Err(error) => {
                let _ = self.reply_error(request.unique, error.errno());
                return Err(HandshakeFailure::Protocol(error));
            }
        };
        store(&negotiated).map_err(HandshakeFailure::Store)?;
        match self.reply_init(request.unique, &negotiated) {
            Ok(Accepted::Accepted) => Ok(negotiated),
            Ok(Accepted::Gone) => Err(HandshakeFailure::Ended),
            Err(error) => Err(HandshakeFailure::Reply(error)),
        }
    }

    /// The descriptor, for poll(2) and for handing a dup to a keeper.
    #[must_use]
    pub fn device(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }

    /// Gives the descriptor back.
    #[must_use]
    pub fn into_device(self) -> OwnedFd {
        self.device
    }
}

/// Why [`Connection::handshake`] failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeFailure<E> {
    /// INIT was not received.
    #[error(transparent)]
    Receive(ReceiveError),
    /// The mount went away first.
    #[error("the mount went away during the handshake")]
    Ended,
    /// The first request was no INIT: this connection is live already and wants [`Connection::take_over`].
    #[error("the first request is not INIT: the connection is live already")]
    NotInit(Unique),
    /// No common protocol.
    #[error(transparent)]
    Protocol(crate::handshake::HandshakeError),
    /// What was agreed on could not be stored.
    #[error("cannot store what was agreed on with the kernel")]
    Store(E),
    /// The INIT reply was refused.
    #[error(transparent)]
    Reply(ReplyError),
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device()
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
