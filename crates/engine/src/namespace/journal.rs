//! What every number given to the kernel stands for, on disk before the number is given (H21).
//!
//! One append-only file per mount in the run directory (a mount does not outlive the boot either).
//! A record is written by one write(2) before the reply that carries its number; a record cut
//! short by a death was therefore never spoken of, and is dropped when the file is read again.
//!
//! Record: `u32` bytes that follow, `u64` nodeid, `u32` bytes of path, path, then a listing
//! document of one record (see the protocol's listing format) that describes the node.
//! Little endian. About 150 bytes and the path per node.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use holdfast_fuse::NodeId;
use holdfast_proto::key::RelativePath;
use holdfast_proto::listing::{Entry, Listing, ListingBuilder};

/// No record is longer: a path and an entry of 8 KiB each, and a margin.
const RECORD_MAX_BYTES: usize = 32 * 1024;

/// One node as the journal holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalRecord {
    /// The number given to the kernel.
    pub id: NodeId,
    /// Path within the source.
    pub path: RelativePath,
    /// What is there.
    pub entry: Entry,
}

impl JournalRecord {
    fn encode(&self, out: &mut Vec<u8>) -> io::Result<()> {
        let mut builder = ListingBuilder::new();
        builder.push(&self.entry).map_err(io::Error::other)?;
        let document = builder.finish();
        let path = self.path.as_bytes();
        let too_long = |_| io::Error::other("a path of over 4 GiB");
        let body_bytes = u32::try_from(8 + 4 + path.len() + document.len()).map_err(too_long)?;
        let path_bytes = u32::try_from(path.len()).map_err(too_long)?;
        out.extend_from_slice(&body_bytes.to_le_bytes());
        out.extend_from_slice(&self.id.0.to_le_bytes());
        out.extend_from_slice(&path_bytes.to_le_bytes());
        out.extend_from_slice(path);
        out.extend_from_slice(&document);
        Ok(())
    }

    fn decode(body: &[u8]) -> Option<Self> {
        let (id, rest) = body.split_first_chunk::<8>()?;
        let (path_bytes, rest) = rest.split_first_chunk::<4>()?;
        let path_bytes = usize::try_from(u32::from_le_bytes(*path_bytes)).ok()?;
        let (path, document) = rest.split_at_checked(path_bytes)?;
        let listing = Listing::parse(document).ok()?;
        Some(Self {
            id: NodeId(u64::from_le_bytes(*id)),
            path: RelativePath::new(path).ok()?,
            entry: listing.iter().next()?.to_entry(),
        })
    }
}

/// The journal of one mount.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    /// Records in the file, live or not.
    records: u64,
}

impl Journal {
    /// Opens the journal at `path`, made if absent; returns it with the records it holds.
    ///
    /// # Errors
    /// The system's, from opening or reading the file.
    pub fn open(path: &Path) -> io::Result<(Self, Vec<JournalRecord>)> {
        let mut file = open_private(path)?;
        let mut content = Vec::new();
        file.read_to_end(&mut content)?;
        let (records, whole_bytes) = decode_all(&content);
        if whole_bytes < content.len() {
            tracing::info!(path = %path.display(), "a journal record was cut short by a death and is dropped");
            file.set_len(whole_bytes as u64)?;
        }
        let journal = Self {
            path: path.to_owned(),
            file,
            records: records.len() as u64,
        };
        Ok((journal, records))
    }

    /// Appends `records` by one write.
    ///
    /// # Errors
    /// The system's (ENOSPC for instance); the numbers must then not be given to the kernel.
    pub fn append(&mut self, records: &[JournalRecord]) -> io::Result<()> {
        let mut bytes = Vec::new();
        for record in records {
            record.encode(&mut bytes)?;
        }
        let before = self.file.metadata()?.len();
        if let Err(error) = self.file.write_all(&bytes) {
            // Half a record in the middle would hide all that follows.
            self.file.set_len(before)?;
            return Err(error);
        }
        self.records += records.len() as u64;
        Ok(())
    }

    /// How many records the file holds, live or not.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Replaces the content by `live`, atomically.
    ///
    /// # Errors
    /// The system's; the old journal then stays in force.
    pub fn rewrite(&mut self, live: &[JournalRecord]) -> io::Result<()> {
        let temporary = self.path.with_extension("new");
        let _ = std::fs::remove_file(&temporary);
        let (mut fresh, _) = Self::open(&temporary)?;
        fresh.append(live)?;
        std::fs::rename(&temporary, &self.path)?;
        self.file = fresh.file;
        self.records = fresh.records;
        Ok(())
    }
}

fn open_private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
}

/// The whole records at the start of `content`, and how many bytes they take.
fn decode_all(content: &[u8]) -> (Vec<JournalRecord>, usize) {
    let mut records = Vec::new();
    let mut at = 0;
    while let Some((length, rest)) = content[at..].split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        if length > RECORD_MAX_BYTES {
            break;
        }
        let Some(record) = rest.get(..length).and_then(JournalRecord::decode) else {
            break;
        };
        records.push(record);
        at += 4 + length;
    }
    (records, at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_proto::listing::EntryKind;

    fn record(id: u64, path: &[u8]) -> JournalRecord {
        let path = RelativePath::new(path).expect("a good path");
        JournalRecord {
            id: NodeId(id),
            entry: Entry {
                name: path.file_name().map(<[u8]>::to_vec).expect("not the root"),
                kind: EntryKind::File,
                size: Some(id * 3),
                mode: Some(0o640),
                mtime: None,
                validator: b"v1".to_vec(),
            },
            path,
        }
    }

    #[test]
    fn h21_what_was_given_is_known_after_a_death() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("nodes");
        let written = [record(2, b"a/b"), record(3, b"\xff\n x")];
        let (mut journal, found) = Journal::open(&path).expect("opens");
        assert!(found.is_empty());
        journal.append(&written).expect("appends");
        let (_, found) = Journal::open(&path).expect("opens again");
        assert_eq!(found, written);
    }

    #[test]
    fn h21_a_record_cut_at_any_byte_is_dropped_and_the_rest_kept() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("nodes");
        let (mut journal, _) = Journal::open(&path).expect("opens");
        journal.append(&[record(2, b"first")]).expect("appends");
        let first_bytes = std::fs::metadata(&path).expect("is there").len();
        journal.append(&[record(3, b"second")]).expect("appends");
        let whole = std::fs::read(&path).expect("reads");
        for cut in first_bytes as usize..whole.len() {
            std::fs::write(&path, &whole[..cut]).expect("writes");
            let (mut journal, found) = Journal::open(&path).expect("opens");
            assert_eq!(found, [record(2, b"first")], "cut at {cut}");
            journal.append(&[record(4, b"third")]).expect("appends");
            let (_, found) = Journal::open(&path).expect("opens");
            assert_eq!(found, [record(2, b"first"), record(4, b"third")]);
        }
    }

    #[test]
    fn a_rewrite_keeps_what_lives() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("nodes");
        let (mut journal, _) = Journal::open(&path).expect("opens");
        journal
            .append(&[record(2, b"a"), record(3, b"b")])
            .expect("appends");
        journal.rewrite(&[record(3, b"b")]).expect("rewrites");
        journal.append(&[record(5, b"c")]).expect("appends");
        let (_, found) = Journal::open(&path).expect("opens");
        assert_eq!(found, [record(3, b"b"), record(5, b"c")]);
    }
}
