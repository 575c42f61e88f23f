use super::*;

fn identity() -> Identity {
    Identity {
        volume_key: (*b"dir:/srv").into(),
        cookie_key: (*b"Da/b\0v1").into(),
        validator: (*b"v1").into(),
        incarnation: 0x1234_5678_9abc,
        size_bytes: Some(300_000),
        created: from_ns(1_700_000_000_123_456_789),
    }
}

fn state(sequence: u64) -> State {
    State {
        sequence,
        boot: BootId([7; 16]),
        verified: from_ns(1_700_000_001_000_000_001),
        synced: Synced::Once,
    }
}

#[test]
fn a_record_comes_back_as_it_was_written() {
    for size_bytes in [None, Some(0), Some(1), Some(OBJECT_SIZE_MAX_BYTES)] {
        let identity = Identity {
            size_bytes,
            ..identity()
        };
        let image = identity.encode(&state(1));
        assert_eq!(image.len(), identity.header_bytes());
        assert_eq!(parse(&image), Some((identity, state(1))));
    }
}

#[test]
fn every_flipped_bit_of_the_identity_is_seen() {
    let image = identity().encode(&state(1));
    let keys_end = KEYS_OFFSET + 8 + 7 + 2;
    for at in (0..IDENTITY_BYTES).chain(KEYS_OFFSET..keys_end) {
        for bit in 0..8 {
            let mut damaged = image.clone();
            damaged[at] ^= 1 << bit;
            assert_eq!(parse(&damaged), None, "byte {at} bit {bit}");
        }
    }
}

#[test]
fn every_shorter_record_is_torn() {
    let image = identity().encode(&state(1));
    let keys_end = KEYS_OFFSET + 8 + 7 + 2;
    for len in 0..keys_end {
        assert_eq!(parse(&image[..len]), None, "{len}");
        let mut zeroed = image[..len].to_vec();
        zeroed.resize(image.len(), 0);
        assert_eq!(parse(&zeroed), None, "zeros from {len}");
    }
}

#[test]
fn a_torn_write_of_the_state_leaves_the_state_before_it() {
    let mut image = identity().encode(&state(1));
    let next = State {
        verified: from_ns(5),
        ..state(2)
    };
    let (offset, bytes) = next.encode();
    for written in 0..=STATE_BYTES {
        image[offset as usize..][..written].copy_from_slice(&bytes[..written]);
        let (_, read) = parse(&image).unwrap();
        let expected = if written == STATE_BYTES {
            next
        } else {
            state(1)
        };
        assert_eq!(read, expected, "{written} bytes of the new state");
    }
    let third = state(3);
    let (offset, bytes) = third.encode();
    assert_eq!(
        offset as usize,
        IDENTITY_BYTES + STATE_BYTES,
        "odd sequence numbers share a slot"
    );
    image[offset as usize..][..STATE_BYTES / 2].copy_from_slice(&bytes[..STATE_BYTES / 2]);
    assert_eq!(parse(&image).unwrap().1, next);
}
