//! The HTTP source against a small origin with faults, through a daemon and the device socket.

#[allow(dead_code, reason = "each test crate uses its part")]
mod common;
#[path = "common/origin.rs"]
mod origin;

use common::{FakeEngine, data_key};
use holdfast_daemon::{Auth, SourceUrl, VolumeConfig};
use holdfast_proto::listing::EntryKind;
use holdfast_proto::{ByteRange, Errno};
use hyper::Method;
use origin::{Origin, RawServer};

const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len)
        .map(|i| (i.wrapping_mul(31) ^ (i >> 8)) as u8 ^ seed)
        .collect()
}

fn config(volume: &str, auth: Auth) -> VolumeConfig {
    let mut config = VolumeConfig::new(&SourceUrl::parse(volume.as_ref()).unwrap());
    config.auth = auth;
    config
}

#[test]
fn entries_by_head_and_bytes_by_ranges_under_the_etag() {
    let origin = Origin::start();
    let bytes = pattern(3_000_000, 1);
    origin.put("/t/a%20b%FF", &bytes, Some("\"v1\""), Some(DATE));
    origin.put("/t/empty", b"", Some("\"e\""), None);
    origin
        .state
        .lock()
        .unwrap()
        .redirects
        .insert("/t/dir".into(), "/t/dir/".into());
    origin.put("/t/dir/", b"", None, None);
    let mut engine = FakeEngine::start(4);
    let volume = origin.url("/t/");
    let entry = engine.entry(&volume, b"a b\xff").unwrap().unwrap();
    assert_eq!(
        (entry.size, entry.mtime.map(|m| m.s)),
        (Some(3_000_000), Some(784_111_777))
    );
    assert_eq!(engine.version(&volume, b"a b\xff", &entry).unwrap(), bytes);
    assert_eq!(engine.content(&volume, b"empty").unwrap(), b"");
    assert_eq!(
        engine.entry(&volume, b"dir").unwrap().unwrap().kind,
        EntryKind::Directory
    );
    assert_eq!(engine.entry(&volume, b"nothing").unwrap(), None);
    assert_eq!(engine.credits, 4);
}

#[test]
fn h04_another_version_of_the_same_size_is_stale() {
    let origin = Origin::start();
    let mut engine = FakeEngine::start(4);
    for (etag, modified) in [(true, true), (true, false), (false, true)] {
        let put = |version: usize| {
            let etag = etag.then_some(["\"v1\"", "\"v2\""][version]);
            origin.put(
                "/t/f",
                &pattern(100_000, version as u8),
                etag,
                modified.then_some([DATE, LATER][version]),
            );
        };
        put(0);
        let volume = origin.url("/t/");
        let entry = engine.entry(&volume, b"f").unwrap().unwrap();
        let mut object = engine
            .open(
                &volume,
                &data_key(b"f", &entry),
                entry.size,
                &entry.validator,
            )
            .unwrap();
        assert_eq!(
            engine.read(&mut object, 0, 4096).unwrap(),
            &pattern(100_000, 0)[..4096]
        );
        put(1);
        assert_eq!(
            engine.read(&mut object, 4096, 4096).unwrap_err(),
            Errno::ESTALE,
            "{etag} {modified}"
        );
        assert_eq!(engine.content(&volume, b"f").unwrap(), pattern(100_000, 1));
        origin.put("/t/f", &pattern(100_001, 0), None, None);
        assert_eq!(
            engine.read(&mut object, 4096, 4096).unwrap_err(),
            Errno::ESTALE,
            "{etag} {modified}"
        );
    }
}

#[test]
fn a_server_without_head_or_ranges_is_served_from_the_start_of_its_files() {
    let origin = Origin::start();
    let bytes = pattern(2_500_000, 2);
    origin.put("/t/f", &bytes, None, Some(DATE));
    origin.put("/t/empty", b"", None, Some(DATE));
    origin.state.lock().unwrap().no_head = true;
    let mut engine = FakeEngine::start(4);
    let volume = origin.url("/t/");
    assert_eq!(engine.content(&volume, b"f").unwrap(), bytes);
    assert_eq!(engine.content(&volume, b"empty").unwrap(), b"");
    origin.state.lock().unwrap().no_ranges = true;
    assert_eq!(engine.content(&volume, b"f").unwrap(), bytes);
}

#[test]
fn credentials_reach_the_volumes_host_and_no_other() {
    let origin = Origin::start();
    let other = Origin::start();
    origin.state.lock().unwrap().authorization = Some("Bearer t0ken".into());
    origin.put("/t/f", b"secret bytes", Some("\"v\""), None);
    origin
        .state
        .lock()
        .unwrap()
        .redirects
        .insert("/t/moved".into(), other.url("/elsewhere"));
    other.put("/elsewhere", b"public bytes", Some("\"o\""), None);
    let mut engine = FakeEngine::start(2);
    let volume = origin.url("/t/");
    assert_eq!(engine.entry(&volume, b"f").unwrap_err(), Errno::EACCES);
    engine.configure(&config(
        &volume,
        Auth::Bearer {
            token: "t0ken".into(),
        },
    ));
    assert_eq!(engine.content(&volume, b"f").unwrap(), b"secret bytes");
    assert_eq!(engine.content(&volume, b"moved").unwrap(), b"public bytes");
    let seen = &other.state.lock().unwrap().seen;
    assert!(
        !seen.is_empty()
            && seen
                .iter()
                .all(|(_, _, authorization)| authorization.is_none()),
        "{seen:?}"
    );
    drop(engine.entry(&volume, b"f"));
    origin.state.lock().unwrap().authorization = Some("Basic dTpw".into());
    engine.configure(&config(
        &volume,
        Auth::Basic {
            user: "u".into(),
            password: "p".into(),
        },
    ));
    assert_eq!(
        engine.content(&volume, b"f").unwrap(),
        b"secret bytes",
        "new credentials count at the next OPEN"
    );
}

#[test]
fn short_troubles_are_bridged_and_long_ones_have_the_fitting_errno() {
    let origin = Origin::start();
    origin.put("/t/f", b"bytes", Some("\"v\""), None);
    let mut engine = FakeEngine::start(2);
    let volume = origin.url("/t/");
    for (status, errno) in [
        (503, Errno::EAGAIN),
        (500, Errno::EIO),
        (403, Errno::EACCES),
    ] {
        let entry = { engine.entry(&volume, b"f").unwrap().unwrap() };
        if status >= 500 {
            origin.state.lock().unwrap().fail = Some((status, 2));
            assert_eq!(
                engine.version(&volume, b"f", &entry).unwrap(),
                b"bytes",
                "{status} twice"
            );
        }
        origin.state.lock().unwrap().fail = Some((status, u32::MAX));
        assert_eq!(engine.version(&volume, b"f", &entry).unwrap_err(), errno);
        origin.state.lock().unwrap().fail = None;
    }
    let gone = origin.address;
    drop(origin);
    let volume = format!("http://{gone}/other/");
    assert!(engine.entry(&volume, b"f").unwrap_err().is_outage());
    assert!(
        engine
            .list("http://no-such-host.invalid/", b"")
            .unwrap_err()
            .is_outage()
    );
}

#[test]
fn a_body_that_breaks_off_is_resumed_and_a_lying_length_is_eio() {
    let bytes = pattern(1_000_000, 5);
    let body = bytes.clone();
    // Sends at most 300,000 bytes of any range, whatever it announced.
    let breaking = RawServer::start(move |head| {
        let Some(range) = head.lines().find_map(|line| {
            line.to_ascii_lowercase()
                .strip_prefix("range: bytes=")
                .map(str::to_owned)
        }) else {
            return b"HTTP/1.1 200 OK\r\nETag: \"x\"\r\nContent-Length: 1000000\r\nConnection: close\r\n\r\n".to_vec();
        };
        let (start, last) = range.split_once('-').unwrap();
        let (start, last): (usize, usize) = (start.parse().unwrap(), last.parse().unwrap());
        let mut answer = format!(
            "HTTP/1.1 206 Partial Content\r\nETag: \"x\"\r\nContent-Range: bytes {start}-{last}/1000000\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            last + 1 - start
        )
        .into_bytes();
        answer.extend_from_slice(&body[start..(last + 1).min(start + 300_000)]);
        answer
    });
    let mut engine = FakeEngine::start(2);
    let volume = format!("http://{}/f", breaking.address);
    assert_eq!(engine.content(&volume, b"f").unwrap(), bytes);

    let wrong = |content_range: &'static str, length: usize| {
        RawServer::start(move |head| {
            if head.starts_with("HEAD") {
                return b"HTTP/1.1 200 OK\r\nETag: \"x\"\r\nContent-Length: 8192\r\nConnection: close\r\n\r\n".to_vec();
            }
            let mut answer = format!(
                "HTTP/1.1 206 Partial Content\r\nETag: \"x\"\r\nContent-Range: {content_range}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
            )
            .into_bytes();
            answer.extend_from_slice(&[7; 4096][..length.min(4096)]);
            answer
        })
    };
    for (content_range, length, errno) in [
        ("bytes 0-4095/8192", 5000, Errno::EIO),
        ("bytes 0-4095/8192", 100, Errno::EIO),
        ("bytes 1-4096/8192", 4096, Errno::EIO),
        ("bytes 0-8191/8192", 8192, Errno::EIO),
        ("nonsense", 4096, Errno::EIO),
        ("bytes 0-4095/9000", 4096, Errno::ESTALE),
    ] {
        let server = wrong(content_range, length);
        let volume = format!("http://{}/f", server.address);
        let entry = engine.entry(&volume, b"f").unwrap().unwrap();
        let mut object = engine
            .open(
                &volume,
                &data_key(b"f", &entry),
                entry.size,
                &entry.validator,
            )
            .unwrap();
        assert_eq!(
            engine.read(&mut object, 0, 4096).unwrap_err(),
            errno,
            "{content_range} {length}"
        );
    }
    // Announces more than it ever sends.
    let lying = RawServer::start(|head| {
        let mut answer =
            b"HTTP/1.1 200 OK\r\nETag: \"x\"\r\nContent-Length: 8192\r\nConnection: close\r\n\r\n"
                .to_vec();
        if head.starts_with("GET") {
            answer.extend_from_slice(&[7; 5000]);
        }
        answer
    });
    let volume = format!("http://{}/f", lying.address);
    assert_eq!(engine.content(&volume, b"f").unwrap_err(), Errno::EIO);
    assert_eq!(engine.credits, 2);
}

/// Programs that answer HEAD without looking are common; taken at their word, every file would be empty.
#[test]
fn a_head_of_length_zero_is_held_against_a_get() {
    let full = RawServer::start(|head| {
        if head.starts_with("HEAD") {
            return b"HTTP/1.1 200 OK\r\nETag: \"x\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec();
        }
        b"HTTP/1.1 206 Partial Content\r\nETag: \"x\"\r\nContent-Range: bytes 0-0/5\r\nContent-Length: 1\r\nConnection: close\r\n\r\nh".to_vec()
    });
    let mut engine = FakeEngine::start(2);
    let volume = format!("http://{}/f", full.address);
    let entry = engine.entry(&volume, b"f").unwrap().unwrap();
    assert_eq!(entry.size, Some(5));

    // An empty file has no byte 0, and 416 need not say how long it is.
    let empty = RawServer::start(|head| {
        if head.starts_with("HEAD") {
            return b"HTTP/1.1 200 OK\r\nETag: \"x\"\r\nConnection: close\r\n\r\n".to_vec();
        }
        b"HTTP/1.1 416 Range Not Satisfiable\r\nETag: \"x\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec()
    });
    let volume = format!("http://{}/f", empty.address);
    let entry = engine.entry(&volume, b"f").unwrap().unwrap();
    assert_eq!(entry.size, Some(0));
}

#[test]
fn indexes_of_ten_thousand_names_and_html_with_sizes_unknown() {
    let origin = Origin::start();
    let items: Vec<String> = (0..10_000)
        .map(|i| format!(r#"{{ "name":"f{i}", "type":"file", "mtime":"{DATE}", "size":{i} }}"#))
        .collect();
    origin.put(
        "/json/",
        format!("[\n{}\n]\n", items.join(",\n")).as_bytes(),
        None,
        None,
    );
    origin.put(
        "/json/f9999",
        &pattern(9999, 1),
        Some("\"other\""),
        Some(DATE),
    );
    origin.put(
        "/html/",
        b"<html><head><title>Index of /html/</title></head><body><a href=\"f\">f</a> 1.2K</body></html>",
        None,
        None,
    );
    origin.put("/page/", b"<html><title>Hello</title></html>", None, None);
    let mut engine = FakeEngine::start(2);
    let volume = origin.url("/json/");
    let listing = engine.list(&volume, b"").unwrap();
    assert_eq!(listing.len(), 10_000);
    let last = listing.iter().find(|e| e.name == b"f9999").unwrap();
    assert_eq!(
        engine.version(&volume, b"f9999", last).unwrap(),
        pattern(9999, 1)
    );
    origin.put(
        "/json/f9999",
        &pattern(9999, 2),
        Some("\"other\""),
        Some(LATER),
    );
    assert_eq!(
        engine.version(&volume, b"f9999", last).unwrap_err(),
        Errno::ESTALE
    );
    let html = engine.list(&origin.url("/html/"), b"").unwrap();
    assert_eq!(
        html.iter()
            .map(|e| (e.name.clone(), e.size))
            .collect::<Vec<_>>(),
        [(b"f".to_vec(), None)],
        "h13: no size is invented"
    );
    assert_eq!(
        engine.list(&origin.url("/page/"), b"").unwrap_err(),
        Errno::EBADMSG
    );
    assert_eq!(
        engine.list(&origin.url("/nothing/"), b"").unwrap_err(),
        Errno::ENOENT
    );
}

#[test]
fn a_single_file_is_a_tree_of_one_entry() {
    let origin = Origin::start();
    origin.put("/images/a%20disk.img", b"image", Some("\"v\""), Some(DATE));
    let mut engine = FakeEngine::start(2);
    let volume = origin.url("/images/a%20disk.img");
    assert_eq!(
        engine
            .list(&volume, b"")
            .unwrap()
            .iter()
            .map(|e| e.name.clone())
            .collect::<Vec<_>>(),
        [b"a disk.img".to_vec()]
    );
    assert_eq!(engine.content(&volume, b"a disk.img").unwrap(), b"image");
    assert_eq!(engine.entry(&volume, b"other").unwrap(), None);
}

#[test]
fn a_manifest_is_the_truth_with_links_modes_and_names_of_any_bytes() {
    use std::os::unix::ffi::OsStrExt;
    let tree = tempfile::tempdir().unwrap();
    let odd = std::ffi::OsStr::from_bytes(b"odd\n\xff%");
    std::fs::create_dir(tree.path().join("d")).unwrap();
    std::fs::write(tree.path().join("d").join(odd), b"odd bytes").unwrap();
    std::os::unix::fs::symlink("d/x", tree.path().join("link")).unwrap();
    let time = std::time::UNIX_EPOCH + std::time::Duration::new(784_111_777, 5);
    std::fs::File::open(tree.path().join("d").join(odd))
        .unwrap()
        .set_modified(time)
        .unwrap();
    let written = holdfast_daemon::manifest::write(tree.path()).unwrap();
    assert_eq!(written.names, 3);
    assert_eq!(
        holdfast_daemon::manifest::write(tree.path()).unwrap().names,
        3,
        "it does not list itself"
    );
    let origin = Origin::start();
    origin.put(
        "/t/.holdfast-manifest.jsonl",
        &std::fs::read(&written.path).unwrap(),
        Some("\"m\""),
        None,
    );
    origin.put(
        "/t/d/odd%0A%FF%25",
        b"odd bytes",
        Some("\"any\""),
        Some(DATE),
    );
    let mut engine = FakeEngine::start(2);
    let volume = origin.url("/t/");
    let root: Vec<_> = engine.list(&volume, b"").unwrap();
    assert_eq!(
        root.iter().map(|e| e.name.as_slice()).collect::<Vec<_>>(),
        [&b"d"[..], b"link"]
    );
    assert_eq!(
        root[1].kind,
        EntryKind::Symlink {
            target: b"d/x".to_vec()
        }
    );
    let entry = engine.entry(&volume, b"d/odd\n\xff%").unwrap().unwrap();
    assert_eq!(
        (entry.size, entry.mtime.map(|m| m.ns), entry.mode.is_some()),
        (Some(9), Some(5), true)
    );
    assert_eq!(
        engine.version(&volume, b"d/odd\n\xff%", &entry).unwrap(),
        b"odd bytes"
    );
    assert_eq!(engine.entry(&volume, b"d/none").unwrap(), None);
    assert_eq!(engine.list(&volume, b"none").unwrap_err(), Errno::ENOENT);
    assert_eq!(origin.count(&Method::GET, "/t/.holdfast-manifest.jsonl"), 1);
    origin.put(
        "/t/d/odd%0A%FF%25",
        b"new bytes",
        Some("\"any\""),
        Some(LATER),
    );
    assert_eq!(
        engine
            .version(&volume, b"d/odd\n\xff%", &entry)
            .unwrap_err(),
        Errno::ESTALE
    );
}

#[test]
fn h15_an_origin_that_never_answers_holds_its_worker_only() {
    // Accepts (by its backlog) and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = Origin::start();
    origin.put("/t/f", b"bytes", Some("\"v\""), None);
    let mut engine = FakeEngine::start(2);
    let volume = format!("http://{}/t/", silent.local_addr().unwrap());
    let key = holdfast_proto::key::CookieKey::Data {
        path: holdfast_proto::key::RelativePath::new(b"stuck").unwrap(),
        validator: b"http1:e:8192:\"v\"".to_vec(),
    };
    let object = engine
        .open(&volume, &key, Some(8192), b"http1:e:8192:\"v\"")
        .unwrap();
    engine.send_read(&object, ByteRange::new(0, 8192).unwrap());
    assert_eq!(
        engine.content(&origin.url("/t/"), b"f").unwrap(),
        b"bytes",
        "the other worker serves"
    );
    assert_eq!(engine.credits, 1);
    engine.close(&object);
    engine.credit();
    assert_eq!(engine.credits, 2, "a CLOSE frees the worker");
    let object = engine
        .open(&volume, &key, Some(8192), b"http1:e:8192:\"v\"")
        .unwrap();
    engine.send_read(&object, ByteRange::new(0, 8192).unwrap());
    // The engine dies: the stuck worker is let go of and a new session starts with all credits.
    engine.accept();
    assert_eq!(engine.credits, 2);
    assert_eq!(engine.content(&origin.url("/t/"), b"f").unwrap(), b"bytes");
}
