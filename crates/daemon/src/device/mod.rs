//! What a daemon talks to: a device that hands out requests, and a lease per open object on which READs are answered.
//!
//! The engine's socket ([`engine_socket`]) is one device; the kernel's character device is to be another, in a file of
//! its own: only how a message arrives with its descriptors and how `cread` is sent differ.
//! Invariant: a [`Delivery::Open`] always carries a usable data descriptor and lease; an OPEN whose descriptors were
//! lost on the way is a [`Delivery::OpenWithoutDescriptors`] and must be answered with EMFILE (H16).

pub mod engine_socket;

use std::os::fd::BorrowedFd;

use async_trait::async_trait;
use holdfast_proto::command::OpenAnswer;
use holdfast_proto::key::{CookieKey, CookieKeyError};
use holdfast_proto::{ByteRange, Errno, MessageId, WireObjectId};

/// One thing that the device handed out.
#[derive(Debug)]
pub enum Delivery {
    /// Open an object and answer with `copen`. Consumes a credit.
    Open(OpenRequest),
    /// An OPEN whose descriptors did not arrive. Consumes a credit.
    OpenWithoutDescriptors(MessageId),
    /// Write a range into an open object and answer with `cread`. Consumes a credit.
    Read {
        /// Number of the request.
        msg_id: MessageId,
        /// The object, as named by its OPEN.
        object_id: WireObjectId,
        /// What is wanted, in bytes.
        range: ByteRange,
    },
    /// Let go of an object. No answer, no credit.
    Close(WireObjectId),
    /// A command of ours failed at the engine. No answer, no credit.
    Rejected {
        /// Which of this session's commands, counted from 0.
        command: u32,
        /// Why.
        errno: Errno,
    },
}

/// An OPEN with its descriptors.
#[derive(Debug)]
pub struct OpenRequest {
    /// Number of the request.
    pub msg_id: MessageId,
    /// Name of the object in later messages.
    pub object_id: WireObjectId,
    /// The volume: its canonical source.
    pub volume_key: Vec<u8>,
    /// The object within the volume.
    pub cookie_key: Result<CookieKey, CookieKeyError>,
    /// The size that the engine knows, in bytes.
    pub expected_size: Option<u64>,
    /// The version that the engine holds; empty when none yet (H04).
    pub validator: Vec<u8>,
    /// Where bytes go and READs are answered.
    pub lease: Box<dyn Lease>,
}

/// The open object's descriptors. Dropping it closes the anonymous descriptor: the device then reopens the object
/// when it is read again.
#[async_trait]
pub trait Lease: std::fmt::Debug + Send + Sync {
    /// The object's data file, open for writing.
    fn data(&self) -> BorrowedFd<'_>;

    /// Whether the other side has let go of the object.
    fn is_hung_up(&self) -> bool;

    /// Says that the bytes of `range` are written.
    ///
    /// # Errors
    /// [`DeviceError::Closed`] when the other side let go; [`DeviceError::Os`] otherwise.
    async fn present(&self, range: ByteRange) -> Result<(), DeviceError>;

    /// Answers READ `msg_id`.
    ///
    /// # Errors
    /// As [`Lease::present`].
    async fn complete(
        &self,
        msg_id: MessageId,
        answer: Result<(), Errno>,
    ) -> Result<(), DeviceError>;
}

/// A device from which requests come.
#[async_trait]
pub trait Device: std::fmt::Debug + Send + Sync {
    /// Waits for the next delivery. Cancelling the future loses nothing.
    ///
    /// # Errors
    /// [`DeviceError::Closed`] when the engine hung up; [`DeviceError::Malformed`] when it sent something that is not
    /// a message; [`DeviceError::Os`] when the system call failed.
    async fn next(&self) -> Result<Delivery, DeviceError>;

    /// Answers OPEN `msg_id`.
    ///
    /// # Errors
    /// As [`Lease::present`].
    async fn copen(
        &self,
        msg_id: MessageId,
        answer: Result<OpenAnswer, Errno>,
    ) -> Result<(), DeviceError>;

    /// Grants one more request (H15).
    ///
    /// # Errors
    /// As [`Lease::present`].
    async fn credit(&self) -> Result<(), DeviceError>;
}

/// Why a session with a device is over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// The other side hung up.
    #[error("the engine hung up")]
    Closed,
    /// What came is not a message.
    #[error("malformed message: {0}")]
    Malformed(String),
    /// A system call failed.
    #[error("{operation}: {errno}")]
    Os {
        /// What was tried.
        operation: &'static str,
        /// The system's errno.
        errno: rustix::io::Errno,
    },
}
