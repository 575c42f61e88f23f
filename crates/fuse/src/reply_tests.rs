//! Bodies of replies.

use super::*;

#[test]
fn h14_a_reply_is_whole_or_ends_at_the_end_of_the_file() {
    let span = |offset, size| ReadSpan {
        offset,
        size,
        file_size_bytes: 10_000,
    };
    assert_eq!(span(0, 4096).reply_len_bytes(), 4096);
    assert_eq!(span(8192, 4096).reply_len_bytes(), 1808);
    assert_eq!(span(10_000, 4096).reply_len_bytes(), 0);
    assert_eq!(span(u64::MAX, u32::MAX).reply_len_bytes(), 0);
    span(8192, 4096).assert_whole(1808);
}

#[test]
#[should_panic(expected = "must be whole")]
fn h14_a_short_reply_is_refused() {
    let span = ReadSpan {
        offset: 0,
        size: 4096,
        file_size_bytes: 10_000,
    };
    span.assert_whole(4095);
}

#[test]
fn attributes_keep_type_permissions_and_times_before_1970() {
    let attributes = Attributes {
        mtime: Timestamp { s: -1, ns: 5 },
        ..Attributes::new(7, FileKind::Symlink, 0o7777, 1025)
    };
    let raw = attributes.to_raw();
    assert_eq!(raw.mode, 0o127_777);
    assert_eq!((raw.mtime as i64, raw.mtimensec), (-1, 5));
    assert_eq!((raw.ino, raw.size, raw.blocks), (7, 1025, 3));
}

#[test]
fn validity_keeps_its_nanoseconds() {
    let raw = negative_entry(Duration::new(3, 4));
    assert_eq!(
        (raw.nodeid, raw.entry_valid, raw.entry_valid_nsec),
        (0, 3, 4)
    );
}
