//! An object that never answers holds up nobody but its own readers.

use std::ffi::OsStr;
use std::process::{Command, Stdio};

use crate::origins::{put, serve_plainly};
use crate::readers_blocked::{Readers, blocked, stall, waits};
use crate::support::{Site, can_mount, eventually};

#[test]
fn h08_an_object_that_never_answers_delays_no_other() {
    if !can_mount("h08_an_object_that_never_answers_delays_no_other") {
        return;
    }
    let site = Site::new();
    put(&site, b"stuck", 1, 4 << 20);
    let cached = put(&site, b"cached", 2, 1 << 20);
    let missed = put(&site, b"missed", 3, 1 << 20);
    let origin = serve_plainly(&site);
    site.mount(OsStr::new(&origin.url()), &["--read-ahead", "0"]);
    let mounted = site.mount_point();
    assert!(std::fs::read(mounted.join("cached")).expect("reads") == cached);
    stall(&site, &origin, "stuck");
    let mut readers = Readers::of_blocks(&mounted.join("stuck"), (0..100).map(|n| n * 8));
    eventually("all are blocked", || blocked(&site) == 100);
    // Past the page cache for the hit, so that the engine must answer.
    let hit = Readers::of_blocks(&mounted.join("cached"), 0..4).wait_for_all("hits are answered");
    assert!(hit.iter().all(std::process::ExitStatus::success));
    let miss = Command::new("cmp")
        .arg(mounted.join("missed"))
        .arg(site.source().join("missed"))
        .spawn();
    let miss = Readers(vec![miss.expect("cmp starts")]).wait_for_all("a miss is answered");
    assert!(
        miss.iter().all(std::process::ExitStatus::success),
        "{} bytes",
        missed.len()
    );
    assert_eq!(std::fs::read_dir(&mounted).expect("lists").count(), 3);
    assert!(
        std::fs::metadata(mounted.join("stuck"))
            .expect("stats")
            .is_file()
    );
    assert_eq!(blocked(&site), 100, "and they still wait");
    rustix::mount::unmount(&mounted, rustix::mount::UnmountFlags::DETACH).expect("detaches");
    origin.faults().clear();
    origin.drop_connections();
    let ended = readers.wait_for_all("all are answered");
    assert!(ended.iter().all(std::process::ExitStatus::success));
    eventually("the instance winds down", || site.instances().is_empty());
}

/// The kernel's read-ahead makes background requests, of which it lets only so many wait.
#[test]
fn h08_stuck_background_reads_delay_no_other() {
    if !can_mount("h08_stuck_background_reads_delay_no_other") {
        return;
    }
    let site = Site::new();
    put(&site, b"stuck", 1, 100 * 256 * 1024);
    for (seed, name) in [(2, &b"cached"[..]), (3, b"missed")] {
        put(&site, name, seed, 1 << 20);
    }
    let origin = serve_plainly(&site);
    site.mount(OsStr::new(&origin.url()), &["--read-ahead", "0"]);
    let mounted = site.mount_point();
    let cached = std::fs::File::open(mounted.join("cached")).expect("opens");
    std::fs::read(mounted.join("cached")).expect("reads");
    rustix::fs::fadvise(&cached, 0, None, rustix::fs::Advice::DontNeed).expect("dropped");
    drop(cached);
    stall(&site, &origin, "stuck");
    let spawn = |number: usize| {
        Command::new("dd")
            .arg(format!("if={}", mounted.join("stuck").display()))
            .args(["of=/dev/null", "bs=4096", "count=1"])
            .arg(format!("skip={}", number * 64))
            .stderr(Stdio::null())
            .spawn()
            .expect("dd starts")
    };
    let mut readers = Readers((0..100).map(spawn).collect());
    eventually("all wait", || {
        readers.0.iter().all(|child| waits(child.id()))
    });
    for name in ["cached", "missed"] {
        let cmp = Command::new("cmp")
            .arg(mounted.join(name))
            .arg(site.source().join(name))
            .spawn();
        let ended = Readers(vec![cmp.expect("cmp starts")]).wait_for_all("others are answered");
        assert!(
            ended.iter().all(std::process::ExitStatus::success),
            "{name}"
        );
    }
    let still = readers.0.iter().filter(|child| waits(child.id())).count();
    assert_eq!(still, 100, "and they still wait");
    origin.faults().clear();
    origin.drop_connections();
    let ended = readers.wait_for_all("all are answered");
    assert!(ended.iter().all(std::process::ExitStatus::success));
    site.umount();
}

/// Whichever daemon has the object that never answers, it has others too, and goes on with them.
#[test]
fn h08_files_open_at_the_same_daemon_are_not_delayed() {
    if !can_mount("h08_files_open_at_the_same_daemon_are_not_delayed") {
        return;
    }
    let site = Site::new();
    put(&site, b"stuck", 1, 4 << 20);
    let others = ["a", "b", "c", "d", "e", "f"];
    for name in others {
        put(&site, name.as_bytes(), 2, 1 << 20);
    }
    let origin = serve_plainly(&site);
    site.mount(OsStr::new(&origin.url()), &["--read-ahead", "0"]);
    let mounted = site.mount_point();
    for name in others {
        let first = Readers::of_blocks(&mounted.join(name), 0..1).wait_for_all("opened");
        assert!(first[0].success(), "{name}");
    }
    stall(&site, &origin, "stuck");
    let readers = Readers::of_blocks(&mounted.join("stuck"), (0..100).map(|n| n * 8));
    eventually("all are blocked", || blocked(&site) == 100);
    for name in others {
        let cmp = Command::new("cmp")
            .arg(mounted.join(name))
            .arg(site.source().join(name))
            .spawn();
        let ended = Readers(vec![cmp.expect("cmp starts")]).wait_for_all("others are answered");
        assert!(ended[0].success(), "{name}");
    }
    assert_eq!(blocked(&site), 100, "and they still wait");
    drop(readers);
    eventually("none is blocked", || blocked(&site) == 0);
    site.umount();
}
