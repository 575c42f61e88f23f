//! A node: what one number given to the kernel stands for.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use holdfast_fuse::NodeId;
use holdfast_proto::key::{CookieKey, RelativePath};
use holdfast_proto::listing::{Entry, EntryKind, Mtime};

use crate::objects::CachedObject;

/// What may change of a node without its being another node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits (`0o7777`).
    pub mode: u16,
    /// Time of the last change.
    pub mtime: Mtime,
}

/// What a node is. The content of files is versioned: another validator or size is another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeKind {
    /// A directory, known by its path alone.
    Directory,
    /// One version of a file.
    File {
        /// Its exact size.
        size: u64,
        /// The version.
        validator: Box<[u8]>,
    },
    /// A symbolic link.
    Symlink {
        /// Where it points.
        target: Box<[u8]>,
    },
}

/// The count of a node whose lookups were counted by an engine that died.
const UNKNOWN_LOOKUPS: u64 = u64::MAX;

/// One number given to the kernel.
#[derive(Debug)]
pub struct Node {
    /// The number.
    pub id: NodeId,
    /// Path within the source.
    pub path: RelativePath,
    /// What it is.
    pub kind: NodeKind,
    attributes: RwLock<Attributes>,
    lookups: AtomicU64,
    superseded: AtomicBool,
    object: OnceLock<Arc<CachedObject>>,
}

impl Node {
    pub(super) fn new(id: NodeId, path: RelativePath, kind: NodeKind, now: Attributes) -> Self {
        Self {
            id,
            path,
            kind,
            attributes: RwLock::new(now),
            lookups: AtomicU64::new(0),
            superseded: AtomicBool::new(false),
            object: OnceLock::new(),
        }
    }

    /// The attributes that may change.
    pub fn attributes(&self) -> Attributes {
        *self
            .attributes
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_attributes(&self, attributes: Attributes) {
        *self
            .attributes
            .write()
            .unwrap_or_else(PoisonError::into_inner) = attributes;
    }

    /// Inode number shown to programs: a function of the path, so that it is the same after every
    /// remount and for every version, and in directory listings too.
    #[must_use]
    pub fn inode(&self) -> u64 {
        inode_of(self.path.as_bytes())
    }

    /// True once the origin is known to have another version under this name: the next OPEN is
    /// answered ESTALE, whereupon the kernel looks the name up again (H05).
    #[must_use]
    pub fn is_superseded(&self) -> bool {
        self.superseded.load(Ordering::Acquire)
    }

    /// Notes that the origin has another version.
    pub fn supersede(&self) {
        self.superseded.store(true, Ordering::Release);
    }

    /// Notes that the origin has this version, perhaps again: it was set back, or only somebody who
    /// was behind had said otherwise.
    pub fn reinstate(&self) {
        self.superseded.store(false, Ordering::Release);
    }

    /// Counts a reply that gave the number to the kernel.
    pub(super) fn looked_up(&self) {
        self.change_lookups(|lookups| lookups.saturating_add(1));
    }

    /// Takes `count` lookups back; returns what is left.
    pub(super) fn forget(&self, count: u64) -> u64 {
        self.change_lookups(|lookups| match lookups {
            UNKNOWN_LOOKUPS => UNKNOWN_LOOKUPS,
            known => known.saturating_sub(count),
        })
    }

    /// Notes that the kernel may have looked the node up any number of times: it is kept for good.
    pub(super) fn set_lookups_unknown(&self) {
        self.lookups.store(UNKNOWN_LOOKUPS, Ordering::Release);
    }

    /// Returns the new count.
    fn change_lookups(&self, change: impl Fn(u64) -> u64) -> u64 {
        let before = self
            .lookups
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |lookups| {
                Some(change(lookups))
            })
            .unwrap_or_else(|unchanged| unchanged);
        change(before)
    }

    /// The object that holds a file's bytes, made on first use.
    ///
    /// # Errors
    /// What `make` returns.
    pub fn object_or<E>(
        &self,
        make: impl FnOnce() -> Result<Arc<CachedObject>, E>,
    ) -> Result<Arc<CachedObject>, E> {
        if let Some(object) = self.object.get() {
            return Ok(Arc::clone(object));
        }
        let made = make()?;
        Ok(Arc::clone(self.object.get_or_init(|| made)))
    }

    /// The object, if a read has made one.
    #[must_use]
    pub fn object(&self) -> Option<&Arc<CachedObject>> {
        self.object.get()
    }

    /// The cookie key of a file's content; `None` for what is no file.
    #[must_use]
    pub fn data_key(&self) -> Option<CookieKey> {
        match &self.kind {
            NodeKind::File { validator, .. } => Some(CookieKey::Data {
                path: self.path.clone(),
                validator: validator.to_vec(),
            }),
            NodeKind::Directory | NodeKind::Symlink { .. } => None,
        }
    }
}

/// The inode number of a path: never 0, and 1 for the root.
#[must_use]
pub fn inode_of(path: &[u8]) -> u64 {
    if path.is_empty() {
        return 1;
    }
    let mut first = [0_u8; 8];
    first.copy_from_slice(&blake3::hash(path).as_bytes()[..8]);
    u64::from_le_bytes(first) | 2
}

/// What an entry says about a node; `None` while the size of a file is not known (H13).
#[must_use]
pub fn describe(entry: &Entry) -> Option<(NodeKind, Attributes)> {
    let (kind, mode) = match &entry.kind {
        EntryKind::Directory => (NodeKind::Directory, 0o755),
        EntryKind::File => (
            NodeKind::File {
                size: entry.size?,
                validator: entry.validator.clone().into(),
            },
            0o644,
        ),
        EntryKind::Symlink { target } => (
            NodeKind::Symlink {
                target: target.clone().into(),
            },
            0o777,
        ),
    };
    let attributes = Attributes {
        mode: entry.mode.unwrap_or(mode),
        mtime: entry.mtime.unwrap_or(Mtime { s: 0, ns: 0 }),
    };
    Some((kind, attributes))
}
