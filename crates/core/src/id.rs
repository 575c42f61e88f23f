//! The numbers by which the shell and the core name things.
//!
//! Invariant: numbers of objects, sessions and leases are never used again during the life of a [`crate::Core`].

use core::fmt;

use holdfast_proto::WireObjectId;

/// An object: one backing file (one fscache cookie).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId(pub(crate) u64);

/// A session: one daemon's connection to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub(crate) u64);

/// A handle of an object in the hands of a daemon: what the kernel's anonymous descriptor is.
///
/// A fresh one is made at each delivery of an OPEN, so an answer through an older one is always recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub(crate) u64);

/// A waiting reader. Chosen by the shell; unique among those that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReaderId(pub u64);

impl LeaseId {
    /// How many different numbers a lease can have on the wire: 1 to 2³¹−1, the kernel's own range.
    const WIRE_NUMBERS: u64 = (1 << 31) - 1;

    /// The number that stands for this lease in messages, 1 to 2³¹−1.
    ///
    /// No two leases that live at the same time have the same one.
    #[must_use]
    pub fn wire(self) -> WireObjectId {
        let number = self.0 % Self::WIRE_NUMBERS + 1;
        WireObjectId(u32::try_from(number).expect("a remainder below 2^31 fits into 32 bits"))
    }
}

macro_rules! show_number {
    ($($id:ident)*) => {
        $(impl fmt::Display for $id {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(formatter)
            }
        })*
    };
}

show_number!(ObjectId SessionId LeaseId ReaderId);
