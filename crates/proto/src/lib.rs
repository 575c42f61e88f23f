//! The wire format of Holdfast's device: what an engine and a daemon say to each other.
//!
//! It is the format of Linux's *cachefiles on-demand read mode* (`include/uapi/linux/cachefiles.h` and
//! `fs/cachefiles/{daemon,ondemand}.c`, Linux 6.12) with additive extensions; `docs/protocol.md` of
//! this project describes all of it for an implementation in another language.
//!
//! * [`message`]: what the engine sends (OPEN, CLOSE, READ, REJECTED);
//! * [`command`]: what a daemon writes, on the device and on the lease of an object;
//! * [`key`]: how a volume and an object of it are named;
//! * [`listing`]: the content of directory and entry objects;
//! * the small shared types [`Errno`], [`MessageId`], [`WireObjectId`] and [`ByteRange`].
//!
//! Invariants: nothing here does I/O, keeps state, or panics on any input; what was parsed once needs
//! no second look, because the types hold only what is valid; what was parsed encodes to an
//! equivalent text or packet again.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod errno;
mod id;
mod range;

pub mod command;
pub mod key;
pub mod listing;
pub mod message;

pub use errno::Errno;
pub use id::{MessageId, WireObjectId};
pub use range::{BLOCK_BYTES, ByteRange};
