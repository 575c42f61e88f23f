//! What is cached stays; what changes at the origin is never blended; what the origin does wrong is
//! an error or a wait, never a wrong byte.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use holdfast_demo::origin::{Fault, FaultRule, IndexStyle, Origin, Scope};
use rustix::io::Errno;

use crate::origins::{Depth, assert_same, facts, plant, put, serve, serve_plainly};
use crate::support::{Site, can_mount, eventually};

/// Body bytes of files (not of listings) since the last reset.
fn file_bytes_served(origin: &Origin) -> u64 {
    let paths = origin.stats().paths();
    let files = paths
        .iter()
        .filter(|(path, _)| !path.is_empty() && !path.ends_with(b"/"));
    let known = files.filter(|(path, _)| !path.starts_with(b".holdfast-manifest"));
    known.map(|(_, stats)| stats.body_bytes).sum()
}

fn a_second_mount(test: &str, index: IndexStyle) {
    if !can_mount(test) {
        return;
    }
    let site = Site::new();
    plant(&site.source());
    let origin = serve(&site, |config| config.index = index);
    site.mount(OsStr::new(&origin.url()), &[]);
    facts(&site.mount_point(), Depth::Content);
    site.umount();
    assert!(file_bytes_served(&origin) > 1_000_000);
    origin.stats().reset();
    site.mount(OsStr::new(&origin.url()), &[]);
    assert_same(&site.source(), &site.mount_point(), Depth::Content);
    site.umount();
    assert_eq!(
        file_bytes_served(&origin),
        0,
        "{:?}",
        origin.stats().paths()
    );
    origin.refuse_connections();
    site.mount(OsStr::new(&origin.url()), &[]);
    assert_same(&site.source(), &site.mount_point(), Depth::Content);
    site.umount();
}

#[test]
fn a_second_mount_fetches_nothing_and_needs_no_origin() {
    a_second_mount(
        "a_second_mount_fetches_nothing_and_needs_no_origin",
        IndexStyle::NginxJson,
    );
}

#[test]
fn h13_a_second_mount_needs_no_origin_though_its_index_rounds() {
    a_second_mount(
        "h13_a_second_mount_needs_no_origin_though_its_index_rounds",
        IndexStyle::ApacheHtml,
    );
}

fn errno_of<T>(result: io::Result<T>) -> Option<Errno> {
    result.err().and_then(|error| Errno::from_io_error(&error))
}

#[test]
fn h04_a_file_that_changes_under_its_reader_is_never_a_blend() {
    if !can_mount("h04_a_file_that_changes_under_its_reader_is_never_a_blend") {
        return;
    }
    let site = Site::new();
    let old = put(&site, b"changing file", 1, 6 << 20);
    let new: Vec<u8> = old.iter().map(|byte| byte ^ 0x55).collect();
    let origin = serve_plainly(&site);
    site.mount(OsStr::new(&origin.url()), &["--read-ahead", "0"]);
    let path = site.mount_point().join("changing file");
    let file = File::open(&path).expect("opens");
    let mut seen = vec![0; 1 << 20];
    file.read_exact_at(&mut seen, 0).expect("reads");
    assert!(seen == old[..1 << 20]);
    origin.faults().change_content(b"changing file", 0x55);
    let errno = errno_of(file.read_exact_at(&mut seen, 4 << 20));
    assert!(matches!(errno, Some(Errno::STALE | Errno::IO)), "{errno:?}");
    file.read_exact_at(&mut seen, 0)
        .expect("what is cached still reads");
    assert!(seen == old[..1 << 20]);
    let log = site.log();
    let told = |line: &str| line.contains("ERROR") && line.contains("changing file");
    assert!(log.lines().any(told), "no line names the file:\n{log}");
    assert!(std::fs::read(&path).expect("a fresh open") == new);
    file.read_exact_at(&mut seen, 0)
        .expect("the old reader keeps the old version");
    assert!(seen == old[..1 << 20]);
    drop(file);
    site.umount();
}

/// Reads under a fault: an error, or the right bytes; then, without it, the right bytes.
fn survives(fault: Fault, expected: &[Errno]) {
    let site = Site::new();
    let bytes = put(&site, b"file", 1, 400_007);
    let origin = serve_plainly(&site);
    // Names are believed but for a moment: one that was gone is to be seen again when it is back.
    let options = ["--on-outage", "eio:1s", "--metadata-ttl", "1s"];
    site.mount(OsStr::new(&origin.url()), &options);
    let path = site.mount_point().join("file");
    // Looked up before, so that it is the READ that meets the fault.
    assert_eq!(std::fs::metadata(&path).expect("stats").len(), 400_007);
    let rule = FaultRule::always(fault.clone()).on(Scope::Path(b"file".to_vec()));
    origin.faults().add(rule);
    match std::fs::read(&path) {
        Ok(seen) => assert!(expected.is_empty() && seen == bytes, "{fault:?}: reads"),
        Err(error) => {
            let errno = Errno::from_io_error(&error);
            let known = errno.is_some_and(|errno| expected.is_empty() || expected.contains(&errno));
            assert!(known, "{fault:?}: {error}");
        }
    }
    origin.faults().clear();
    eventually(
        &format!("it reads when {fault:?} is over"),
        || match std::fs::read(&path) {
            Ok(seen) => {
                assert!(seen == bytes, "{fault:?}: wrong bytes");
                true
            }
            Err(_) => false,
        },
    );
    site.umount();
}

#[test]
fn an_origin_that_lies_about_lengths_and_ranges_gives_no_wrong_byte() {
    if !can_mount("an_origin_that_lies_about_lengths_and_ranges_gives_no_wrong_byte") {
        return;
    }
    for delta_bytes in [10, -10, -400_007] {
        survives(Fault::ContentLengthOffBy { delta_bytes }, &[]);
    }
    for delta_bytes in [1, 4096] {
        survives(Fault::RangeOffBy { delta_bytes }, &[Errno::IO]);
    }
    survives(
        Fault::DropInBody {
            after_bytes: 100_000,
        },
        &[],
    );
}

#[test]
fn errors_of_the_origin_become_the_errno_that_fits() {
    if !can_mount("errors_of_the_origin_become_the_errno_that_fits") {
        return;
    }
    let table: [(u16, &[Errno]); 5] = [
        (404, &[Errno::NOENT, Errno::STALE]),
        (403, &[Errno::ACCESS]),
        (401, &[Errno::ACCESS]),
        (500, &[Errno::IO]),
        (503, &[Errno::IO]),
    ];
    for (code, expected) in table {
        survives(Fault::Status { code }, expected);
    }
}

fn blocked(site: &Site) -> u64 {
    let sum = |instance: &serde_json::Value| instance["readers"]["blocked"].as_u64();
    site.instances().iter().filter_map(sum).sum()
}

/// Reads `path` on a thread while `during` runs; its bytes.
fn read_during(path: &Path, during: impl FnOnce()) -> Vec<u8> {
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| std::fs::read(path).expect("reads in the end"));
        during();
        reader.join().expect("the reader")
    })
}

#[test]
fn readers_wait_for_an_origin_that_is_away() {
    if !can_mount("readers_wait_for_an_origin_that_is_away") {
        return;
    }
    let site = Site::new();
    let first = put(&site, b"first", 1, 500_000);
    let second = put(&site, b"second", 2, 500_000);
    let third = put(&site, b"third", 3, 500_000);
    let origin = serve_plainly(&site);
    site.mount(OsStr::new(&origin.url()), &[]);
    let mounted = site.mount_point();
    assert!(std::fs::read(mounted.join("first")).expect("reads") == first);
    origin.refuse_connections();
    let seen = read_during(&mounted.join("second"), || {
        eventually("the reader waits", || blocked(&site) > 0);
        assert!(std::fs::read(mounted.join("first")).expect("cached") == first);
        origin.accept_connections();
    });
    assert!(seen == second);
    let busy = origin
        .faults()
        .add(FaultRule::always(Fault::Status { code: 503 }));
    let seen = read_during(&mounted.join("third"), || {
        eventually("the reader waits", || blocked(&site) > 0);
        origin.faults().remove(busy);
    });
    assert!(seen == third);
    site.umount();
}

#[test]
fn readers_get_eio_when_an_outage_is_older_than_they_said() {
    if !can_mount("readers_get_eio_when_an_outage_is_older_than_they_said") {
        return;
    }
    let site = Site::new();
    let first = put(&site, b"first", 1, 500_000);
    let second = put(&site, b"second", 2, 500_000);
    let origin = serve_plainly(&site);
    site.mount(OsStr::new(&origin.url()), &["--on-outage", "eio:2s"]);
    let mounted = site.mount_point();
    assert!(std::fs::read(mounted.join("first")).expect("reads") == first);
    origin.refuse_connections();
    assert_eq!(
        errno_of(std::fs::read(mounted.join("second"))),
        Some(Errno::IO)
    );
    assert!(std::fs::read(mounted.join("first")).expect("cached") == first);
    origin.accept_connections();
    eventually("it reads when the origin is back", || {
        std::fs::read(mounted.join("second")).is_ok_and(|seen| seen == second)
    });
    site.umount();
}
