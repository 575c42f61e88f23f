//! Where the figures are taken: data, origin, instances; all gone at the end.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use holdfast_demo::origin::{Origin, OriginConfig};
use rustix::fs::{Advice, fadvise, fsync};
use serde_json::Value;
use tempfile::TempDir;

const WIND_DOWN_DEADLINE: Duration = Duration::from_secs(60);
const SMALL_FILES_PER_DIRECTORY: usize = 200;

/// Data and origin.
pub struct Place {
    origin: Origin,
    dir: TempDir,
}

impl Place {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("holdfast-figures-")
            .tempdir()
            .expect("a directory");
        for name in ["served", "run"] {
            std::fs::create_dir(dir.path().join(name)).expect("a directory");
        }
        let private = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(dir.path().join("run"), private).expect("a private directory");
        let origin =
            Origin::start(OriginConfig::new(dir.path().join("served"))).expect("the origin starts");
        Self { origin, dir }
    }

    pub fn big(&self) -> PathBuf {
        self.dir.path().join("served/big")
    }

    pub fn small(&self) -> PathBuf {
        self.dir.path().join("served/small")
    }

    /// Bytes that no file system makes small.
    pub fn write_big(&self, size_bytes: u64) {
        let mut file = File::create(self.big()).expect("a file");
        let mut noise = blake3::Hasher::new().finalize_xof();
        let mut piece = vec![0; 1 << 20];
        for _ in 0..size_bytes >> 20 {
            noise.fill(&mut piece);
            file.write_all(&piece).expect("room on the disk");
        }
        fsync(&file).expect("reaches the disk");
    }

    pub fn write_small(&self, files: usize, size_bytes: usize) {
        let mut noise = blake3::Hasher::new().finalize_xof();
        let mut bytes = vec![0; size_bytes];
        for number in 0..files {
            let directory = self
                .small()
                .join(format!("d{:03}", number / SMALL_FILES_PER_DIRECTORY));
            if number % SMALL_FILES_PER_DIRECTORY == 0 {
                std::fs::create_dir_all(&directory).expect("a directory");
            }
            noise.fill(&mut bytes);
            std::fs::write(directory.join(format!("f{number:05}")), &bytes)
                .expect("room on the disk");
        }
    }

    /// Fetches the big file to the disk.
    pub fn curl_big(&self) {
        let target = self.dir.path().join("fetched");
        let status = Command::new("curl")
            .args(["-sf", "-o"])
            .arg(&target)
            .arg(self.origin.url_of(b"big"))
            .status();
        assert!(status.expect("curl is installed").success());
        std::fs::remove_file(target).expect("it was fetched");
    }

    /// Body bytes that the origin has sent.
    pub fn origin_bytes(&self) -> u64 {
        self.origin.stats().body_bytes()
    }

    /// A mount with an empty cache.
    pub fn mount(&self) -> Instance<'_> {
        for name in ["cache", "mount"] {
            std::fs::create_dir(self.dir.path().join(name)).expect("a directory");
        }
        Instance::start(self)
    }

    fn holdfast(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
        command.env("HOLDFAST_RUN_DIR", self.dir.path().join("run"));
        command
    }

    fn processes(&self) -> Vec<(String, u64)> {
        let output = self
            .holdfast()
            .args(["status", "--json"])
            .output()
            .expect("holdfast runs");
        let status: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let instances = status["instances"].as_array().expect("a list");
        let processes = instances
            .iter()
            .flat_map(|instance| instance["processes"].as_array().expect("a list"));
        processes
            .filter_map(|of| Some((of["role"].as_str()?.to_owned(), of["pid"].as_u64()?)))
            .collect()
    }
}

/// A mount, until dropped.
pub struct Instance<'a> {
    place: &'a Place,
}

impl<'a> Instance<'a> {
    fn start(place: &'a Place) -> Self {
        let mut command = place.holdfast();
        command
            .args(["mount", "--idle-exit", "300ms", "--cache-dir"])
            .arg(place.dir.path().join("cache"));
        command.arg("--log").arg(place.dir.path().join("log"));
        let instance = Self { place };
        command
            .arg(place.origin.url_of(b""))
            .arg(instance.mount_point());
        assert!(command.status().expect("holdfast runs").success());
        instance
    }

    pub fn mount_point(&self) -> PathBuf {
        self.place.dir.path().join("mount")
    }

    /// CPU time of each role so far, in seconds.
    pub fn cpu_seconds(&self) -> BTreeMap<String, f64> {
        let ticks_per_second = rustix::param::clock_ticks_per_second() as f64;
        let mut seconds = BTreeMap::new();
        for (role, pid) in self.place.processes() {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            // proc_pid_stat(5): utime and stime are the 12th and 13th after the name.
            let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
            let ticks: u64 = after
                .split_whitespace()
                .skip(11)
                .take(2)
                .filter_map(|n| n.parse::<u64>().ok())
                .sum();
            *seconds.entry(role).or_insert(0.0) += ticks as f64 / ticks_per_second;
        }
        seconds
    }

    /// Resident memory of each process, in KiB.
    pub fn resident_kib(&self) -> Vec<(String, u64)> {
        let resident = |pid| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            status.lines().find_map(|line| {
                line.strip_prefix("VmRSS:")?
                    .split_whitespace()
                    .next()?
                    .parse()
                    .ok()
            })
        };
        let processes = self.place.processes().into_iter();
        processes
            .filter_map(|(role, pid)| Some((role, resident(pid)?)))
            .collect()
    }

    /// Takes what Holdfast has cached out of the page cache, so that it comes from the disk again.
    pub fn drop_cached(&self) {
        let mut directories = vec![self.place.dir.path().join("cache")];
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(directory).expect("lists") {
                let entry = entry.expect("an entry");
                match entry.file_type().expect("a type") {
                    kind if kind.is_dir() => directories.push(entry.path()),
                    kind if kind.is_file() => entry.path().drop_cached(),
                    _ => {}
                }
            }
        }
    }

    /// Unmounts, waits until all processes have ended, and mounts again with the same cache.
    pub fn mount_again(self) -> Self {
        let place = self.place;
        self.unmount();
        std::mem::forget(self);
        Self::start(place)
    }

    /// Unmounts and takes the cache away.
    pub fn end(self) {
        drop(self);
    }

    fn unmount(&self) {
        let status = self
            .place
            .holdfast()
            .arg("umount")
            .arg(self.mount_point())
            .status();
        assert!(status.expect("holdfast runs").success());
        let began = Instant::now();
        while !self.place.processes().is_empty() {
            assert!(
                began.elapsed() < WIND_DOWN_DEADLINE,
                "the instance does not wind down"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Instance<'_> {
    fn drop(&mut self) {
        self.unmount();
        let directory = self.place.dir.path();
        // Not removed before the end: ext4 gives no inode out again for a minute after its file was removed, and looks
        // at each of them whenever a file is made, so that the next round would measure that.
        let spent = tempfile::Builder::new()
            .prefix("spent-")
            .tempdir_in(directory)
            .expect("a directory")
            .keep();
        std::fs::rename(directory.join("cache"), spent.join("cache")).expect("moves");
        std::fs::remove_dir(directory.join("mount")).expect("goes");
    }
}

/// Something that can be taken out of the page cache.
pub trait Cached {
    fn drop_cached(&self);
}

impl Cached for Path {
    fn drop_cached(&self) {
        let file = File::open(self).expect("opens");
        // Only what is on the disk can be dropped; a read-only mount has nothing to write.
        let _ = fsync(&file);
        fadvise(&file, 0, None, Advice::DontNeed).expect("advice");
    }
}
