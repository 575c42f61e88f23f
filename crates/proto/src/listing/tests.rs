use super::*;
use crate::ByteRange;
use crate::key::NameError;
use crate::key::tests::any_name;
use proptest::prelude::*;
use std::vec;

fn file(name: &[u8]) -> Entry {
    let mtime = Some(Mtime {
        s: -1,
        ns: 999_999_999,
    });
    Entry {
        name: name.to_vec(),
        kind: EntryKind::File,
        size: Some(5),
        mode: Some(0o644),
        mtime,
        validator: b"v1".to_vec(),
    }
}

fn document(entries: &[Entry]) -> Vec<u8> {
    let mut builder = ListingBuilder::new();
    for entry in entries {
        builder.push(entry).unwrap();
    }
    builder.finish()
}

/// One record for the name `a`, whose bytes a test then breaks.
fn broken(change: impl FnOnce(&mut Vec<u8>)) -> Result<(), ListingError> {
    let mut bytes = document(&[file(b"a")]);
    change(&mut bytes);
    Listing::parse(&bytes).map(|_| ())
}

fn record_error(change: impl FnOnce(&mut Vec<u8>)) -> RecordError {
    match broken(change) {
        Err(ListingError::Record {
            offset: HEADER_BYTES,
            error,
        }) => error,
        other => panic!("not a broken record: {other:?}"),
    }
}

#[test]
fn lies_as_documented() {
    let mut expected = b"HFLIST\0\x01".to_vec();
    expected.extend([0, 0, 0, 0, 0, 0, 0, 0]);
    expected.extend(1_u64.to_le_bytes());
    expected.extend(80_u64.to_le_bytes());
    expected.extend([48, 0, 0, 0, 1, 7, 1, 0]);
    expected.extend(5_u64.to_le_bytes());
    expected.extend((-1_i64).to_le_bytes());
    expected.extend(999_999_999_u32.to_le_bytes());
    expected.extend(0o644_u32.to_le_bytes());
    expected.extend([2, 0, 0, 0, 0, 0, 0, 0]);
    expected.extend(b"av1\0\0\0\0\0");
    assert_eq!(document(&[file(b"a")]), expected);
}

#[test]
fn negative_and_empty_are_told_apart() {
    let (negative, empty) = (ListingBuilder::negative(), ListingBuilder::new().finish());
    let [negative, empty] = [&negative, &empty].map(|bytes| Listing::parse(bytes).unwrap());
    assert!(negative.is_negative() && negative.is_empty() && negative.iter().next().is_none());
    assert!(!empty.is_negative() && empty.is_empty() && empty.iter().next().is_none());
    assert_eq!(
        broken(|bytes| bytes[8] = 1),
        Err(ListingError::NegativeWithRecords)
    );
}

#[test]
fn records_are_found_again_by_their_offset() {
    let link = Entry {
        kind: EntryKind::Symlink {
            target: b"../x".to_vec(),
        },
        size: None,
        mode: None,
        mtime: None,
        ..file(b"l")
    };
    let directory = Entry {
        kind: EntryKind::Directory,
        validator: vec![],
        ..file(&[0xff; 255])
    };
    let entries = [file(b"a\n"), link, directory];
    let bytes = document(&entries);
    let listing = Listing::parse(&bytes).unwrap();
    assert_eq!((listing.len(), listing.iter().count()), (3, 3));
    for (found, entry) in listing.iter().zip(&entries) {
        assert_eq!(found.to_entry(), *entry);
        assert_eq!(listing.record_at(found.offset()), Some(found));
    }
    for offset in [0, 8, bytes.len(), bytes.len() + 1, usize::MAX] {
        assert_eq!(listing.record_at(offset), None, "{offset}");
    }
}

#[test]
fn broken_headers_are_refused_by_name() {
    assert_eq!(Listing::parse(&[]).unwrap_err(), ListingError::NoHeader(0));
    assert_eq!(
        Listing::parse(&document(&[])[..31]).unwrap_err(),
        ListingError::NoHeader(31)
    );
    assert_eq!(broken(|bytes| bytes[7] = 2), Err(ListingError::Magic));
    assert_eq!(
        broken(|bytes| bytes[8] = 4),
        Err(ListingError::UnknownFlags(4))
    );
    assert_eq!(
        broken(|bytes| bytes[12] = 1),
        Err(ListingError::Reserved(1))
    );
    assert_eq!(
        broken(|bytes| bytes.push(0)),
        Err(ListingError::Length {
            stated: 80,
            actual: 81
        })
    );
    assert_eq!(
        broken(|bytes| bytes[24..32].fill(0xff)),
        Err(ListingError::Length {
            stated: u64::MAX,
            actual: 80
        })
    );
    assert_eq!(
        broken(|bytes| bytes[16] = 2),
        Err(ListingError::Count {
            stated: 2,
            actual: 1
        })
    );
    assert_eq!(
        broken(|bytes| bytes[16..24].fill(0xff)),
        Err(ListingError::Count {
            stated: u64::MAX,
            actual: 1
        })
    );
}

#[test]
fn broken_records_are_refused_by_name() {
    let at = HEADER_BYTES;
    assert_eq!(record_error(|b| b[at] = 56), RecordError::Truncated);
    assert_eq!(record_error(|b| b[at] = 49), RecordError::Length(49));
    assert_eq!(record_error(|b| b[at] = 0), RecordError::Length(0));
    assert_eq!(
        record_error(|b| b[at..at + 4].fill(0xff)),
        RecordError::Length(u32::MAX)
    );
    assert_eq!(record_error(|b| b[at + 4] = 0), RecordError::UnknownKind(0));
    assert_eq!(record_error(|b| b[at + 4] = 3), RecordError::Target);
    assert_eq!(record_error(|b| b[at + 34] = 1), RecordError::Target);
    assert_eq!(
        record_error(|b| b[at + 5] = 8),
        RecordError::UnknownFlags(8)
    );
    assert_eq!(
        record_error(|b| b[at + 6] = 0),
        RecordError::Name(NameError::Empty)
    );
    assert_eq!(
        record_error(|b| b[at + 40] = b'/'),
        RecordError::Name(NameError::Separator)
    );
    assert_eq!(
        record_error(|b| b[at + 40] = 0),
        RecordError::Name(NameError::Separator)
    );
    assert_eq!(
        record_error(|b| b[at + 40] = b'.'),
        RecordError::Name(NameError::Dots)
    );
    assert_eq!(
        record_error(|b| (b[at + 6], b[at + 32]) = (9, 2)),
        RecordError::Parts {
            parts: 56,
            record: 48
        }
    );
    let huge = RecordError::Parts {
        parts: 40 + 3 * 65_535 + 3,
        record: 48,
    };
    assert_eq!(
        record_error(|b| (b[at + 6..at + 8].fill(0xff), b[at + 32..at + 36].fill(0xff)).0),
        huge
    );
    assert_eq!(
        record_error(|b| b[at + 8..at + 16].fill(0xff)),
        RecordError::Size(u64::MAX)
    );
    assert_eq!(
        record_error(|b| b[at + 30] = 1),
        RecordError::Mode(0o200_644)
    );
    assert_eq!(
        record_error(|b| b[at + 24..at + 28].fill(0xff)),
        RecordError::Nanoseconds(u32::MAX)
    );
    assert_eq!(record_error(|b| b[at + 36] = 1), RecordError::Reserved);
    assert_eq!(record_error(|b| b[at + 47] = 1), RecordError::Reserved);
}

#[test]
fn padding_is_to_8_bytes_and_no_further() {
    let longer = |bytes: &mut Vec<u8>| {
        bytes.extend([0; 8]);
        (bytes[24], bytes[HEADER_BYTES]) = (88, 56);
    };
    assert_eq!(
        record_error(longer),
        RecordError::Parts {
            parts: 48,
            record: 56
        }
    );
}

#[test]
fn what_a_flag_does_not_announce_is_ignored() {
    let mut bytes = document(&[file(b"a")]);
    bytes[HEADER_BYTES + 5] = 0;
    bytes[HEADER_BYTES + 8..HEADER_BYTES + 32].fill(0xff);
    let listing = Listing::parse(&bytes).unwrap();
    let expected = Entry {
        size: None,
        mode: None,
        mtime: None,
        ..file(b"a")
    };
    assert_eq!(listing.iter().next().unwrap().to_entry(), expected);
}

#[test]
fn refuses_to_write_what_it_would_not_read() {
    let refused = |entry: Entry, error| assert_eq!(ListingBuilder::new().push(&entry), Err(error));
    refused(file(b".."), NameError::Dots.into());
    refused(file(&[b'x'; 256]), NameError::TooLong(256).into());
    refused(
        Entry {
            size: Some(ByteRange::END_MAX + 1),
            ..file(b"a")
        },
        PushError::Size(ByteRange::END_MAX + 1),
    );
    refused(
        Entry {
            mode: Some(0o10_000),
            ..file(b"a")
        },
        PushError::Mode(0o10_000),
    );
    refused(
        Entry {
            mtime: Some(Mtime {
                s: 0,
                ns: 1_000_000_000,
            }),
            ..file(b"a")
        },
        PushError::Nanoseconds(1_000_000_000),
    );
    refused(
        Entry {
            validator: vec![0; 1025],
            ..file(b"a")
        },
        PushError::ValidatorTooLong(1025),
    );
    for target in [vec![], vec![b'x'; 4096], b"a\0b".to_vec()] {
        refused(
            Entry {
                kind: EntryKind::Symlink { target },
                ..file(b"a")
            },
            PushError::Target,
        );
    }
    let kind = EntryKind::Symlink {
        target: vec![b'x'; TARGET_BYTES_MAX],
    };
    let largest = Entry {
        kind,
        validator: vec![1; 1024],
        ..file(&[b'n'; 255])
    };
    assert_eq!(Listing::parse(&document(&[largest])).unwrap().len(), 1);
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let kind = prop_oneof![
        Just(EntryKind::File),
        Just(EntryKind::Directory),
        prop::collection::vec(1..=255_u8, 1..80).prop_map(|target| EntryKind::Symlink { target }),
    ];
    let mtime =
        prop::option::of((any::<i64>(), 0..1_000_000_000_u32).prop_map(|(s, ns)| Mtime { s, ns }));
    let size = prop::option::of(0..=ByteRange::END_MAX);
    let (mode, validator) = (
        prop::option::of(0..=MODE_MAX),
        prop::collection::vec(any::<u8>(), 0..80),
    );
    (any_name(), kind, size, mode, mtime, validator).prop_map(
        |(name, kind, size, mode, mtime, validator)| Entry {
            name,
            kind,
            size,
            mode,
            mtime,
            validator,
        },
    )
}

proptest! {
    #[test]
    fn listings_come_back(entries in prop::collection::vec(any_entry(), 0..20)) {
        let bytes = document(&entries);
        let listing = Listing::parse(&bytes).unwrap();
        prop_assert_eq!(listing.iter().map(|entry| entry.to_entry()).collect::<Vec<_>>(), entries);
        for len in 0..bytes.len() {
            prop_assert!(Listing::parse(&bytes[..len]).is_err());
        }
    }

    /// One flipped byte, anywhere, is refused or changes only what is in the listing.
    #[test]
    fn a_flipped_byte_never_panics(entries in prop::collection::vec(any_entry(), 1..4), at: prop::sample::Index, bits in 1..=255_u8, probe in 0..2000_usize) {
        let mut bytes = document(&entries);
        *at.get_mut(&mut bytes) ^= bits;
        if let Ok(listing) = Listing::parse(&bytes) {
            prop_assert_eq!(listing.iter().count() as u64, listing.len());
            prop_assert_eq!(listing.iter().last().map_or(HEADER_BYTES, |entry| entry.next_offset()), bytes.len());
            let _ = listing.record_at(probe);
        }
    }

    #[test]
    fn hostile_lengths_never_panic(words in prop::collection::vec(prop_oneof![0..64_u32, any::<u32>()], 0..40)) {
        let mut bytes = document(&[]);
        bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        let len = bytes.len() as u64;
        bytes[24..32].copy_from_slice(&len.to_le_bytes());
        let _ = Listing::parse(&bytes);
    }
}
