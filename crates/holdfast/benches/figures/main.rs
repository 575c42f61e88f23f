//! The figures of Holdfast beside those of the machine it runs on: `cargo bench -p holdfast --bench figures`.
//!
//! Each figure is a median of several rounds, and in each round Holdfast and its measure (ext4 or what the temporary
//! directory is on, curl) take turns, so that a busy machine is busy for both. Needs root (or fusermount3),
//! /dev/fuse, curl, and 8 GiB in the temporary directory. Arguments pick parts by name: `sequential`, `random`,
//! `small`, `stalls`.

mod place;
mod read;

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use place::{Cached as _, Place};
use read::{Total, random_offsets, read_at, read_file, read_tree};

const ROUNDS: usize = 3;
const BIG_BYTES: u64 = 1 << 30;
const SMALL_FILES: usize = 20_000;
const SMALL_BYTES: usize = 4096;
const RANDOM_READS: usize = 2_000;
const GIB: f64 = 1_073_741_824.0;

fn main() {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    let wants = |part: &str| wanted.is_empty() || wanted.iter().any(|w| w == part);
    let place = Place::new();
    if wants("sequential") || wants("random") {
        place.write_big(BIG_BYTES);
    }
    if wants("sequential") {
        sequential(&place);
    }
    if wants("random") {
        random(&place);
    }
    if wants("small") {
        small(&place);
    }
    if wants("stalls") {
        stalls();
    }
}

/// Seconds that `work` took.
fn timed<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let began = Instant::now();
    let result = work();
    (began.elapsed().as_secs_f64(), result)
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn row(what: &str, ours: &str, other: &str, ratio: f64) {
    println!("{what:<44} {ours:>16} {other:>16} {ratio:>7.2}");
}

fn head(title: &str, ours: &str, other: &str) {
    println!("\n{title:<44} {ours:>16} {other:>16} {:>7}", "ratio");
}

/// One GiB from its first byte to its last: cold against curl, warm and hot against the file system below.
fn sequential(place: &Place) {
    let (mut curl, mut cold, mut hot, mut warm) = (vec![], vec![], vec![], vec![]);
    let (mut disk_hot, mut disk_warm, mut cpu) = (vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        curl.push(timed(|| place.curl_big()).0);
        let instance = place.mount();
        let file = instance.mount_point().join("big");
        let (mut seconds, total) = timed(|| read_file(&file));
        assert_eq!(total.bytes, BIG_BYTES);
        cold.push(seconds);
        cpu.push(instance.cpu_seconds());
        hot.push(timed(|| read_file(&file)).0);
        read_file(&place.big());
        disk_hot.push(timed(|| read_file(&place.big())).0);
        // Twice: virtual disks are slow at the first reading of what was just written, which the other file was not.
        for _ in 0..2 {
            instance.drop_cached();
            file.drop_cached();
            seconds = timed(|| read_file(&file)).0;
        }
        warm.push(seconds);
        place.big().drop_cached();
        disk_warm.push(timed(|| read_file(&place.big())).0);
        instance.end();
    }
    head("1 GiB sequential", "Holdfast", "measure");
    let rate = |seconds: &[f64]| format!("{:.0} MB/s", BIG_BYTES as f64 / median(seconds) / 1e6);
    for (what, ours, other) in [
        ("cold, against curl -o", &cold, &curl),
        (
            "warm (page cache dropped), against the disk",
            &warm,
            &disk_warm,
        ),
        ("hot, against the disk", &hot, &disk_hot),
    ] {
        row(
            what,
            &rate(ours),
            &rate(other),
            median(other) / median(ours),
        );
    }
    for role in ["engine", "daemon", "keeper"] {
        let seconds: Vec<f64> = cpu
            .iter()
            .map(|of| of.get(role).copied().unwrap_or(0.0))
            .collect();
        let per_gib = median(&seconds) / (BIG_BYTES as f64 / GIB);
        println!("  CPU of {role}s per GiB cold: {per_gib:.2} s");
    }
}

/// 4 KiB at random places: warm against the disk; and what a cold read costs the origin.
fn random(place: &Place) {
    let (mut warm, mut disk) = (vec![], vec![]);
    let instance = place.mount();
    let file = instance.mount_point().join("big");
    read_file(&file);
    for round in 0..ROUNDS {
        let offsets = random_offsets(round as u64, RANDOM_READS, BIG_BYTES);
        instance.drop_cached();
        file.drop_cached();
        warm.push(timed(|| read_at(&file, &offsets)).0);
        place.big().drop_cached();
        disk.push(timed(|| read_at(&place.big(), &offsets)).0);
    }
    instance.end();
    head("4 KiB random, 1 job", "Holdfast", "measure");
    let rate = |seconds: &[f64]| format!("{:.0}/s", RANDOM_READS as f64 / median(seconds));
    row(
        "warm, against the disk",
        &rate(&warm),
        &rate(&disk),
        median(&disk) / median(&warm),
    );
    let instance = place.mount();
    let file = instance.mount_point().join("big");
    let before = place.origin_bytes();
    let offsets = random_offsets(99, RANDOM_READS / 4, BIG_BYTES);
    let asked = read_at(&file, &offsets).bytes;
    let fetched = place.origin_bytes() - before;
    instance.end();
    println!(
        "  cold: {:.1} bytes fetched per byte asked",
        fetched as f64 / asked as f64
    );
}

/// `find` and reading of many small files; then who needs how much memory.
fn small(place: &Place) {
    place.write_small(SMALL_FILES, SMALL_BYTES);
    let expected = Total {
        files: SMALL_FILES,
        bytes: (SMALL_FILES * SMALL_BYTES) as u64,
    };
    let mut seconds: [Vec<f64>; 4] = Default::default();
    let mut memory = Vec::new();
    let check = |(seconds, total): (f64, Total)| {
        assert_eq!(total, expected);
        seconds
    };
    for _ in 0..ROUNDS {
        let instance = place.mount();
        let tree = instance.mount_point().join("small");
        seconds[0].push(check(timed(|| read_tree(&tree))));
        memory = instance.resident_kib();
        let instance = instance.mount_again();
        seconds[1].push(check(timed(|| read_tree(&tree))));
        seconds[2].push(check(timed(|| read_tree(&tree))));
        instance.end();
        seconds[3].push(check(timed(|| read_tree(&place.small()))));
    }
    let disk = median(&seconds[3]);
    head(
        "20,000 files of 4 KiB, find and read",
        "Holdfast",
        "disk, hot",
    );
    for (what, ours) in ["cold", "warm (mounted anew)", "hot"].iter().zip(&seconds) {
        let ours = median(ours);
        row(
            what,
            &format!("{ours:.2} s"),
            &format!("{disk:.2} s"),
            disk / ours,
        );
    }
    for (role, kib) in memory {
        println!(
            "  resident after the cold one: {role} {:.1} MiB",
            kib as f64 / 1024.0
        );
    }
}

/// The demo's own figures, of its own twenty seconds.
fn stalls() {
    println!("\nholdfast demo");
    let output = Command::new(Path::new(env!("CARGO_BIN_EXE_holdfast")))
        .args(["demo", "--seconds", "20"])
        .output()
        .expect("holdfast runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let told = [
        "kills  ",
        "bytes read",
        "reader stall",
        "read latency",
        "passed",
        "FAILED",
    ];
    for line in text
        .lines()
        .filter(|line| told.iter().any(|label| line.starts_with(label)))
    {
        println!("  {line}");
    }
    assert!(output.status.success(), "the demo failed:\n{text}");
}
