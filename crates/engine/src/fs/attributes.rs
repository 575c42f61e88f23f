//! What stat(2) and statfs(2) show.

use std::time::Duration;

use holdfast_fuse::{Attributes, EntryReply, FileKind, StatfsReply, Timestamp};
use holdfast_proto::listing::Mtime;

use crate::mount::Mount;
use crate::namespace::node::{Node, NodeKind};

/// Attributes of files and links hold long: another version is another node, and whoever looks the
/// name up again is given the new ones.
const VERSIONED_VALID: Duration = Duration::from_secs(24 * 3600);
const BLOCK_BYTES: u32 = 4096;

/// The attributes of `node`.
#[must_use]
pub fn of(mount: &Mount, node: &Node) -> Attributes {
    let changing = node.attributes();
    let mtime = timestamp(changing.mtime);
    let (kind, size_bytes) = match &node.kind {
        NodeKind::Directory => (FileKind::Directory, 0),
        NodeKind::File { size, .. } => (FileKind::File, *size),
        NodeKind::Symlink { target } => (FileKind::Symlink, target.len() as u64),
    };
    Attributes {
        ino: node.inode(),
        size_bytes,
        blocks: size_bytes.div_ceil(512),
        atime: mtime,
        mtime,
        ctime: mtime,
        kind,
        permissions: changing.mode,
        // Of a directory 1 says "not counted"; 2 would say that it has no subdirectories, and programs
        // that believe it do not look for any.
        nlink: 1,
        uid: mount.request.uid,
        gid: mount.request.gid,
        block_size_bytes: BLOCK_BYTES,
    }
}

/// The reply that gives `node` to the kernel under a name that may be believed for `valid`.
#[must_use]
pub fn entry(mount: &Mount, node: &Node, valid: Duration) -> EntryReply {
    EntryReply {
        nodeid: node.id,
        // Numbers are never given twice, so there is only one generation.
        generation: 0,
        entry_valid: valid,
        attr_valid: valid_for(mount, node).min(valid.max(Duration::from_secs(1))),
        attr: of(mount, node),
    }
}

/// How long the attributes of `node` may be believed.
#[must_use]
pub fn valid_for(mount: &Mount, node: &Node) -> Duration {
    match &node.kind {
        NodeKind::Directory => mount.request.metadata_ttl(),
        NodeKind::File { .. } | NodeKind::Symlink { .. } => VERSIONED_VALID,
    }
}

/// The figures of a mount: nothing is free, since nothing can be written. Answered without asking
/// anybody (H20).
#[must_use]
pub fn statfs(mount: &Mount) -> StatfsReply {
    StatfsReply {
        blocks: 0,
        blocks_free: 0,
        blocks_available: 0,
        files: mount.nodes.len() as u64,
        files_free: 0,
        block_size_bytes: BLOCK_BYTES,
        name_max_bytes: 255,
        fragment_size_bytes: BLOCK_BYTES,
    }
}

fn timestamp(mtime: Mtime) -> Timestamp {
    Timestamp {
        s: mtime.s,
        ns: mtime.ns,
    }
}
