//! A listing that can be asked for one name, and continued from any directory offset.
//!
//! The offset of an entry is a function of its name alone (63 bits of a hash, so that it fits the
//! kernel's `loff_t`), and entries are kept in that order. An offset therefore means the same
//! after a crash of the engine and after the listing was fetched anew: `readdir` never repeats or
//! loses a name that was there all the time (H21). Nothing about open directories is kept.

use holdfast_proto::listing::{EntryRef, Listing, ListingError};

/// Offsets 1 and 2 are `.` and `..`; names start above.
const FIRST_NAME_OFFSET: u64 = 3;

/// A directory offset: "after this entry".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirectoryOffset(u64);

impl DirectoryOffset {
    /// The offset an entry of this name has, in any listing without a colliding name.
    fn of(name: &[u8]) -> Self {
        let hash = blake3::hash(name);
        let mut first = [0_u8; 8];
        first.copy_from_slice(&hash.as_bytes()[..8]);
        // 62 bits and a margin below and above: probing for collisions can never reach the ends.
        Self(FIRST_NAME_OFFSET + (u64::from_le_bytes(first) >> 2))
    }

    /// The number the kernel keeps.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }
}

/// Why a document was not accepted as a listing.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The document breaks the format.
    #[error(transparent)]
    Format(#[from] ListingError),
    /// A name occurs twice.
    #[error("the listing names {:?} twice", String::from_utf8_lossy(name))]
    Duplicate {
        /// The name.
        name: Vec<u8>,
    },
}

/// A validated listing with an index by directory offset.
#[derive(Debug)]
pub struct IndexedListing {
    document: Vec<u8>,
    /// (directory offset, byte position of the record), ascending.
    index: Vec<(DirectoryOffset, usize)>,
    negative: bool,
}

impl IndexedListing {
    /// Validates `document` and builds the index: O(n log n).
    ///
    /// # Errors
    /// [`IndexError::Format`] when the document is not a listing, [`IndexError::Duplicate`] when
    /// a name occurs twice.
    pub fn new(document: Vec<u8>) -> Result<Self, IndexError> {
        let listing = Listing::parse(&document)?;
        let negative = listing.is_negative();
        let mut index: Vec<(DirectoryOffset, usize)> = listing
            .iter()
            .map(|entry| (DirectoryOffset::of(entry.name()), entry.offset()))
            .collect();
        index.sort_unstable();
        separate_collisions(&listing, &mut index)?;
        Ok(Self {
            document,
            index,
            negative,
        })
    }

    /// True for an entry document that says "this name does not exist".
    #[must_use]
    pub fn is_negative(&self) -> bool {
        self.negative
    }

    /// Bytes this listing holds in memory.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.document.capacity() + self.index.capacity() * size_of::<(DirectoryOffset, usize)>()
    }

    /// The entry called `name`.
    #[must_use]
    pub fn find(&self, name: &[u8]) -> Option<EntryRef<'_>> {
        let wanted = DirectoryOffset::of(name);
        let from = self.index.partition_point(|(offset, _)| *offset < wanted);
        // Names whose hashes collide stand one behind the other from here on.
        self.index[from..]
            .iter()
            .zip(wanted.0..)
            .take_while(|((offset, _), expected)| offset.0 == *expected)
            .map(|((_, position), _)| self.record(*position))
            .find(|entry| entry.name() == name)
    }

    /// The only entry of an entry document.
    #[must_use]
    pub fn single(&self) -> Option<EntryRef<'_>> {
        match self.index.as_slice() {
            [(_, position)] => Some(self.record(*position)),
            [] | [_, ..] => None,
        }
    }

    /// The entries behind `after` (0 for all), in the order of their offsets.
    pub fn entries_after(
        &self,
        after: u64,
    ) -> impl Iterator<Item = (DirectoryOffset, EntryRef<'_>)> {
        let from = self.index.partition_point(|(offset, _)| offset.0 <= after);
        self.index[from..]
            .iter()
            .map(|(offset, position)| (*offset, self.record(*position)))
    }

    fn record(&self, position: usize) -> EntryRef<'_> {
        EntryRef::parse(&self.document, position)
            .expect("the whole document was validated when it was indexed")
    }
}

/// Gives entries of equal hash the next free offsets, in the order of their names, and refuses
/// equal names.
fn separate_collisions(
    listing: &Listing<'_>,
    index: &mut [(DirectoryOffset, usize)],
) -> Result<(), IndexError> {
    let name_at = |position: usize| {
        listing
            .record_at(position)
            .map(|entry| entry.name().to_vec())
            .unwrap_or_default()
    };
    let mut start = 0;
    while start < index.len() {
        let offset = index[start].0;
        let end = start + index[start..].partition_point(|(other, _)| *other == offset);
        if end - start > 1 {
            index[start..end].sort_by_key(|(_, position)| name_at(*position));
            for pair in index[start..end].windows(2) {
                if name_at(pair[0].1) == name_at(pair[1].1) {
                    return Err(IndexError::Duplicate {
                        name: name_at(pair[0].1),
                    });
                }
            }
        }
        start = end;
    }
    for at in 1..index.len() {
        if index[at].0 <= index[at - 1].0 {
            index[at].0 = DirectoryOffset(index[at - 1].0.0 + 1);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_proto::listing::{Entry, EntryKind, ListingBuilder};

    fn document(names: &[&[u8]]) -> Vec<u8> {
        let mut builder = ListingBuilder::new();
        for name in names {
            let entry = Entry {
                name: name.to_vec(),
                kind: EntryKind::Directory,
                size: None,
                mode: None,
                mtime: None,
                validator: Vec::new(),
            };
            builder.push(&entry).expect("a good entry");
        }
        builder.finish()
    }

    fn indexed(names: &[&[u8]]) -> IndexedListing {
        IndexedListing::new(document(names)).expect("a good listing")
    }

    #[test]
    fn every_name_is_found_and_no_other() {
        let names: Vec<Vec<u8>> = (0..5000_u32)
            .map(|n| n.to_le_bytes().map(|b| b | 0x80).to_vec())
            .collect();
        let unique: std::collections::BTreeSet<&[u8]> = names.iter().map(Vec::as_slice).collect();
        let listing = indexed(&unique.iter().copied().collect::<Vec<_>>());
        for name in &unique {
            assert_eq!(listing.find(name).expect("is there").name(), *name);
        }
        assert!(listing.find(b"absent").is_none());
    }

    #[test]
    fn h21_an_offset_means_the_same_in_a_listing_that_grew() {
        let before = indexed(&[b"a", b"c", b"e"]);
        let after = indexed(&[b"a", b"b", b"c", b"d", b"e", b"f"]);
        for (offset, entry) in before.entries_after(0) {
            let behind: Vec<&[u8]> = before
                .entries_after(offset.get())
                .map(|(_, e)| e.name())
                .collect();
            let now: Vec<&[u8]> = after
                .entries_after(offset.get())
                .map(|(_, e)| e.name())
                .collect();
            assert!(
                behind.iter().all(|name| now.contains(name)),
                "lost behind {:?}",
                entry.name()
            );
            assert!(!now.contains(&entry.name()), "given twice");
        }
    }

    #[test]
    fn offsets_ascend_and_leave_room_for_the_dots() {
        let listing = indexed(&[b"x", b"y", b"z", b"\xff\xfe", b"a name\nof two lines"]);
        let offsets: Vec<u64> = listing
            .entries_after(0)
            .map(|(offset, _)| offset.get())
            .collect();
        assert!(offsets.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(offsets[0] >= FIRST_NAME_OFFSET);
        assert!(
            i64::try_from(*offsets.last().expect("five")).is_ok(),
            "fits a loff_t"
        );
    }

    #[test]
    fn colliding_names_stay_apart_and_are_found() {
        let document = document(&[b"p", b"q", b"r"]);
        let listing = Listing::parse(&document).expect("parses");
        // As if all three had the same hash.
        let wanted = DirectoryOffset::of(b"p");
        let mut index: Vec<(DirectoryOffset, usize)> = listing
            .iter()
            .map(|entry| (wanted, entry.offset()))
            .collect();
        separate_collisions(&listing, &mut index).expect("three names");
        let offsets: Vec<u64> = index.iter().map(|(offset, _)| offset.get()).collect();
        assert_eq!(offsets, [wanted.get(), wanted.get() + 1, wanted.get() + 2]);
    }

    #[test]
    fn a_name_given_twice_is_refused_by_name() {
        let refused =
            IndexedListing::new(document(&[b"one", b"two", b"one"])).expect_err("doubled");
        assert!(refused.to_string().contains("one"), "{refused}");
    }
}
