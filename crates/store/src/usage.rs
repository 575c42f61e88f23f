//! Totals of the cache, kept so that opening needs no scan.
//!
//! Invariant: the totals are exact while one process runs; a killed one may lose the last changes (fewer than
//! [`PERSIST_EVERY`]); they inform, nothing is decided by them.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Mutex;

use crate::handles::lock;

/// How much is in the cache.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Usage {
    /// Objects, complete or not.
    pub objects: u64,
    /// Bytes that are present.
    pub present_bytes: u64,
    /// Bytes of disk they take: present blocks and records, in whole blocks of 4096 bytes. What a daemon wrote and did not
    /// announce is not in it; [`Object::allocated_bytes`](crate::Object::allocated_bytes) asks the file system.
    pub allocated_bytes: u64,
}

/// A change of the totals.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Change {
    pub(crate) objects: i64,
    pub(crate) present_bytes: i64,
    pub(crate) allocated_bytes: i64,
}

/// Changes between two writes of the file.
const PERSIST_EVERY: u32 = 32;

/// The totals and their file.
#[derive(Debug)]
pub(crate) struct UsageFile {
    file: File,
    totals: Mutex<Totals>,
}

#[derive(Debug)]
struct Totals {
    usage: Usage,
    unwritten: u32,
}

impl UsageFile {
    /// Reads the totals; a missing or torn file counts as zero.
    pub(crate) fn new(file: File) -> Self {
        let usage = read(&file).unwrap_or_default();
        Self {
            file,
            totals: Mutex::new(Totals {
                usage,
                unwritten: 0,
            }),
        }
    }

    pub(crate) fn get(&self) -> Usage {
        lock(&self.totals).usage
    }

    pub(crate) fn add(&self, change: Change) {
        let mut totals = lock(&self.totals);
        let usage = &mut totals.usage;
        usage.objects = usage.objects.saturating_add_signed(change.objects);
        usage.present_bytes = usage
            .present_bytes
            .saturating_add_signed(change.present_bytes);
        usage.allocated_bytes = usage
            .allocated_bytes
            .saturating_add_signed(change.allocated_bytes);
        totals.unwritten += 1;
        if totals.unwritten >= PERSIST_EVERY {
            self.persist(&mut totals);
        }
    }

    /// A full disk costs the totals, nothing else: the next write may succeed.
    fn persist(&self, totals: &mut Totals) {
        if self.file.write_all_at(&encode(totals.usage), 0).is_ok() {
            totals.unwritten = 0;
        }
    }
}

impl Drop for UsageFile {
    fn drop(&mut self) {
        let mut totals = lock(&self.totals);
        self.persist(&mut totals);
    }
}

/// Three numbers and their checksum, little endian.
fn encode(usage: Usage) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (field, number) in [usage.objects, usage.present_bytes, usage.allocated_bytes]
        .into_iter()
        .enumerate()
    {
        bytes[field * 8..][..8].copy_from_slice(&number.to_le_bytes());
    }
    let checksum = blake3::hash(&bytes[..24]);
    bytes[24..].copy_from_slice(&checksum.as_bytes()[..8]);
    bytes
}

fn read(file: &File) -> io::Result<Usage> {
    let mut bytes = [0; 32];
    file.read_exact_at(&mut bytes, 0)?;
    let numbers = bytes.as_chunks::<8>().0;
    let usage = Usage {
        objects: u64::from_le_bytes(numbers[0]),
        present_bytes: u64::from_le_bytes(numbers[1]),
        allocated_bytes: u64::from_le_bytes(numbers[2]),
    };
    if encode(usage) != bytes {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(usage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_survive_a_close_and_a_torn_file_is_zero() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("usage");
        let open = || {
            File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)
                .unwrap()
        };
        let usage = UsageFile::new(open());
        usage.add(Change {
            objects: 2,
            present_bytes: 5000,
            allocated_bytes: 8192,
        });
        usage.add(Change {
            objects: -1,
            present_bytes: -9000,
            allocated_bytes: 0,
        });
        let expected = Usage {
            objects: 1,
            present_bytes: 0,
            allocated_bytes: 8192,
        };
        assert_eq!(usage.get(), expected);
        drop(usage);
        assert_eq!(UsageFile::new(open()).get(), expected);
        open().write_all_at(b"x", 3).unwrap();
        assert_eq!(UsageFile::new(open()).get(), Usage::default());
    }
}
