//! The engine dies, again and again, and readers do not notice (on kernels with `FUSE_NOTIFY_RESEND`).

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::chaos::{Ordeal, PATIENCE, Verdict, restarts, write_files};
use crate::support::{Site, can_mount, end, eventually, has_program, noise};

const MIB: usize = 1 << 20;

/// Whether a mount here survives its engine. Says so when it does not.
fn survives(test: &str, site: &Site) -> bool {
    let recovery = site.instances()[0]["mounts"][0]["recovery"].clone();
    if recovery != "resend" {
        let _ = writeln!(std::io::stderr(), "skipped: {test}: recovery is {recovery}");
    }
    recovery == "resend"
}

fn engines_die(test: &str, roles: &[&str], deaths: u64) {
    if !can_mount(test) || !has_program(test, "sha256sum") {
        return;
    }
    let site = Site::new();
    let names = write_files(&site.source().join("base"), 3, 32 * MIB + 1);
    site.mount_dir(&[]);
    if !survives(test, &site) {
        return;
    }
    let ordeal = Ordeal {
        site: &site,
        roles,
        deaths,
        pause_max: Duration::from_millis(400),
        patience: PATIENCE,
    };
    let verdict = ordeal.run(&names);
    let Verdict::Unnoticed { deaths, rounds } = verdict else {
        panic!("{verdict:?}\n{}", site.log());
    };
    eprintln!("{deaths} deaths, {rounds} rounds of cold reads");
    eventually("the keeper's own count agrees", || {
        roles.iter().map(|role| restarts(&site, role)).sum::<u64>() >= deaths
    });
    site.umount();
}

#[test]
fn fifty_deaths_of_the_engine_are_not_noticed() {
    engines_die(
        "fifty_deaths_of_the_engine_are_not_noticed",
        &["engine"],
        50,
    );
}

#[test]
fn engine_and_daemons_die_together() {
    engines_die("engine_and_daemons_die_together", &["engine", "daemon"], 90);
}

/// Holds a working directory, an open file, a directory stream's file and a mapping across what its
/// parent does to the engine.
const HOLDER: &str = "
import hashlib, mmap, os, sys
os.chdir(sys.argv[1])
fd = os.open('open', os.O_RDONLY)
with open('mapped', 'rb') as file:
    mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
os.pread(fd, 4096, 0), mapped[0]
print('ready', flush=True)
sys.stdin.readline()
parts = [], mapped[:], open('relative', 'rb').read()
while piece := os.read(fd, 1 << 20):
    parts[0].append(piece)
for whole in b''.join(parts[0]), parts[1], parts[2]:
    print(hashlib.sha256(whole).hexdigest(), flush=True)
";

#[test]
fn h21_numbers_of_files_mean_the_same_after_the_engine_died() {
    let test = "h21_numbers_of_files_mean_the_same_after_the_engine_died";
    if !can_mount(test) || !has_program(test, "python3") || !has_program(test, "sha256sum") {
        return;
    }
    let site = Site::new();
    let held = site.source().join("deep/held");
    std::fs::create_dir_all(&held).expect("a directory");
    for (seed, name) in [(1, "open"), (2, "mapped"), (3, "relative")] {
        std::fs::write(held.join(name), noise(seed, 9 * MIB + 3)).expect("a file");
    }
    let others = write_files(&site.source().join("others"), 200, 5000);
    // Nothing is fetched before it is asked for: what is read after the deaths needs the numbers.
    site.mount_dir(&["--read-ahead", "0"]);
    if !survives(test, &site) {
        return;
    }
    let mut holder = Command::new("python3")
        .args(["-c", HOLDER])
        .arg(site.mount_point().join("deep/held"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 starts");
    let mut lines = BufReader::new(holder.stdout.take().expect("a pipe")).lines();
    assert_eq!(lines.next().expect("a line").expect("text"), "ready");
    for (round, some) in others.chunks(40).enumerate() {
        for pid in site.pids("engine") {
            assert!(end(pid), "round {round}");
        }
        // New numbers are given by each engine: none may be one that is in use.
        for name in some {
            let read = std::fs::read(site.mount_point().join("others").join(name));
            let right = std::fs::read(site.source().join("others").join(name));
            assert!(read.expect("reads") == right.expect("reads"), "{name}");
        }
    }
    let mut stdin = holder.stdin.take().expect("a pipe");
    stdin.write_all(b"go\n").expect("a reader");
    for name in ["open", "mapped", "relative"] {
        let sum = Command::new("sha256sum").arg(held.join(name)).output();
        let sum = String::from_utf8(sum.expect("runs").stdout).expect("text");
        let seen = lines.next().expect("a line").expect("text");
        assert_eq!(seen, sum[..64], "{name}");
    }
    assert!(holder.wait().expect("a child of ours").success());
    site.umount();
}
