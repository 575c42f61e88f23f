//! The daemon in Python under `examples/` against an engine's end of the device socket, made here.
//!
//! It proves that the protocol's documentation is enough for another language, and that the example keeps to it.
#![allow(missing_docs)]

mod engine;

use engine::{Engine, Opened};
use holdfast_proto::key::{CookieKey, RelativePath};
use holdfast_proto::listing::{Entry, EntryKind, Listing};
use holdfast_proto::message::Body;
use holdfast_proto::{ByteRange, Errno};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};

fn path(bytes: &[u8]) -> RelativePath {
    RelativePath::new(bytes).unwrap()
}

fn listing(bytes: &[u8]) -> CookieKey {
    CookieKey::Listing { path: path(bytes) }
}

fn entry(bytes: &[u8]) -> CookieKey {
    CookieKey::Entry { path: path(bytes) }
}

/// The key of a file's bytes in the version that its entry tells.
fn data(bytes: &[u8], entry: &Entry) -> CookieKey {
    CookieKey::Data {
        path: path(bytes),
        validator: entry.validator.clone(),
    }
}

/// Reads the one record of an entry object.
fn read_entry(engine: &mut Engine, bytes: &[u8]) -> Entry {
    let document = engine.open_and_read(&entry(bytes));
    let listing = Listing::parse(&document).unwrap();
    assert_eq!(listing.len(), 1);
    listing.iter().next().unwrap().to_entry()
}

fn odd_bytes(len: usize) -> Vec<u8> {
    (0..len)
        .map(|index| (index.wrapping_mul(2_654_435_761) >> 7) as u8)
        .collect()
}

#[test]
fn lists_a_directory_with_any_names() {
    let mut engine = Engine::start();
    let odd = OsStr::from_bytes(b"n\xffl\n \xe4");
    fs::write(engine.root().join(odd), b"12345").unwrap();
    fs::set_permissions(engine.root().join(odd), fs::Permissions::from_mode(0o4750)).unwrap();
    fs::create_dir_all(engine.root().join("dir/empty")).unwrap();
    symlink("../outside", engine.root().join("link")).unwrap();

    let document = engine.open_and_read(&listing(b""));
    let mut entries: Vec<Entry> = Listing::parse(&document)
        .unwrap()
        .iter()
        .map(|e| e.to_entry())
        .collect();
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let [dir, link, file] = &entries[..] else {
        panic!("{entries:?}")
    };
    assert_eq!(
        (&dir.name[..], &dir.kind, dir.size),
        (&b"dir"[..], &EntryKind::Directory, None)
    );
    assert_eq!(
        (&link.name[..], &link.kind),
        (
            &b"link"[..],
            &EntryKind::Symlink {
                target: b"../outside".to_vec()
            }
        )
    );
    assert_eq!(
        (&file.name[..], &file.kind, file.size),
        (odd.as_bytes(), &EntryKind::File, Some(5))
    );
    let metadata = fs::metadata(engine.root().join(odd)).unwrap();
    let mtime = file.mtime.unwrap();
    let system = metadata
        .modified()
        .unwrap()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    assert_eq!(
        (mtime.s as u64, mtime.ns),
        (system.as_secs(), system.subsec_nanos())
    );
    assert_eq!(file.mode, Some(0o4750));
    assert_eq!(
        file.validator,
        format!("{}-5", system.as_nanos()).into_bytes()
    );

    let empty = engine.open_and_read(&listing(b"dir/empty"));
    assert!(Listing::parse(&empty).unwrap().is_empty());
    engine.finish();
}

#[test]
fn h13_tells_one_name_or_that_it_does_not_exist() {
    let mut engine = Engine::start();
    fs::create_dir(engine.root().join("d")).unwrap();
    fs::write(engine.root().join("d/f"), b"x").unwrap();
    let found = read_entry(&mut engine, b"d/f");
    assert_eq!((&found.name[..], found.size), (&b"f"[..], Some(1)));
    let missing = engine.open_and_read(&entry(b"d/g"));
    assert!(Listing::parse(&missing).unwrap().is_negative());
    assert_eq!(engine.open_refused(&listing(b"none")), Errno::ENOENT);
    engine.finish();
}

#[test]
fn writes_the_range_that_is_asked_for_and_nothing_behind_the_end() {
    let mut engine = Engine::start();
    let bytes = odd_bytes(700_001);
    fs::write(engine.root().join("big"), &bytes).unwrap();
    let found = read_entry(&mut engine, b"big");
    let opened = engine.open(&data(b"big", &found), found.size, &found.validator);
    assert_eq!(
        (opened.size, &opened.validator),
        (700_001, &found.validator)
    );

    let middle = ByteRange::from_bounds(4096, 12_288).unwrap();
    assert_eq!(engine.read(&opened, middle), Ok(vec![middle]));
    assert_eq!(
        opened.bytes(),
        [&[0; 4096][..], &bytes[4096..12_288]].concat()
    );

    let all = ByteRange::whole(700_001).unwrap().align_outward();
    let present = engine.read(&opened, all).unwrap();
    assert!(
        present.len() > 1,
        "progress of a long READ is told as it goes"
    );
    assert_eq!(
        ByteRange::whole(700_001).unwrap().subtract_all(&present),
        []
    );
    assert!(
        present
            .iter()
            .all(|range| range.end() == 700_001 || range.is_block_aligned())
    );
    assert_eq!(opened.bytes(), bytes);
    engine.close(opened);
    engine.finish();
}

#[test]
fn opens_and_reads_an_empty_file() {
    let mut engine = Engine::start();
    fs::write(engine.root().join("empty"), b"").unwrap();
    let found = read_entry(&mut engine, b"empty");
    let opened = engine.open(&data(b"empty", &found), found.size, &found.validator);
    assert_eq!(opened.size, 0);
    assert_eq!(
        engine.read(&opened, ByteRange::new(0, 4096).unwrap()),
        Ok(vec![])
    );
    assert_eq!(opened.bytes(), b"");
    engine.finish();
}

#[test]
fn h04_another_version_is_refused_and_never_mixed() {
    let mut engine = Engine::start();
    let file = engine.root().join("f");
    fs::write(&file, odd_bytes(8192)).unwrap();
    let found = read_entry(&mut engine, b"f");
    let key = data(b"f", &found);
    let opened = engine.open(&key, found.size, &found.validator);
    let first = ByteRange::new(0, 4096).unwrap();
    assert_eq!(engine.read(&opened, first), Ok(vec![first]));

    let other = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
    fs::File::options()
        .write(true)
        .open(&file)
        .unwrap()
        .set_times(other)
        .unwrap();
    let second = ByteRange::new(4096, 4096).unwrap();
    assert_eq!(engine.read(&opened, second), Err(Errno::ESTALE));
    assert_eq!(opened.bytes().len(), 4096);
    assert_eq!(engine.open_refused(&key), Errno::ESTALE);

    let listed = engine.open(&listing(b""), None, b"");
    fs::write(engine.root().join("another"), b"").unwrap();
    assert_eq!(
        engine.open_refused_at(&listing(b""), &listed.validator),
        Errno::ESTALE
    );
    engine.finish();
}

#[test]
fn never_follows_a_symbolic_link() {
    let mut engine = Engine::start();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), b"secret").unwrap();
    symlink(outside.path(), engine.root().join("d")).unwrap();
    symlink(outside.path().join("secret"), engine.root().join("f")).unwrap();
    assert_eq!(engine.open_refused(&listing(b"d")), Errno::EINVAL);
    assert_eq!(engine.open_refused(&entry(b"d/secret")), Errno::EINVAL);
    let key = CookieKey::Data {
        path: path(b"f"),
        validator: vec![],
    };
    assert_eq!(engine.open_refused(&key), Errno::ELOOP);
    engine.finish();
}

#[test]
fn h16_lost_descriptors_are_answered_with_emfile() {
    let mut engine = Engine::start();
    engine.send_open_without_descriptors(&listing(b""));
    assert_eq!(engine.copen().unwrap_err(), Errno::EMFILE);
    engine.finish();
}

#[test]
fn a_lease_that_the_engine_hangs_up_is_closed_and_a_late_read_survived() {
    let mut engine = Engine::start();
    let Opened {
        object_id,
        lease,
        data: _data,
        ..
    } = engine.open(&listing(b""), None, b"");
    engine::shut_down_writing(&lease);
    assert!(engine::is_hung_up(&lease));
    engine.send(object_id, Body::Read(ByteRange::new(0, 4096).unwrap()));
    engine.expect_credit();
    engine.send(object_id, Body::Close);
    engine.send(object_id, Body::Rejected(Errno::EINVAL));
    assert!(engine.open(&listing(b""), None, b"").size >= 32);
    engine.finish();
}
