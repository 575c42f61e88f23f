//! READDIR and READDIRPLUS.
//!
//! Nothing is kept per open directory: the offset of an entry is a function of its name (see
//! [`crate::listing_index`]), so a listing can be continued by another engine or another version.

use std::sync::Arc;
use std::time::Duration;

use holdfast_fuse::{Accepted, Dirent, DirentWriter, FileKind, NodeId, Pushed, ReplyBuffer};
use holdfast_proto::Errno;
use holdfast_proto::key::{CookieKey, RelativePath};
use holdfast_proto::listing::{Entry, EntryKind};

use crate::engine::Engine;
use crate::listing_index::IndexedListing;
use crate::mount::Mount;
use crate::namespace::metadata::{Failure, Look};
use crate::namespace::node::{Node, inode_of};

use super::attributes;
use super::outcome::{Outcome, answered};
use super::waiting::{EntryStyle, Waiting};

/// Offset behind `.`.
const BEHIND_SELF: u64 = 1;
/// Offset behind `..`; names have greater ones.
const BEHIND_PARENT: u64 = 2;
/// Size of `struct fuse_direntplus` without the name; an entry takes at least this.
const ENTRY_PLUS_BYTES: usize = 152;

/// Where in which directory to go on, and how.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// The directory.
    pub node: NodeId,
    /// 0, or the offset of the last entry given.
    pub offset: u64,
    /// Room in bytes.
    pub size: u32,
    /// What the kernel wants of each entry.
    pub style: EntryStyle,
}

/// Answers a READDIR(PLUS), or says what it needs.
pub fn read_directory(
    engine: &Engine,
    waiting: &Waiting,
    place: Place,
    failure: Option<&Failure>,
    buffer: &mut ReplyBuffer,
) -> Outcome {
    let mount = &*waiting.mount;
    let Some(node) = mount.nodes.get(place.node) else {
        return Outcome::Failed(Errno::ESTALE);
    };
    let listing = CookieKey::Listing {
        path: node.path.clone(),
    };
    match engine.metadata.look(engine, mount, &listing, failure) {
        Look::Wait(need) => Outcome::Wait(need),
        // readdir(3) takes ENOENT for the end of the directory: a source that has lost it, or never had it, would look like
        // an empty one.
        Look::Refused(Errno::ENOENT) => Outcome::Failed(Errno::ESTALE),
        Look::Refused(errno) => Outcome::Failed(errno),
        Look::Ready(document, valid) => {
            let mut page = Page {
                mount,
                directory: &node,
                valid,
                writer: DirentWriter::new(buffer, place.size),
                given: Vec::new(),
            };
            match page.fill(&document.listing, place) {
                Ok(()) => page.send(waiting),
                Err(errno) => {
                    page.take_back();
                    Outcome::Failed(errno)
                }
            }
        }
    }
}

/// One reply's worth of entries.
struct Page<'a> {
    mount: &'a Mount,
    directory: &'a Node,
    valid: Duration,
    writer: DirentWriter<'a>,
    /// Nodes counted as looked up for this reply.
    given: Vec<Arc<Node>>,
}

impl Page<'_> {
    fn fill(&mut self, listing: &IndexedListing, place: Place) -> Result<(), Errno> {
        if place.offset < BEHIND_SELF && self.dot(b".", BEHIND_SELF, place.style) == Pushed::Full {
            return Ok(());
        }
        if place.offset < BEHIND_PARENT
            && self.dot(b"..", BEHIND_PARENT, place.style) == Pushed::Full
        {
            return Ok(());
        }
        let after = place.offset.max(BEHIND_PARENT);
        match place.style {
            EntryStyle::Plain => {
                for (offset, entry) in listing.entries_after(after) {
                    let entry = entry.to_entry();
                    let ino = self.child_inode(&entry);
                    let dirent = dirent(&entry, ino, offset.get());
                    if self.writer.push(&dirent) == Pushed::Full {
                        break;
                    }
                }
                Ok(())
            }
            EntryStyle::Plus => self.fill_plus(listing, after, place.size),
        }
    }

    fn fill_plus(&mut self, listing: &IndexedListing, after: u64, size: u32) -> Result<(), Errno> {
        // No more than fit for certain are looked up: each one is written to the journal.
        let mut room = size as usize;
        let mut offsets = Vec::new();
        let mut entries: Vec<(RelativePath, Entry)> = Vec::new();
        for (offset, entry) in listing.entries_after(after) {
            let bytes = (ENTRY_PLUS_BYTES + entry.name().len()).next_multiple_of(8);
            if bytes > room {
                break;
            }
            room -= bytes;
            // A name whose path is too long cannot be opened; it is listed by `Plain` only.
            if let Ok(path) = self.directory.path.join(entry.name()) {
                offsets.push(offset);
                entries.push((path, entry.to_entry()));
            }
        }
        let nodes = self.mount.nodes.look_up(&entries).map_err(|error| {
            tracing::error!(%error, "the journal of nodes cannot be written");
            Errno::EIO
        })?;
        self.given.extend(nodes.iter().flatten().cloned());
        let mut written = 0;
        for ((node, (path, entry)), offset) in nodes.iter().zip(&entries).zip(offsets) {
            let reply = node
                .as_ref()
                .map(|node| attributes::entry(self.mount, node, self.valid));
            let dirent = dirent(entry, inode_of(path.as_bytes()), offset.get());
            if self.writer.push_plus(reply.as_ref(), &dirent) == Pushed::Full {
                break;
            }
            written += usize::from(node.is_some());
        }
        for node in self.given.drain(written..) {
            self.mount.nodes.forget(node.id, 1);
        }
        Ok(())
    }

    fn dot(&mut self, name: &[u8], next_offset: u64, style: EntryStyle) -> Pushed {
        let parent = self.directory.path.parent();
        let ino = match (name, parent) {
            (b"..", Some(parent)) => inode_of(parent.as_bytes()),
            (_, _) => self.directory.inode(),
        };
        let dirent = Dirent {
            ino,
            next_offset,
            kind: FileKind::Directory,
            name,
        };
        match style {
            EntryStyle::Plain => self.writer.push(&dirent),
            EntryStyle::Plus => self.writer.push_plus(None, &dirent),
        }
    }

    fn child_inode(&self, entry: &Entry) -> u64 {
        self.directory
            .path
            .join(&entry.name)
            .map_or(u64::MAX, |path| inode_of(path.as_bytes()))
    }

    fn send(self, waiting: &Waiting) -> Outcome {
        let Self {
            mount,
            writer,
            given,
            ..
        } = self;
        let sent = mount.connection.reply_data(waiting.unique, writer.finish());
        if sent != Ok(Accepted::Accepted) {
            for node in given {
                mount.nodes.forget(node.id, 1);
            }
        }
        answered(sent)
    }

    fn take_back(self) {
        for node in self.given {
            self.mount.nodes.forget(node.id, 1);
        }
    }
}

fn dirent(entry: &Entry, ino: u64, next_offset: u64) -> Dirent<'_> {
    Dirent {
        ino,
        next_offset,
        kind: match entry.kind {
            EntryKind::File => FileKind::File,
            EntryKind::Directory => FileKind::Directory,
            EntryKind::Symlink { .. } => FileKind::Symlink,
        },
        name: &entry.name,
    }
}
