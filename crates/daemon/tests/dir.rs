//! The `dir:` source, through a daemon and the device socket.

#[allow(dead_code, reason = "each test crate uses its part")]
mod common;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use common::{FakeEngine, data_key};
use holdfast_proto::listing::EntryKind;
use holdfast_proto::{ByteRange, Errno};

fn volume(dir: &Path) -> String {
    format!("dir:{}", dir.display())
}

fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len)
        .map(|i| (i.wrapping_mul(31) ^ (i >> 8)) as u8 ^ seed)
        .collect()
}

#[test]
fn odd_names_kinds_and_attributes_come_through() {
    let tree = tempfile::tempdir().unwrap();
    let long = vec![b'x'; 255];
    let names: [&[u8]; 5] = [
        b"plain",
        b"with space",
        b"new\nline",
        b"\xff\xfe\x80",
        &long,
    ];
    for (i, name) in names.iter().enumerate() {
        fs::write(
            tree.path().join(OsStr::from_bytes(name)),
            pattern(i * 5000, i as u8),
        )
        .unwrap();
    }
    fs::set_permissions(
        tree.path().join("plain"),
        fs::Permissions::from_mode(0o4755),
    )
    .unwrap();
    fs::create_dir(tree.path().join("sub")).unwrap();
    fs::create_dir(tree.path().join("empty")).unwrap();
    fs::write(tree.path().join("sub/inner"), b"inner").unwrap();
    symlink("/etc/passwd", tree.path().join("link")).unwrap();
    symlink("sub", tree.path().join("dirlink")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        tree.path().join("pipe"),
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();

    let mut engine = FakeEngine::start(4);
    let volume = volume(tree.path());
    let listing = engine.list(&volume, b"").unwrap();
    assert_eq!(listing.len(), names.len() + 4, "{listing:?}");
    for (i, name) in names.iter().enumerate() {
        let listed = listing.iter().find(|e| e.name == *name).unwrap();
        assert_eq!(listed.size, Some(i as u64 * 5000));
        assert_eq!(engine.entry(&volume, name).unwrap().as_ref(), Some(listed));
        assert_eq!(
            engine.content(&volume, name).unwrap(),
            pattern(i * 5000, i as u8)
        );
    }
    let plain = engine.entry(&volume, b"plain").unwrap().unwrap();
    assert_eq!(plain.mode, Some(0o4755));
    let modified = fs::metadata(tree.path().join("plain"))
        .unwrap()
        .modified()
        .unwrap()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    assert_eq!(
        plain.mtime.map(|m| (m.s as u64, m.ns)),
        Some((modified.as_secs(), modified.subsec_nanos()))
    );
    assert_eq!(
        engine.entry(&volume, b"link").unwrap().unwrap().kind,
        EntryKind::Symlink {
            target: b"/etc/passwd".to_vec()
        }
    );
    assert_eq!(
        engine.entry(&volume, b"sub").unwrap().unwrap().kind,
        EntryKind::Directory
    );
    assert_eq!(engine.content(&volume, b"sub/inner").unwrap(), b"inner");
    assert_eq!(engine.list(&volume, b"empty").unwrap(), []);
    for absent in [
        &b"nothing"[..],
        b"plain/below",
        b"pipe",
        b"dirlink/inner",
        b"link/x",
    ] {
        assert_eq!(
            engine.entry(&volume, absent).unwrap(),
            None,
            "{}",
            absent.escape_ascii()
        );
    }
    assert_eq!(engine.list(&volume, b"plain").unwrap_err(), Errno::ENOTDIR);
    assert_eq!(engine.list(&volume, b"nothing").unwrap_err(), Errno::ENOENT);
    assert_eq!(engine.credits, 4, "every credit is back");
}

#[test]
fn ten_thousand_entries_and_a_listing_that_changes_under_a_reopen() {
    let tree = tempfile::tempdir().unwrap();
    for i in 0..10_000 {
        fs::write(
            tree.path().join(format!(
                "entry-with-a-long-name-to-fill-the-document-{i:05}"
            )),
            [],
        )
        .unwrap();
    }
    let mut engine = FakeEngine::start(2);
    let volume = volume(tree.path());
    assert_eq!(engine.list(&volume, b"").unwrap().len(), 10_000);
    let key = holdfast_proto::key::CookieKey::Listing {
        path: holdfast_proto::key::RelativePath::root(),
    };
    let first = engine.open(&volume, &key, None, b"").unwrap();
    let same = engine
        .open(&volume, &key, Some(first.size), &first.validator)
        .unwrap();
    assert_eq!((same.size, &same.validator), (first.size, &first.validator));
    fs::write(tree.path().join("one more"), []).unwrap();
    assert_eq!(
        engine
            .open(&volume, &key, Some(first.size), &first.validator)
            .unwrap_err(),
        Errno::ESTALE
    );
}

#[test]
fn h04_a_file_that_changes_is_stale_and_never_a_blend() {
    let tree = tempfile::tempdir().unwrap();
    let path = tree.path().join("file");
    fs::write(&path, pattern(3 << 20, 1)).unwrap();
    let mut engine = FakeEngine::start(2);
    let volume = volume(tree.path());
    let entry = engine.entry(&volume, b"file").unwrap().unwrap();
    let mut object = engine
        .open(
            &volume,
            &data_key(b"file", &entry),
            entry.size,
            &entry.validator,
        )
        .unwrap();
    assert_eq!(
        engine.read(&mut object, 0, 1 << 20).unwrap(),
        &pattern(3 << 20, 1)[..1 << 20]
    );
    // Of equal size, and by rename: only the version can tell.
    fs::write(tree.path().join("new"), pattern(3 << 20, 2)).unwrap();
    fs::rename(tree.path().join("new"), &path).unwrap();
    assert_eq!(
        engine.read(&mut object, 1 << 20, 1 << 20).unwrap_err(),
        Errno::ESTALE
    );
    assert_eq!(
        engine
            .open(
                &volume,
                &data_key(b"file", &entry),
                entry.size,
                &entry.validator
            )
            .unwrap_err(),
        Errno::ESTALE
    );
    assert_eq!(
        engine.content(&volume, b"file").unwrap(),
        pattern(3 << 20, 2)
    );
    fs::remove_file(&path).unwrap();
    assert_eq!(
        engine.read(&mut object, 1 << 20, 1 << 20).unwrap_err(),
        Errno::ENOENT
    );
    assert_eq!(engine.credits, 2);
}

#[test]
fn reads_are_clipped_at_the_end_and_tell_of_progress() {
    let tree = tempfile::tempdir().unwrap();
    let bytes = pattern((5 << 20) + 1234, 7);
    fs::write(tree.path().join("file"), &bytes).unwrap();
    let mut engine = FakeEngine::start(3);
    let volume = volume(tree.path());
    let entry = engine.entry(&volume, b"file").unwrap().unwrap();
    let mut object = engine
        .open(
            &volume,
            &data_key(b"file", &entry),
            entry.size,
            &entry.validator,
        )
        .unwrap();
    let rounded = (bytes.len() as u64).next_multiple_of(4096);
    let msg_id = engine.send_read(&object, ByteRange::new(0, rounded).unwrap());
    let (answer, told) = engine.await_read(&object, msg_id);
    answer.unwrap();
    assert!(
        told.len() >= 4,
        "progress of 5 MiB is told in several steps: {told:?}"
    );
    assert_eq!(told.first().map(|range| range.offset), Some(0));
    assert!(
        told.windows(2).all(|pair| pair[0].end() == pair[1].offset),
        "{told:?}"
    );
    assert_eq!(engine.read(&mut object, 0, rounded).unwrap(), bytes);
    let tail = rounded - 4096;
    assert_eq!(
        engine.read(&mut object, tail, 4096).unwrap(),
        &bytes[tail as usize..]
    );
}

#[test]
fn h16_an_open_without_descriptors_is_answered_with_emfile() {
    let tree = tempfile::tempdir().unwrap();
    fs::write(tree.path().join("file"), b"x").unwrap();
    let mut engine = FakeEngine::start(2);
    let volume = volume(tree.path());
    let key = holdfast_proto::key::CookieKey::Listing {
        path: holdfast_proto::key::RelativePath::root(),
    };
    assert_eq!(
        engine.open_without_descriptors(&volume, &key).unwrap_err(),
        Errno::EMFILE
    );
    assert_eq!(
        engine.content(&volume, b"file").unwrap(),
        b"x",
        "the session goes on"
    );
}

#[test]
fn a_daemon_outlives_its_engine_and_starts_afresh() {
    let tree = tempfile::tempdir().unwrap();
    fs::write(tree.path().join("file"), b"content").unwrap();
    let mut engine = FakeEngine::start(5);
    let volume = volume(tree.path());
    assert_eq!(engine.content(&volume, b"file").unwrap(), b"content");
    for _ in 0..3 {
        engine.accept();
        assert_eq!(engine.credits, 5);
        assert_eq!(engine.content(&volume, b"file").unwrap(), b"content");
    }
}

#[test]
fn close_ends_the_object_and_a_read_of_it_returns_only_the_credit() {
    let tree = tempfile::tempdir().unwrap();
    fs::write(tree.path().join("file"), pattern(100_000, 3)).unwrap();
    let mut engine = FakeEngine::start(2);
    let volume = volume(tree.path());
    let entry = engine.entry(&volume, b"file").unwrap().unwrap();
    let object = engine
        .open(
            &volume,
            &data_key(b"file", &entry),
            entry.size,
            &entry.validator,
        )
        .unwrap();
    engine.close(&object);
    engine.send_read(&object, ByteRange::new(0, 4096).unwrap());
    engine.credit();
    let mut packet = [0_u8; 64];
    let (count, _) = rustix::net::recv(
        &object.lease,
        &mut packet[..],
        rustix::net::RecvFlags::empty(),
    )
    .unwrap();
    assert_eq!(count, 0, "the lease is hung up");
}

#[test]
fn a_single_file_is_a_tree_of_one_entry() {
    let tree = tempfile::tempdir().unwrap();
    fs::write(tree.path().join("only"), b"alone").unwrap();
    fs::write(tree.path().join("other"), b"hidden").unwrap();
    let mut engine = FakeEngine::start(2);
    let volume = volume(&tree.path().join("only"));
    let names: Vec<_> = engine
        .list(&volume, b"")
        .unwrap()
        .into_iter()
        .map(|e| e.name)
        .collect();
    assert_eq!(names, [b"only".to_vec()]);
    assert_eq!(engine.content(&volume, b"only").unwrap(), b"alone");
    assert_eq!(engine.entry(&volume, b"other").unwrap(), None);
    assert_eq!(
        engine.entry(&volume, b"").unwrap().unwrap().kind,
        EntryKind::Directory
    );
}
