//! Daemons that misbehave (`fake_daemon.py`): alone, and beside real ones. No reader ever sees wrong bytes.

use std::path::PathBuf;

use crate::chaos::{
    FrozenKeeper, Outcome, PATIENCE, Reader, engine_status, outcomes, paths_in, write_files,
};
use crate::fake::Fake;
use crate::support::{Site, can_mount, eventually, has_program};

const FILE_BYTES: usize = (3 << 20) + 4097;
const FILES: usize = 6;

pub fn can_run(test: &str) -> bool {
    can_mount(test) && has_program(test, "sha256sum") && has_program(test, "python3")
}

/// A mounted site with two sets of files: one is read beside real daemons, one with the fake alone.
pub struct Scene {
    /// Where.
    pub site: Site,
    /// What reads of either set give.
    pub right: Vec<Outcome>,
    /// Read beside real daemons.
    pub beside: Vec<PathBuf>,
    /// Read with the fake alone.
    pub alone: Vec<PathBuf>,
}

impl Scene {
    /// Mounts.
    pub fn new() -> Self {
        let site = Site::new();
        let names = write_files(&site.source().join("beside"), FILES, FILE_BYTES);
        write_files(&site.source().join("alone"), FILES, FILE_BYTES);
        let right = outcomes(&paths_in(&site.source().join("alone"), &names), PATIENCE);
        assert!(right.iter().all(|sum| matches!(sum, Outcome::Sum(_))));
        site.mount_dir(&[]);
        Self {
            right,
            beside: paths_in(&site.mount_point().join("beside"), &names),
            alone: paths_in(&site.mount_point().join("alone"), &names),
            site,
        }
    }

    /// Starts a fake and waits until it is connected.
    pub fn fake(&self, mode: &str) -> Fake {
        let before = self.sessions();
        let fake = Fake::start(&self.site, mode);
        eventually("the fake is connected", || {
            self.sessions().iter().any(|pid| !before.contains(pid))
        });
        fake
    }

    /// The processes behind the engine's sessions. Asks the engine itself: the keeper may be frozen.
    fn sessions(&self) -> Vec<i64> {
        let text = engine_status(&self.site);
        let sessions = text["sessions"].as_array().cloned().unwrap_or_default();
        sessions
            .iter()
            .filter_map(|session| session["pid"].as_i64())
            .collect()
    }
}

/// Every reader gets the right bytes, beside real daemons and with the fake alone.
fn is_harmless(test: &str, mode: &str) {
    if !can_run(test) {
        return;
    }
    let scene = Scene::new();
    let fake = scene.fake(mode);
    assert_eq!(
        outcomes(&scene.beside, PATIENCE),
        scene.right,
        "beside real daemons"
    );
    let frozen = FrozenKeeper::without_daemons(&scene.site);
    let before = fake.deeds();
    assert_eq!(outcomes(&scene.alone, PATIENCE), scene.right, "alone");
    assert!(
        fake.deeds() > before,
        "it did not misbehave: nothing is proved"
    );
    drop(frozen);
    drop(fake);
    scene.site.umount();
}

macro_rules! harmless {
    ($($name:ident: $mode:literal;)*) => {
        $(#[test]
        fn $name() {
            is_harmless(stringify!($name), $mode);
        })*
    };
}

harmless! {
    n3_a_live_daemon_closes_the_descriptor_after_every_read: "lease-after-read";
    a_daemon_says_garbage: "garbage";
    a_daemon_sends_commands_of_4_kib: "long-commands";
    a_daemon_answers_with_the_wrong_id: "wrong-id";
    a_daemon_answers_twice: "twice";
    a_daemon_answers_on_the_descriptors_of_other_objects: "other-lease";
    a_daemon_announces_bytes_beyond_the_end: "beyond-end";
    h16_a_daemon_closes_the_descriptor_instead_of_answering_open: "lease-instead-of-copen";
    a_daemon_restores_without_need: "restores";
}

/// A daemon that lies: right bytes or an error, never wrong bytes; alone always an error; and right bytes
/// when it is gone.
fn is_never_believed(test: &str, mode: &str) {
    if !can_run(test) {
        return;
    }
    let scene = Scene::new();
    let fake = scene.fake(mode);
    for (seen, right) in outcomes(&scene.beside, PATIENCE).iter().zip(&scene.right) {
        let error = matches!(seen, Outcome::Failed(_));
        assert!(error || seen == right, "beside real daemons: {seen:?}");
    }
    let frozen = FrozenKeeper::without_daemons(&scene.site);
    let before = fake.deeds();
    for seen in outcomes(&scene.alone, PATIENCE) {
        assert!(matches!(seen, Outcome::Failed(_)), "alone: {seen:?}");
    }
    assert!(fake.deeds() > before, "it did not lie: nothing is proved");
    drop(fake);
    drop(frozen);
    assert_eq!(outcomes(&scene.beside, PATIENCE), scene.right, "after it");
    assert_eq!(outcomes(&scene.alone, PATIENCE), scene.right, "after it");
    scene.site.umount();
}

#[test]
fn a_daemon_says_that_it_wrote_what_it_did_not() {
    is_never_believed("a_daemon_says_that_it_wrote_what_it_did_not", "unwritten");
}

#[test]
fn a_daemon_says_a_wrong_size() {
    is_never_believed("a_daemon_says_a_wrong_size", "wrong-size");
}

#[test]
fn a_daemon_that_connects_and_says_nothing_is_handed_nothing() {
    if !can_run("a_daemon_that_connects_and_says_nothing_is_handed_nothing") {
        return;
    }
    let scene = Scene::new();
    let mut fake = scene.fake("silent");
    assert_eq!(outcomes(&scene.beside, PATIENCE), scene.right);
    assert!(fake.lives());
    drop(fake);
    scene.site.umount();
}

/// It may own what was sent to it, but holds up nothing else, and its death gives everything back.
#[test]
fn h15_a_daemon_that_never_reads_its_socket_blocks_nobody_for_longer_than_it_lives() {
    let test = "h15_a_daemon_that_never_reads_its_socket_blocks_nobody_for_longer_than_it_lives";
    if !can_run(test) {
        return;
    }
    let scene = Scene::new();
    assert_eq!(outcomes(&scene.alone, PATIENCE), scene.right);
    let fake = scene.fake("deaf");
    let readers: Vec<Reader> = scene
        .beside
        .iter()
        .map(|path| Reader::start(path))
        .collect();
    assert_eq!(outcomes(&scene.alone, PATIENCE), scene.right, "hits");
    drop(fake);
    let seen: Vec<_> = readers
        .into_iter()
        .map(|reader| reader.outcome(PATIENCE))
        .collect();
    assert_eq!(seen, scene.right);
    scene.site.umount();
}

/// Seed: the session outlives its first process, and `restore` brings back what that one had in hand.
#[test]
fn a_session_handed_to_a_successor_goes_on_after_restore() {
    if !can_run("a_session_handed_to_a_successor_goes_on_after_restore") {
        return;
    }
    let scene = Scene::new();
    let frozen = FrozenKeeper::without_daemons(&scene.site);
    let fake = scene.fake("hands-over");
    assert_eq!(outcomes(&scene.alone, PATIENCE), scene.right);
    assert_eq!(fake.deeds(), 1);
    assert_eq!(scene.sessions(), [i64::from(fake.pid())]);
    drop(frozen);
    drop(fake);
    scene.site.umount();
}

/// The example daemon alone serves a whole tree.
#[test]
fn the_example_daemon_serves_a_tree() {
    if !can_run("the_example_daemon_serves_a_tree")
        || !has_program("the_example_daemon_serves_a_tree", "diff")
    {
        return;
    }
    let site = Site::new();
    let deep = site.source().join("a").join("b c").join("d\ne");
    write_files(&deep, 3, 1_000_003);
    std::fs::create_dir(site.source().join("empty")).expect("a directory");
    std::fs::write(site.source().join("zero"), b"").expect("a file");
    std::os::unix::fs::symlink("a/b c", site.source().join("link")).expect("a link");
    site.mount_dir(&[]);
    let frozen = FrozenKeeper::without_daemons(&site);
    let mut child = std::process::Command::new("python3")
        .arg("-B")
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../examples/daemon.py"
        ))
        .arg("--socket")
        .arg(site.run_dir().join("device.sock"))
        .arg("--root")
        .arg(site.source())
        .spawn()
        .expect("python3 starts");
    let output = std::process::Command::new("timeout")
        .args(["60", "diff", "-r", "--no-dereference"])
        .arg(site.source())
        .arg(site.mount_point())
        .output()
        .expect("diff runs");
    let alive = child.try_wait().expect("a child of ours").is_none();
    let _ = child.kill();
    let _ = child.wait();
    drop(frozen);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    assert!(alive);
    site.umount();
}
