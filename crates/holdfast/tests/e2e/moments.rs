//! Daemons that die at a certain moment of a request: holding an OPEN, amid a READ, at a CLOSE.

use crate::chaos::{FrozenKeeper, PATIENCE, Reader, write_files};
use crate::fake::Fake;
use crate::misbehaviour::{Scene, can_run};
use crate::support::{Site, eventually};

/// The first daemon dies at a certain moment of a request; its successor serves it.
fn dies_at(test: &str, mode: &str) {
    if !can_run(test) {
        return;
    }
    let scene = Scene::new();
    let frozen = FrozenKeeper::without_daemons(&scene.site);
    let mut dying = scene.fake(mode);
    let mut reader = Reader::start(&scene.alone[0]);
    eventually("it is dead", || !dying.lives());
    assert_eq!(dying.deeds(), 1);
    assert!(reader.is_reading());
    let successor = scene.fake("behaves");
    assert_eq!(reader.outcome(PATIENCE), scene.right[0]);
    drop(frozen);
    drop(successor);
    scene.site.umount();
}

#[test]
fn a_daemon_dies_holding_an_open() {
    dies_at("a_daemon_dies_holding_an_open", "dies-at-open");
}

#[test]
fn a_daemon_dies_with_half_of_a_read_written() {
    dies_at("a_daemon_dies_with_half_of_a_read_written", "dies-at-read");
}

#[test]
fn a_daemon_dies_between_writing_and_cread() {
    dies_at(
        "a_daemon_dies_between_writing_and_cread",
        "dies-before-cread",
    );
}

/// CLOSE is sent when a session holds too many idle objects; a daemon that dies of it costs nothing.
#[test]
fn a_daemon_dies_at_a_close() {
    if !can_run("a_daemon_dies_at_a_close") {
        return;
    }
    let site = Site::new();
    let names = write_files(&site.source().join("many"), 1100, 4097);
    site.mount_dir(&[]);
    let frozen = FrozenKeeper::without_daemons(&site);
    let mut dying = Fake::start(&site, "dies-at-close");
    let reader = std::process::Command::new("python3")
        .args(["-c", READ_ALL])
        .arg(site.source().join("many"))
        .arg(site.mount_point().join("many"))
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("python3 starts");
    eventually("it is dead", || !dying.lives());
    assert_eq!(dying.deeds(), 1);
    drop(frozen);
    let output = reader.wait_with_output().expect("a child of ours");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        names.len().to_string()
    );
    site.umount();
}

/// Counts files that are equal in two directories.
const READ_ALL: &str = "
import os, sys
a, b = sys.argv[1:]
print(sum(open(os.path.join(a, n), 'rb').read() == open(os.path.join(b, n), 'rb').read() for n in os.listdir(a)))
";
