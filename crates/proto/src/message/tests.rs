use super::*;
use crate::key::{COOKIE_KEY_BYTES_MAX, VALIDATOR_BYTES_MAX, VOLUME_KEY_BYTES_MAX, VolumeKeyError};
use proptest::prelude::*;
use std::vec::Vec;

fn encoded(message: &Message<'_>) -> Vec<u8> {
    let mut packet = Vec::new();
    message.encode(&mut packet).unwrap();
    packet
}

fn open<'a>(
    volume_key: &'a [u8],
    cookie_key: &'a [u8],
    extension: Option<OpenExtension<'a>>,
) -> Message<'a> {
    let flags = u32::from(extension.is_some());
    let body = Body::Open(Open {
        volume_key,
        cookie_key,
        fd: 0,
        flags,
        extension,
    });
    Message {
        msg_id: MessageId(7),
        object_id: WireObjectId(3),
        body,
    }
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

fn packet(opcode: u32, payload: &[u8]) -> Vec<u8> {
    let len = 16 + payload.len() as u32;
    [words(&[1, opcode, len, 2]), payload.to_vec()].concat()
}

/// Spec 1.1: an OPEN for keys "erofs,t1" and "t1" has 43 bytes on a real kernel.
#[test]
fn open_lies_as_the_kernels() {
    let bytes = encoded(&open(b"erofs,t1", b"t1", None));
    let expected = [words(&[7, 0, 43, 3, 9, 2, 0, 0]), b"erofs,t1\0t1".to_vec()].concat();
    assert_eq!(bytes, expected);
}

#[test]
fn read_close_and_rejected_lie_as_documented() {
    let range = ByteRange::new(4096, 8192).unwrap();
    let message = |body| Message {
        msg_id: MessageId(1),
        object_id: WireObjectId(2),
        body,
    };
    let read = [4096_u64.to_ne_bytes(), 8192_u64.to_ne_bytes()].concat();
    assert_eq!(encoded(&message(Body::Read(range))), packet(2, &read));
    assert_eq!(encoded(&message(Body::Close)), packet(1, &[]));
    assert_eq!(
        encoded(&message(Body::Rejected(Errno::EINVAL))),
        packet(16, &words(&[22, 0]))
    );
    let late = [words(&[1, 1, 16, u32::MAX])].concat();
    assert_eq!(
        Message::parse(&late).unwrap().object_id,
        WireObjectId::CLOSED
    );
}

#[test]
fn the_extension_follows_the_keys_unpadded() {
    let extension = OpenExtension {
        expected_size: Some(5),
        validator: b"v",
    };
    let bytes = encoded(&open(b"s", b"Df\0v", Some(extension)));
    let tail = [5_u64.to_ne_bytes().to_vec(), words(&[1, 0]), b"v".to_vec()].concat();
    assert_eq!(
        bytes,
        [
            words(&[7, 0, 55, 3, 2, 4, 0, 1]),
            b"s\0Df\0v".to_vec(),
            tail
        ]
        .concat()
    );
    let unknown = OpenExtension {
        expected_size: None,
        validator: b"",
    };
    let bytes = encoded(&open(b"s", b"L", Some(unknown)));
    assert_eq!(bytes[35..43], [0xff; 8]);
}

#[test]
fn the_largest_message_fits_and_a_larger_one_does_not() {
    let (volume, cookie) = ([b'v'; VOLUME_KEY_BYTES_MAX], [b'c'; COOKIE_KEY_BYTES_MAX]);
    let validator = [b'x'; VALIDATOR_BYTES_MAX];
    let extension = |validator| {
        Some(OpenExtension {
            expected_size: None,
            validator,
        })
    };
    let bytes = encoded(&open(&volume, &cookie, extension(&validator)));
    assert!(bytes.len() <= MESSAGE_BYTES_MAX && Message::parse(&bytes).is_ok());

    let refused = |message: Message<'_>, error| {
        let mut packet = Vec::new();
        assert_eq!(message.encode(&mut packet), Err(error));
        assert!(packet.is_empty());
    };
    let (longer_volume, longer_cookie) = (
        [b'v'; VOLUME_KEY_BYTES_MAX + 1],
        [b'c'; COOKIE_KEY_BYTES_MAX + 1],
    );
    let longer = [b'x'; VALIDATOR_BYTES_MAX + 1];
    refused(
        open(&longer_volume, b"L", None),
        VolumeKeyError::TooLong(4097).into(),
    );
    refused(open(b"v\0", b"L", None), VolumeKeyError::Nul.into());
    refused(
        open(b"v", &longer_cookie, None),
        EncodeError::CookieKeyTooLong(8193),
    );
    refused(
        open(b"v", b"L", extension(&longer)),
        EncodeError::ValidatorTooLong(1025),
    );
    let sizeless = OpenExtension {
        expected_size: Some(u64::MAX),
        validator: b"",
    };
    refused(open(b"v", b"L", Some(sizeless)), EncodeError::ExpectedSize);
    let flagged = Open {
        volume_key: b"v",
        cookie_key: b"L",
        fd: 0,
        flags: 1,
        extension: None,
    };
    let message = Message {
        msg_id: MessageId(0),
        object_id: WireObjectId(1),
        body: Body::Open(flagged),
    };
    refused(message, EncodeError::Flags(1));
}

#[test]
fn hostile_packets_are_refused_by_name() {
    let open = |sizes: [u32; 4], rest: &[u8]| packet(0, &[words(&sizes), rest.to_vec()].concat());
    let table: Vec<(Vec<u8>, MessageError)> = Vec::from([
        (Vec::new(), MessageError::Truncated("header")),
        (words(&[1, 1, 16]), MessageError::Truncated("header")),
        (
            words(&[1, 1, 17, 2]),
            MessageError::Length {
                stated: 17,
                actual: 16,
            },
        ),
        (
            words(&[1, 1, u32::MAX, 2]),
            MessageError::Length {
                stated: u32::MAX,
                actual: 16,
            },
        ),
        (packet(1, b"x"), MessageError::Trailing(1)),
        (packet(3, &[]), MessageError::UnknownOpcode(3)),
        (packet(u32::MAX, &[]), MessageError::UnknownOpcode(u32::MAX)),
        (packet(0, &[0; 15]), MessageError::Truncated("OPEN header")),
        (open([2, 0, 0, 2], b"v\0"), MessageError::UnknownFlags(2)),
        (
            open([3, 0, 0, 0], b"v\0"),
            MessageError::Truncated("volume key"),
        ),
        (
            open([u32::MAX, 1, 0, 0], b"v\0L"),
            MessageError::Truncated("volume key"),
        ),
        (
            open([2, u32::MAX, 0, 0], b"v\0L"),
            MessageError::Truncated("cookie key"),
        ),
        (open([0, 1, 0, 0], b"L"), MessageError::VolumeKeyEnd),
        (open([1, 1, 0, 0], b"vL"), MessageError::VolumeKeyEnd),
        (open([1, 1, 0, 0], b"\0L"), VolumeKeyError::Empty.into()),
        (open([3, 1, 0, 0], b"\0v\0L"), VolumeKeyError::Nul.into()),
        (open([2, 1, 0, 0], b"v\0LL"), MessageError::Trailing(1)),
        (
            open([2, 1, 0, 1], b"v\0L"),
            MessageError::Truncated("OPEN extension"),
        ),
        (
            open(
                [2, 1, 0, 1],
                &[b"v\0L", &[0; 8][..], &words(&[0, 9])].concat(),
            ),
            MessageError::Reserved(9),
        ),
        (
            open(
                [2, 1, 0, 1],
                &[b"v\0L", &[0; 8][..], &words(&[1, 0])].concat(),
            ),
            MessageError::Truncated("validator"),
        ),
        (packet(2, &[0; 15]), MessageError::Truncated("READ payload")),
        (packet(2, &[0; 16]), MessageError::Range { off: 0, len: 0 }),
        (
            packet(2, &[0xff; 16]),
            MessageError::Range {
                off: u64::MAX,
                len: u64::MAX,
            },
        ),
        (packet(16, &words(&[0, 0])), MessageError::Errno(0)),
        (packet(16, &words(&[4096, 0])), MessageError::Errno(4096)),
        (
            packet(16, &words(&[u32::MAX, 0])),
            MessageError::Errno(u32::MAX),
        ),
        (packet(16, &words(&[5, 1])), MessageError::Reserved(1)),
        (
            Vec::from([0; MESSAGE_BYTES_MAX + 1]),
            MessageError::TooLong(MESSAGE_BYTES_MAX + 1),
        ),
    ]);
    for (bytes, error) in table {
        assert_eq!(Message::parse(&bytes), Err(error));
    }
}

#[test]
fn every_cut_of_a_message_is_refused() {
    let extension = OpenExtension {
        expected_size: Some(9),
        validator: b"\"etag\"",
    };
    let bytes = encoded(&open(b"dir:/srv", b"Da/b\0\"etag\"", Some(extension)));
    for len in 0..bytes.len() {
        // Both a packet cut short and one whose header admits to it.
        let mut cut = bytes[..len].to_vec();
        assert!(Message::parse(&cut).is_err(), "{len}");
        if let Some(field) = cut.get_mut(8..12) {
            field.copy_from_slice(&(len as u32).to_ne_bytes());
            assert!(Message::parse(&cut).is_err(), "{len}");
        }
    }
}

proptest! {
    #[test]
    fn open_comes_back(
        msg_id: u32, object_id: u32, fd: u32,
        volume_key in prop::collection::vec(1..=255_u8, 1..300),
        cookie_key in prop::collection::vec(any::<u8>(), 0..300),
        extension in prop::option::of((prop::option::of(0..u64::MAX), prop::collection::vec(any::<u8>(), 0..=1024))),
    ) {
        let extension = extension.as_ref().map(|(expected_size, validator)| OpenExtension { expected_size: *expected_size, validator });
        let flags = u32::from(extension.is_some());
        let body = Body::Open(Open { volume_key: &volume_key, cookie_key: &cookie_key, fd, flags, extension });
        let message = Message { msg_id: MessageId(msg_id), object_id: WireObjectId(object_id), body };
        let packet = encoded(&message);
        prop_assert_eq!(Message::parse(&packet), Ok(message));
    }

    /// A packet with any payload is refused, or is exactly what its message encodes to.
    #[test]
    fn hostile_payloads_are_refused_or_canonical(
        opcode in prop_oneof![0..4_u32, Just(16)],
        sizes in prop::collection::vec(prop_oneof![0..6_u32, any::<u32>()], 0..5),
        tail in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let bytes = packet(opcode, &[words(&sizes), tail].concat());
        if let Ok(message) = Message::parse(&bytes) {
            prop_assert_eq!(encoded(&message), bytes);
        }
    }

    #[test]
    fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Message::parse(&bytes);
    }
}
