//! The nodes of one mount: numbers given to the kernel and what they stand for.
//!
//! Numbers only grow and are never given twice; what a number stands for is in the journal before
//! the kernel hears of it (H21). Lookup counts are kept in memory only: after a take-over they are
//! taken to be as large as can be, so that nothing the kernel still knows is ever dropped.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use holdfast_fuse::NodeId;
use holdfast_proto::key::RelativePath;
use holdfast_proto::listing::{Entry, EntryKind};

use super::journal::{Journal, JournalRecord};
use super::node::{Attributes, Node, NodeKind, describe};

/// The number of a mount's root, by the FUSE protocol.
pub const ROOT: NodeId = NodeId(1);
/// The journal is rewritten when it holds this many records for each live one…
const REWRITE_FACTOR: u64 = 4;
/// …but never below this many.
const REWRITE_RECORDS_MIN: u64 = 10_000;

/// What identifies a node: path, kind and version, hashed.
type NodeKey = [u8; 16];

#[derive(Debug)]
struct Tables {
    by_id: HashMap<NodeId, Arc<Node>>,
    by_key: HashMap<NodeKey, NodeId>,
    next: u64,
}

/// The nodes of one mount.
#[derive(Debug)]
pub struct NodeTable {
    tables: RwLock<Tables>,
    /// Taken before `tables` by everything that gives numbers.
    journal: Mutex<Journal>,
}

impl NodeTable {
    /// Opens the table whose journal is at `path`; what an engine before this one gave to the
    /// kernel is known again.
    ///
    /// # Errors
    /// The system's, from the journal.
    pub fn open(path: &Path, root: Attributes) -> io::Result<Self> {
        let (journal, records) = Journal::open(path)?;
        let mut tables = Tables {
            by_id: HashMap::new(),
            by_key: HashMap::new(),
            next: ROOT.0 + 1,
        };
        let root = Node::new(ROOT, RelativePath::root(), NodeKind::Directory, root);
        root.set_lookups_unknown();
        tables.insert(Arc::new(root));
        for record in records {
            tables.next = tables.next.max(record.id.0 + 1);
            if let Some((kind, attributes)) = describe(&record.entry) {
                let node = Node::new(record.id, record.path, kind, attributes);
                node.set_lookups_unknown();
                tables.insert(Arc::new(node));
            }
        }
        Ok(Self {
            tables: RwLock::new(tables),
            journal: Mutex::new(journal),
        })
    }

    /// The node with this number.
    #[must_use]
    pub fn get(&self, id: NodeId) -> Option<Arc<Node>> {
        self.read().by_id.get(&id).cloned()
    }

    /// How many nodes the kernel may know.
    #[must_use]
    pub fn len(&self) -> usize {
        self.read().by_id.len()
    }

    /// The nodes for `entries` (path and description each), counted as looked up once each: the
    /// caller is about to reply with them, and calls [`NodeTable::forget`] if the reply is not
    /// accepted. `None` for an entry whose size is not known.
    ///
    /// # Errors
    /// The system's, when the journal cannot be written; no number is given then.
    pub fn look_up(&self, entries: &[(RelativePath, Entry)]) -> io::Result<Vec<Option<Arc<Node>>>> {
        let mut journal = self.lock_journal();
        let mut nodes = Vec::with_capacity(entries.len());
        let mut fresh = Vec::new();
        let mut next = self.read().next;
        for (path, entry) in entries {
            let Some((kind, attributes)) = describe(entry) else {
                nodes.push(None);
                continue;
            };
            let known = self.read().find(path, &kind);
            let node = known.unwrap_or_else(|| {
                fresh.push(JournalRecord {
                    id: NodeId(next),
                    path: path.clone(),
                    entry: entry.clone(),
                });
                next += 1;
                Arc::new(Node::new(NodeId(next - 1), path.clone(), kind, attributes))
            });
            if node.attributes() != attributes {
                node.set_attributes(attributes);
            }
            nodes.push(Some(node));
        }
        if !fresh.is_empty() {
            journal.append(&fresh)?;
        }
        self.publish(&nodes, next);
        self.rewrite_when_worth_it(&mut journal);
        Ok(nodes)
    }

    fn publish(&self, nodes: &[Option<Arc<Node>>], next: u64) {
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        tables.next = next;
        for node in nodes.iter().flatten() {
            node.looked_up();
            tables.insert(Arc::clone(node));
        }
    }

    /// Takes `count` lookups of `id` back; returns the node when the kernel knows it no more.
    pub fn forget(&self, id: NodeId, count: u64) -> Option<Arc<Node>> {
        if id == ROOT {
            return None;
        }
        // Under the write lock, so that no look_up finds the node between the two steps.
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        let node = Arc::clone(tables.by_id.get(&id)?);
        if node.forget(count) > 0 {
            return None;
        }
        tables.by_id.remove(&id);
        let key = key_of(&node.path, &node.kind);
        if tables.by_key.get(&key) == Some(&id) {
            tables.by_key.remove(&key);
        }
        Some(node)
    }

    fn rewrite_when_worth_it(&self, journal: &mut Journal) {
        let live = self.len() as u64;
        if journal.records() < REWRITE_RECORDS_MIN || journal.records() < REWRITE_FACTOR * live {
            return;
        }
        let records: Vec<JournalRecord> = self
            .read()
            .by_id
            .values()
            .filter(|node| node.id != ROOT)
            .map(|node| record_of(node))
            .collect();
        if let Err(error) = journal.rewrite(&records) {
            tracing::warn!(%error, "the journal of nodes could not be rewritten and goes on growing");
        }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Tables> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tables {
    fn insert(&mut self, node: Arc<Node>) {
        self.by_key.insert(key_of(&node.path, &node.kind), node.id);
        self.by_id.insert(node.id, node);
    }

    fn find(&self, path: &RelativePath, kind: &NodeKind) -> Option<Arc<Node>> {
        let id = self.by_key.get(&key_of(path, kind))?;
        self.by_id.get(id).cloned()
    }
}

fn key_of(path: &RelativePath, kind: &NodeKind) -> NodeKey {
    let mut hasher = blake3::Hasher::new();
    hasher.update(path.as_bytes());
    match kind {
        NodeKind::Directory => hasher.update(b"\0d"),
        NodeKind::File { size, validator } => hasher
            .update(b"\0f")
            .update(&size.to_le_bytes())
            .update(validator),
        NodeKind::Symlink { target } => hasher.update(b"\0l").update(target),
    };
    let mut key = NodeKey::default();
    key.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    key
}

fn record_of(node: &Node) -> JournalRecord {
    let attributes = node.attributes();
    let (kind, size, validator) = match &node.kind {
        NodeKind::Directory => (EntryKind::Directory, None, Vec::new()),
        NodeKind::File { size, validator } => (EntryKind::File, Some(*size), validator.to_vec()),
        NodeKind::Symlink { target } => {
            let target = target.to_vec();
            (EntryKind::Symlink { target }, None, Vec::new())
        }
    };
    JournalRecord {
        id: node.id,
        path: node.path.clone(),
        entry: Entry {
            name: node.path.file_name().unwrap_or_default().to_vec(),
            kind,
            size,
            mode: Some(attributes.mode),
            mtime: Some(attributes.mtime),
            validator,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_proto::listing::Mtime;

    const ROOT_ATTRIBUTES: Attributes = Attributes {
        mode: 0o755,
        mtime: Mtime { s: 0, ns: 0 },
    };

    fn file(name: &[u8], validator: &[u8], size: Option<u64>) -> (RelativePath, Entry) {
        let entry = Entry {
            name: name.to_vec(),
            kind: EntryKind::File,
            size,
            mode: Some(0o644),
            mtime: None,
            validator: validator.to_vec(),
        };
        (RelativePath::new(name).expect("a good path"), entry)
    }

    fn id(table: &NodeTable, entry: (RelativePath, Entry)) -> NodeId {
        let nodes = table.look_up(&[entry]).expect("the journal takes it");
        nodes[0].as_ref().expect("its size is known").id
    }

    #[test]
    fn h21_numbers_mean_the_same_after_a_death_and_are_never_given_twice() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("nodes");
        let table = NodeTable::open(&path, ROOT_ATTRIBUTES).expect("opens");
        let (a, b) = (
            id(&table, file(b"a", b"1", Some(3))),
            id(&table, file(b"b", b"1", Some(3))),
        );
        // `b` is forgotten; its number is not to be seen again, not even by the next engine.
        assert!(table.forget(b, 1).is_some());
        drop(table);
        let table = NodeTable::open(&path, ROOT_ATTRIBUTES).expect("opens again");
        assert_eq!(table.get(a).expect("is known").path.as_bytes(), b"a");
        assert_eq!(id(&table, file(b"a", b"1", Some(3))), a);
        let c = id(&table, file(b"c", b"1", Some(3)));
        assert!(c > a && c > b, "{c:?} after {a:?} and {b:?}");
        // What the kernel may know is kept, however often it forgets: the counts died too.
        assert!(table.forget(a, 1_000_000).is_none());
    }

    #[test]
    fn h05_another_version_is_another_node_and_the_old_one_stays() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let table = NodeTable::open(&dir.path().join("nodes"), ROOT_ATTRIBUTES).expect("opens");
        let old = id(&table, file(b"f", b"1", Some(3)));
        let new = id(&table, file(b"f", b"2", Some(3)));
        assert_ne!(old, new);
        let (old, new) = (table.get(old).expect("kept"), table.get(new).expect("made"));
        assert_eq!(old.inode(), new.inode(), "programs see one file");
    }

    #[test]
    fn h13_a_file_of_unknown_size_gets_no_node() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let table = NodeTable::open(&dir.path().join("nodes"), ROOT_ATTRIBUTES).expect("opens");
        let nodes = table
            .look_up(&[file(b"f", b"", None)])
            .expect("nothing to write");
        assert!(nodes[0].is_none());
        assert_eq!(table.len(), 1, "the root alone");
    }

    #[test]
    fn a_node_lives_until_its_last_lookup_is_forgotten() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let table = NodeTable::open(&dir.path().join("nodes"), ROOT_ATTRIBUTES).expect("opens");
        let first = id(&table, file(b"f", b"1", Some(3)));
        assert_eq!(id(&table, file(b"f", b"1", Some(3))), first);
        assert!(table.forget(first, 1).is_none());
        assert!(table.forget(first, 1).is_some());
        assert!(table.get(first).is_none());
        assert!(id(&table, file(b"f", b"1", Some(3))) > first);
    }
}
