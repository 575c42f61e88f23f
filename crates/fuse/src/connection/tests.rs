//! Messages as bytes, over a socket pair that keeps their boundaries as `/dev/fuse` does.

use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::*;
use crate::buffers::ReplyBuffer;
use crate::operation::Operation;
use crate::reply::ReadSpan;

fn pair() -> (Connection, OwnedFd) {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (device, kernel) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).expect("a pair");
    (Connection::new(device), kernel)
}

fn sent(kernel: &OwnedFd) -> Vec<u8> {
    let mut bytes = vec![0; 2 << 20];
    let len = read(kernel, &mut bytes).expect("a reply");
    bytes.truncate(len);
    bytes
}

fn message(error: i32, unique: u64, body: &[u8]) -> Vec<u8> {
    let len = 16 + body.len() as u32;
    [
        &len.to_ne_bytes()[..],
        &error.to_ne_bytes(),
        &unique.to_ne_bytes(),
        body,
    ]
    .concat()
}

const UNIQUE: Unique = Unique::from_raw(1 << 63 | 6);

#[test]
fn replies_carry_the_number_with_its_resent_bit() {
    let (connection, kernel) = pair();
    let error = connection.reply_error(UNIQUE, Errno::STALE);
    assert_eq!(error, Ok(Accepted::Accepted));
    assert_eq!(sent(&kernel), message(-116, UNIQUE.raw(), &[]));
    let bytes = connection.reply_bytes(UNIQUE, b"target");
    assert_eq!(bytes, Ok(Accepted::Accepted));
    assert_eq!(sent(&kernel), message(0, UNIQUE.raw(), b"target"));
}

#[test]
fn a_read_is_answered_from_resident_memory() {
    let (connection, kernel) = pair();
    let mut buffer = ReplyBuffer::new().expect("memory");
    buffer.bytes_mut()[..100_000].fill(7);
    let span = ReadSpan {
        offset: 5,
        size: 131_072,
        file_size_bytes: 100_005,
    };
    let reply = connection.reply_read(UNIQUE, span, buffer.filled(100_000));
    assert_eq!(reply, Ok(Accepted::Accepted));
    assert_eq!(sent(&kernel), message(0, UNIQUE.raw(), &[7; 100_000]));
}

#[test]
#[should_panic(expected = "must be whole")]
fn h14_a_short_read_never_reaches_the_kernel() {
    let (connection, _kernel) = pair();
    let buffer = ReplyBuffer::new().expect("memory");
    let span = ReadSpan {
        offset: 0,
        size: 4096,
        file_size_bytes: 8192,
    };
    let _ = connection.reply_read(UNIQUE, span, buffer.filled(4000));
}

#[test]
fn an_extended_attribute_is_its_size_its_value_or_erange() {
    let (connection, kernel) = pair();
    for (size, expected) in [
        (0, message(0, UNIQUE.raw(), &5_u64.to_ne_bytes())),
        (4, message(-34, UNIQUE.raw(), &[])),
        (5, message(0, UNIQUE.raw(), b"value")),
    ] {
        let reply = connection.reply_xattr(UNIQUE, size, b"value");
        assert_eq!(reply, Ok(Accepted::Accepted));
        assert_eq!(sent(&kernel), expected);
    }
}

#[test]
fn what_is_too_long_for_a_small_reply_is_refused() {
    let (connection, _kernel) = pair();
    let reply = connection.reply_bytes(UNIQUE, &[0; 8177]);
    let too_long = ReplyError::TooLong {
        len_bytes: 8177,
        max_bytes: 8176,
    };
    assert_eq!(reply, Err(too_long));
}

#[test]
fn a_negative_entry_has_no_node() {
    let (connection, kernel) = pair();
    let reply = connection.reply_negative_entry(UNIQUE, Duration::from_secs(2));
    assert_eq!(reply, Ok(Accepted::Accepted));
    let bytes = sent(&kernel);
    assert_eq!(bytes.len(), 16 + 128);
    assert_eq!(bytes[16..24], [0; 8]);
    assert_eq!(bytes[32..40], 2_u64.to_ne_bytes());
}

#[test]
fn resend_is_a_notification() {
    let (connection, kernel) = pair();
    connection.notify_resend().expect("written");
    assert_eq!(sent(&kernel), message(7, 0, &[]));
}

#[test]
fn nothing_there_and_nonsense_are_told_apart() {
    let (connection, kernel) = pair();
    let mut buffer = ReceiveBuffer::new().expect("memory");
    let nothing = connection.receive(&mut buffer).map(drop);
    assert_eq!(nothing, Err(ReceiveError::WouldBlock));
    rustix::io::write(&kernel, &[0; 8]).expect("write");
    let nonsense = connection.receive(&mut buffer).map(drop);
    let no_header = RequestError::NoHeader { len_bytes: 8 };
    assert_eq!(nonsense, Err(ReceiveError::Malformed(no_header)));
    let mut destroy = [0; 40];
    destroy[0] = 40;
    destroy[4] = 38;
    rustix::io::write(&kernel, &destroy).expect("write");
    let received = connection.receive(&mut buffer).expect("a request");
    assert!(
        matches!(
            received,
            Received::Request(Request {
                operation: Operation::Destroy,
                ..
            })
        ),
        "{received:?}"
    );
}
