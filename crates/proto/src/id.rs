//! The two numbers in the header of every message.

use core::fmt;

/// Number of a request, chosen by the engine (`msg_id` of `struct cachefiles_msg`).
///
/// Given out cyclically over the whole of `u32`, so that a late answer does not meet a younger
/// request of the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub u32);

/// Number of the handle that an OPEN gave to the daemon (`object_id` of `struct cachefiles_msg`).
///
/// Fresh at every delivery of an OPEN. 1 to 2³¹−1 while the handle lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WireObjectId(pub u32);

impl WireObjectId {
    /// The kernel's number for "this object has no handle any more" (−1), seen on a late CLOSE.
    pub const CLOSED: Self = Self(u32::MAX);
    /// The number in messages that are not about an object (REJECTED).
    pub const NO_OBJECT: Self = Self(0);
}

impl fmt::Display for MessageId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl fmt::Display for WireObjectId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}
