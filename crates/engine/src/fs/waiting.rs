//! A FUSE request that cannot be answered yet: a small record, not a thread.

use std::sync::Arc;

use holdfast_fuse::{NodeId, Unique};

use crate::hub::Need;
use crate::mount::Mount;

/// A request owned by us, so that it can be tried again later.
#[derive(Debug, Clone)]
pub enum Job {
    /// LOOKUP of a name.
    Lookup {
        /// The directory.
        parent: NodeId,
        /// The name.
        name: Vec<u8>,
    },
    /// READ of a file.
    Read {
        /// The file.
        node: NodeId,
        /// First byte.
        offset: u64,
        /// Number of bytes.
        size: u32,
    },
    /// READDIR or READDIRPLUS.
    ReadDirectory {
        /// The directory.
        node: NodeId,
        /// 0, or the offset of the last entry given.
        offset: u64,
        /// Room in bytes.
        size: u32,
        /// What the kernel wants of each entry.
        style: EntryStyle,
    },
}

/// What READDIR gives of each entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryStyle {
    /// Name, inode number and kind.
    Plain,
    /// A lookup besides.
    Plus,
}

/// A request that waits, or is about to be tried (again).
#[derive(Debug)]
pub struct Waiting {
    /// Where it came from.
    pub mount: Arc<Mount>,
    /// By which number it is answered.
    pub unique: Unique,
    /// The thread that waits for the answer; 0 when the kernel asks for itself.
    pub tid: u32,
    /// What is asked.
    pub job: Job,
    /// What it waited for last.
    pub need: Option<Need>,
    /// How often it was tried.
    pub attempts: u32,
}
