//! The cache on disk: the bytes of objects, and an explicit, crash-safe account of which of them are present.
//!
//! ```text
//! <dir>/format                                   version of the layout, a line of text
//! <dir>/lock                                     flock'ed for as long as the cache is open
//! <dir>/usage                                    totals, so that opening needs no scan
//! <dir>/objects/<2 hex>/<62 hex>.record          who the object is and which blocks are present
//! <dir>/objects/<2 hex>/<62 hex>.<incarnation>.data   its bytes, sparse
//! ```
//! The 64 hex digits are BLAKE3 of the volume key and the cookie key. An object costs two inodes.
//!
//! Invariants:
//! * A block counts as present only after its record says so, and the record says so only after the bytes were
//!   written; so a process killed at any instruction loses nothing that [`Object::mark_present`] acknowledged.
//! * The record's name is fixed and is made before the data file it names by incarnation, and removed after it: a killed process
//!   leaves a record without data at worst, never a data file that no record names. (A power cut may: see [`Cache::lookup`].)
//! * Presence has two levels: *present this boot*, and *durable*. After a reboot only durable blocks count.
//! * No block is ever punched out of a data file: objects go by unlink, and the next incarnation is a new inode.
//! * Neither file is ever mapped, so a full or failing disk is an error and never a signal.
//! * An object looked up twice is one [`Object`]: presence has one truth in the process, and the lock makes that
//!   one process.
#![forbid(unsafe_code)]

mod boot;
mod cache;
mod decision;
mod error;
mod files;
mod handles;
mod layout;
mod load;
mod object;
mod objects_dir;
mod presence;
mod record;
mod sparse;
mod usage;

pub use boot::BootId;
pub use cache::{Cache, Options};
pub use error::{
    CreateError, DurableError, LookupError, MarkError, OpenError, ReadError, RecordError,
    RemoveError, SetSizeError,
};
pub use object::Object;
pub use record::{KEY_BYTES_MAX, OBJECT_SIZE_MAX_BYTES, VALIDATOR_BYTES_MAX};
pub use sparse::HoleReports;
pub use usage::Usage;
