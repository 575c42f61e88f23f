//! The blocks of `docs/protocol.md` are what this crate makes and takes, so that the page cannot drift.
#![allow(missing_docs)]
// The page's example is that of a little-endian machine, as it says.
#![cfg(target_endian = "little")]

use holdfast_proto::command::{BindMode, COMMAND_BYTES_MAX, Command, LeaseCommand, OpenAnswer};
use holdfast_proto::key::{self, CookieKey, RelativePath};
use holdfast_proto::listing::{self, Entry, EntryKind, Listing, ListingBuilder, Mtime};
use holdfast_proto::message::{
    Body, MESSAGE_BYTES_MAX, Message, OPEN_FLAG_EXTENSION, Open, OpenExtension,
};
use holdfast_proto::{BLOCK_BYTES, ByteRange, Errno, MessageId, WireObjectId};
use std::collections::BTreeMap;
use std::num::NonZeroU32;

const PAGE: &str = include_str!("../../../docs/protocol.md");
const VALIDATOR: &[u8] = b"1700000000000000000-18";

/// The page's fenced blocks by their info string, without comments.
fn blocks() -> BTreeMap<&'static str, Vec<&'static str>> {
    let mut blocks: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut open: Option<&str> = None;
    for line in PAGE.lines() {
        match (line.strip_prefix("```"), open) {
            (Some(info), None) => {
                assert!(
                    blocks.insert(info, Vec::new()).is_none(),
                    "two blocks {info:?}"
                );
                open = Some(info);
            }
            (Some(_), Some(_)) => open = None,
            (None, Some(info)) => blocks
                .get_mut(info)
                .unwrap()
                .push(line.split('#').next().unwrap().trim_end()),
            (None, None) => {}
        }
    }
    assert_eq!(open, None, "a block without an end");
    blocks
}

fn blocks_of(kind: &str) -> BTreeMap<&'static str, Vec<&'static str>> {
    let of_kind =
        |(info, lines): (&'static str, _)| Some((info.strip_prefix(kind)?.trim_start(), lines));
    blocks().into_iter().filter_map(of_kind).collect()
}

fn unhex(lines: &[&str]) -> Vec<u8> {
    lines
        .iter()
        .flat_map(|line| line.split(' '))
        .map(|pair| u8::from_str_radix(pair, 16).unwrap())
        .collect()
}

fn packet(msg_id: u32, object_id: u32, body: Body<'_>) -> Vec<u8> {
    let message = Message {
        msg_id: MessageId(msg_id),
        object_id: WireObjectId(object_id),
        body,
    };
    let mut packet = Vec::new();
    message.encode(&mut packet).unwrap();
    assert_eq!(Message::parse(&packet), Ok(message));
    packet
}

fn open(
    cookie_key: &[u8],
    expected_size: Option<u64>,
    validator: &[u8],
    ids: (u32, u32),
) -> Vec<u8> {
    let extension = Some(OpenExtension {
        expected_size,
        validator,
    });
    let volume_key = b"dir:/srv/demo";
    let flags = OPEN_FLAG_EXTENSION;
    packet(
        ids.0,
        ids.1,
        Body::Open(Open {
            volume_key,
            cookie_key,
            fd: 0,
            flags,
            extension,
        }),
    )
}

fn document() -> Vec<u8> {
    let mut builder = ListingBuilder::new();
    let entry = Entry {
        name: b"hello.txt".to_vec(),
        kind: EntryKind::File,
        size: Some(18),
        mode: Some(0o644),
        mtime: Some(Mtime {
            s: 1_700_000_000,
            ns: 0,
        }),
        validator: VALIDATOR.to_vec(),
    };
    builder.push(&entry).unwrap();
    builder.finish()
}

#[test]
fn messages_and_listings_of_the_page_are_ours() {
    let path = || RelativePath::new(b"hello.txt").unwrap();
    let entry_key = CookieKey::Entry { path: path() }.encode();
    let data_key = CookieKey::Data {
        path: path(),
        validator: VALIDATOR.to_vec(),
    }
    .encode();
    let block = Body::Read(ByteRange::new(0, BLOCK_BYTES).unwrap());
    let ours = BTreeMap::from([
        ("open-entry", open(&entry_key, None, b"", (0, 1))),
        ("read-entry", packet(1, 1, block)),
        ("entry-document", document()),
        ("open-data", open(&data_key, Some(18), VALIDATOR, (2, 2))),
        ("read-data", packet(3, 2, block)),
        ("close", packet(4, 2, Body::Close)),
        ("rejected", packet(8, 0, Body::Rejected(Errno::EINVAL))),
        ("negative-document", ListingBuilder::negative()),
    ]);
    let page = blocks_of("hex");
    assert_eq!(
        page.keys().collect::<Vec<_>>(),
        ours.keys().collect::<Vec<_>>()
    );
    for (name, bytes) in ours {
        assert_eq!(unhex(&page[name]), bytes, "{name}");
    }
    for name in ["entry-document", "negative-document"] {
        assert!(Listing::parse(&unhex(&page[name])).is_ok());
    }
}

#[test]
fn commands_of_the_page_are_ours() {
    let credit = || Command::Credit(NonZeroU32::MIN);
    let copen = |id, size, validator: Option<&[u8]>| Command::Copen {
        msg_id: MessageId(id),
        answer: Ok(OpenAnswer {
            size,
            validator: validator.map(<[u8]>::to_vec),
        }),
    };
    let document_bytes = document().len() as u64;
    let ours = BTreeMap::from([
        ("begin", vec![Command::Bind(BindMode::OnDemand), credit()]),
        (
            "opened-entry",
            vec![copen(0, document_bytes, Some(b"v1")), credit()],
        ),
        ("read-entry", vec![credit()]),
        ("opened-data", vec![copen(2, 18, Some(VALIDATOR)), credit()]),
        ("read-data", vec![credit()]),
        ("mistaken", vec![copen(9, 5, None)]),
    ]);
    let page = blocks_of("device");
    assert_eq!(
        page.keys().collect::<Vec<_>>(),
        ours.keys().collect::<Vec<_>>()
    );
    for (name, commands) in &ours {
        let texts: Vec<String> = commands.iter().map(Command::to_string).collect();
        assert_eq!(page[name], texts);
        let parsed: Vec<Command> = page[name]
            .iter()
            .map(|text| Command::parse(text.as_bytes()).unwrap())
            .collect();
        assert_eq!(parsed, *commands);
    }
    // REJECTED names the page's ninth command, so number 8.
    assert_eq!(ours.values().map(Vec::len).sum::<usize>(), 9);
}

#[test]
fn lease_commands_of_the_page_are_ours() {
    let cread = |id, answer| LeaseCommand::Cread {
        msg_id: MessageId(id),
        answer,
    };
    let ours = BTreeMap::from([
        ("read-entry", vec![cread(1, Ok(()))]),
        (
            "read-data",
            vec![
                LeaseCommand::Present(ByteRange::new(0, 18).unwrap()),
                cread(3, Ok(())),
            ],
        ),
        ("changed", vec![cread(3, Err(Errno::ESTALE))]),
    ]);
    let page = blocks_of("lease");
    assert_eq!(
        page.keys().collect::<Vec<_>>(),
        ours.keys().collect::<Vec<_>>()
    );
    for (name, commands) in &ours {
        let texts: Vec<String> = commands.iter().map(LeaseCommand::to_string).collect();
        assert_eq!(page[name], texts);
        for (text, command) in page[name].iter().zip(commands) {
            assert_eq!(LeaseCommand::parse(text.as_bytes()), Ok(*command));
        }
    }
}

#[test]
fn limits_of_the_page_are_ours() {
    let ours = [
        ("message", MESSAGE_BYTES_MAX),
        ("command", COMMAND_BYTES_MAX),
        ("volume key", key::VOLUME_KEY_BYTES_MAX),
        ("cookie key", key::COOKIE_KEY_BYTES_MAX),
        ("path", key::PATH_BYTES_MAX),
        ("validator", key::VALIDATOR_BYTES_MAX),
        ("name", key::NAME_BYTES_MAX),
        ("link target", listing::TARGET_BYTES_MAX),
        ("record", listing::RECORD_BYTES_MAX),
        ("block", BLOCK_BYTES as usize),
    ];
    let ours: Vec<String> = ours
        .iter()
        .map(|(what, bytes)| format!("{what} {bytes}"))
        .collect();
    assert_eq!(blocks()["limits"], ours);
    assert_eq!(ByteRange::END_MAX, (1 << 63) - 4096);
}

/// Every outage error is in the row of outages, and no other error is.
#[test]
fn outage_errors_of_the_page_are_ours() {
    let row = PAGE
        .lines()
        .find(|line| line.contains("takes it as an outage"))
        .unwrap();
    let named: Vec<&str> = row
        .split('`')
        .filter(|word| word.starts_with('E'))
        .collect();
    let ours = || {
        (1..=Errno::MAX)
            .filter_map(Errno::new)
            .filter(|errno| errno.is_outage())
    };
    assert_eq!(named.len(), ours().count());
    assert!(ours().all(|errno| named.contains(&errno.name().unwrap())));
}
