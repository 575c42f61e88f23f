use super::*;
use proptest::prelude::*;
use std::vec;

fn range(start: u64, end: u64) -> ByteRange {
    ByteRange::from_bounds(start, end).unwrap()
}

#[test]
fn refuses_the_empty_and_what_no_file_offset_reaches() {
    assert_eq!(ByteRange::new(5, 0), None);
    assert_eq!(ByteRange::new(u64::MAX, 1), None);
    assert_eq!(ByteRange::new(1, u64::MAX), None);
    assert_eq!(ByteRange::new(ByteRange::END_MAX, 1), None);
    assert_eq!(ByteRange::from_bounds(7, 6), None);
    let last = ByteRange::new(ByteRange::END_MAX - 1, 1).unwrap();
    assert_eq!(last.align_outward().end(), ByteRange::END_MAX);
    assert_eq!(ByteRange::whole(0), None);
    assert_eq!(ByteRange::whole(3), Some(range(0, 3)));
}

#[test]
fn aligns_to_blocks() {
    assert_eq!(range(1, 4097).align_outward(), range(0, 8192));
    assert_eq!(range(1, 8191).align_inward(), None);
    assert_eq!(range(1, 8192).align_inward(), Some(range(4096, 8192)));
    assert!(range(4096, 8192).is_block_aligned());
    assert!(!range(4096, 8191).is_block_aligned());
    assert_eq!(
        (
            range(4095, 4097).first_block(),
            range(4095, 4097).end_block()
        ),
        (0, 2)
    );
}

#[test]
fn the_last_partial_block_is_complete_when_the_size_is_reached() {
    assert_eq!(
        range(4096, 5000).complete_blocks(5000),
        Some(range(4096, 8192))
    );
    assert_eq!(
        range(4096, 8192).complete_blocks(5000),
        Some(range(4096, 8192))
    );
    assert_eq!(range(4096, 4999).complete_blocks(5000), None);
    assert_eq!(range(4097, 5000).complete_blocks(5000), None);
    assert_eq!(range(0, 5000).complete_blocks(9000), Some(range(0, 4096)));
    assert_eq!(range(8192, 9000).complete_blocks(8192), None);
}

#[test]
fn splits_and_clips() {
    assert_eq!(range(2, 9).split_first(3), (range(2, 5), Some(range(5, 9))));
    assert_eq!(range(2, 9).split_first(7), (range(2, 9), None));
    assert_eq!(range(2, 9).split_first(0), (range(2, 3), Some(range(3, 9))));
    assert_eq!(range(2, 9).clip(4), Some(range(2, 4)));
    assert_eq!(range(2, 9).clip(2), None);
    assert_eq!(range(2, 4).merge(range(4, 6)), Some(range(2, 6)));
    assert_eq!(range(2, 4).merge(range(5, 6)), None);
    assert_eq!(
        range(0, 9).subtract_all(&[range(6, 7), range(2, 4), range(3, 5)]),
        vec![range(0, 2), range(5, 6), range(7, 9)]
    );
}

fn small_range() -> impl Strategy<Value = ByteRange> {
    (0..60_u64, 1..30_u64).prop_map(|(offset, len)| ByteRange::new(offset, len).unwrap())
}

proptest! {
    /// Every operation equals the same one on sets of single bytes.
    #[test]
    fn acts_like_a_set_of_bytes(a in small_range(), b in small_range(), more in prop::collection::vec(small_range(), 0..6)) {
        let both = |offset| a.contains_offset(offset) && b.contains_offset(offset);
        prop_assert_eq!(a.overlaps(b), (0..100).any(both));
        prop_assert_eq!(a.contains(b), (0..100).all(|o| !b.contains_offset(o) || a.contains_offset(o)));
        let (before, after) = a.subtract(b);
        let left = a.subtract_all(&more);
        for offset in 0..100 {
            let within = |part: Option<ByteRange>| part.is_some_and(|part| part.contains_offset(offset));
            prop_assert_eq!(within(a.intersect(b)), both(offset));
            prop_assert_eq!(within(before) || within(after), a.contains_offset(offset) && !b.contains_offset(offset));
            let taken = more.iter().any(|other| other.contains_offset(offset));
            prop_assert_eq!(left.iter().any(|part| part.contains_offset(offset)), a.contains_offset(offset) && !taken);
            if let Some(merged) = a.merge(b) {
                prop_assert_eq!(merged.contains_offset(offset), a.contains_offset(offset) || b.contains_offset(offset));
            }
        }
        prop_assert!(left.windows(2).all(|pair| pair[0].end() < pair[1].offset));
    }

    #[test]
    fn never_overflows(offset: u64, len: u64, other_offset: u64, other_len: u64, size: u64) {
        let Some(range) = ByteRange::new(offset, len) else { return Ok(()) };
        prop_assert!(range.align_outward().contains(range));
        prop_assert!(range.align_inward().is_none_or(|inner| range.contains(inner)));
        prop_assert!(range.clip(size).is_none_or(|part| part.end() <= size));
        prop_assert!(range.complete_blocks(size).is_none_or(ByteRange::is_block_aligned));
        if let Some(other) = ByteRange::new(other_offset, other_len) {
            prop_assert_eq!(range.intersect(other).is_some(), range.overlaps(other));
        }
    }
}
