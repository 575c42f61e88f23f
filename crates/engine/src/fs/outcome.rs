//! How a try of a request went.

use std::sync::Arc;

use holdfast_fuse::{Accepted, ReplyError};
use holdfast_proto::{ByteRange, Errno};

use crate::hub::Need;
use crate::objects::CachedObject;

/// How a try went.
#[derive(Debug)]
pub enum Outcome {
    /// The kernel has its answer, or wants none any more.
    Answered,
    /// The kernel is to get this error.
    Failed(Errno),
    /// It needs this first.
    Wait(Need),
    /// As the first says; besides, these bytes will be wanted soon.
    AndPrefetch(Box<Outcome>, Arc<CachedObject>, ByteRange),
}

impl Outcome {
    /// This outcome, with bytes to fetch for later.
    #[must_use]
    pub fn and_prefetch(self, object: Arc<CachedObject>, range: ByteRange) -> Self {
        Self::AndPrefetch(Box::new(self), object, range)
    }
}

/// The outcome of having sent a reply.
#[must_use]
pub fn answered(sent: Result<Accepted, ReplyError>) -> Outcome {
    match sent {
        Ok(Accepted::Accepted | Accepted::Gone) => Outcome::Answered,
        Err(ReplyError::Buffer(error)) => {
            tracing::error!(%error, "no buffer for a reply");
            Outcome::Failed(Errno::ENOMEM)
        }
        Err(error @ ReplyError::TooLong { .. }) => {
            tracing::error!(%error, "a reply was not sent");
            Outcome::Failed(Errno::EIO)
        }
        Err(ReplyError::Write(errno)) => {
            // The request has been failed by the kernel already.
            tracing::error!(%errno, "the kernel refused a reply");
            Outcome::Answered
        }
    }
}

/// The same number as the FUSE crate has it.
#[must_use]
pub fn to_system(errno: Errno) -> holdfast_fuse::Errno {
    holdfast_fuse::Errno::from_raw_os_error(errno.get())
}
