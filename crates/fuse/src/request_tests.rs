//! Requests as bytes: what is parsed, what is refused, and that nothing panics.

use proptest::prelude::*;

use super::*;
use crate::opcode::Opcode;
use crate::operation::{FileHandle, Forget};

/// A request as the kernel lays it out.
fn bytes_of(opcode: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&(40 + body.len() as u32).to_ne_bytes());
    bytes.extend_from_slice(&opcode.to_ne_bytes());
    for word in [0x8000_0000_0000_0012_u64, 7] {
        bytes.extend_from_slice(&word.to_ne_bytes());
    }
    for word in [1000_u32, 100, 4321, 0] {
        bytes.extend_from_slice(&word.to_ne_bytes());
    }
    bytes.extend_from_slice(body);
    bytes
}

fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

#[test]
fn the_header_is_read_and_bit_63_means_resent() {
    let bytes = bytes_of(Opcode::Readlink as u32, &[]);
    let request = Request::parse(&bytes).expect("a request");
    assert_eq!(request.unique.id().get(), 0x12);
    assert!(request.unique.is_resent());
    assert_eq!(request.nodeid, NodeId(7));
    assert_eq!((request.uid, request.gid, request.pid), (1000, 100, 4321));
    assert!(matches!(request.operation, Operation::Readlink));
}

#[test]
fn reads_and_names_are_read() {
    let bytes = bytes_of(Opcode::Read as u32, &words(&[9, 4096, 512, 0, 0]));
    let read = Request::parse(&bytes).expect("a request").operation;
    assert!(
        matches!(
            read,
            Operation::Read {
                fh: FileHandle(9),
                offset: 4096,
                size: 512,
                ..
            }
        ),
        "{read:?}"
    );
    let bytes = bytes_of(Opcode::Lookup as u32, b"na\xffme\0");
    let lookup = Request::parse(&bytes).expect("a request").operation;
    assert!(
        matches!(lookup, Operation::Lookup { name: b"na\xffme" }),
        "{lookup:?}"
    );
    let mut body = words(&[64]);
    body.extend_from_slice(b"user.x\0");
    let bytes = bytes_of(Opcode::Getxattr as u32, &body);
    let getxattr = Request::parse(&bytes).expect("a request").operation;
    assert!(
        matches!(
            getxattr,
            Operation::Getxattr {
                name: b"user.x",
                size: 64
            }
        ),
        "{getxattr:?}"
    );
}

#[test]
fn a_forget_batch_is_read_and_its_count_is_checked() {
    let bytes = bytes_of(Opcode::BatchForget as u32, &words(&[2, 5, 1, 6, 3]));
    let Operation::BatchForget(forgets) = Request::parse(&bytes).expect("a request").operation
    else {
        panic!("not a batch");
    };
    let expected = [(5, 1), (6, 3)].map(|(nodeid, nlookup)| Forget {
        nodeid: NodeId(nodeid),
        nlookup,
    });
    assert_eq!(forgets.iter().collect::<Vec<_>>(), expected);
    let bytes = bytes_of(Opcode::BatchForget as u32, &words(&[3, 5, 1, 6, 3]));
    let error = Request::parse(&bytes).expect_err("three are announced, two are there");
    assert!(
        matches!(error, RequestError::ShortArguments { .. }),
        "{error}"
    );
}

#[test]
fn what_does_not_fit_is_refused_with_its_number() {
    assert_eq!(
        Request::parse(&[0; 39]).expect_err("no header").unique(),
        None
    );
    let lookup = Opcode::Lookup as u32;
    let mut too_long = bytes_of(lookup, b"name\0");
    too_long.push(0);
    for (bytes, kind) in [
        (too_long, "bytes, "),
        (bytes_of(lookup, b"name"), "cut short"),
        (bytes_of(lookup, b"\0"), "empty name"),
        (bytes_of(Opcode::Read as u32, &[0; 39]), "cut short"),
    ] {
        let error = Request::parse(&bytes).expect_err("not a request");
        assert_eq!(error.unique().map(|unique| unique.id().get()), Some(0x12));
        assert!(error.to_string().contains(kind), "{error}");
    }
}

#[test]
fn writers_are_one_variant_and_strangers_keep_their_number() {
    let write = bytes_of(Opcode::Write as u32, &[]);
    let write = Request::parse(&write).expect("a request").operation;
    assert!(
        matches!(
            write,
            Operation::Mutating {
                opcode: Opcode::Write
            }
        ),
        "{write:?}"
    );
    let lock = bytes_of(Opcode::Setlkw as u32, &[]);
    let lock = Request::parse(&lock).expect("a request").operation;
    assert!(
        matches!(
            lock,
            Operation::Unsupported {
                opcode: Opcode::Setlkw
            }
        ),
        "{lock:?}"
    );
    let stranger = bytes_of(4711, b"whatever");
    let stranger = Request::parse(&stranger).expect("a request").operation;
    assert!(
        matches!(stranger, Operation::Unknown { opcode: 4711 }),
        "{stranger:?}"
    );
}

proptest! {
    #[test]
    fn parsing_never_panics(opcode in 0_u32..60, body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let bytes = bytes_of(opcode, &body);
        if let Ok(request) = Request::parse(&bytes)
            && let Operation::BatchForget(forgets) = request.operation
        {
            prop_assert!(forgets.iter().count() <= body.len() / 16);
        }
    }

    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let stated = bytes.first_chunk().map(|len| u32::from_ne_bytes(*len) as usize);
        if Request::parse(&bytes).is_ok() {
            prop_assert_eq!(stated, Some(bytes.len()));
        }
    }
}
