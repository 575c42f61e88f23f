//! A place for one test: a source, a cache, a run directory and a mount point of its own, and the
//! certainty that nothing is left when it ends, however it ends.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::Value;
use tempfile::TempDir;

/// Nothing here takes this long; a test that waits longer has found a hang.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Whether file systems can be mounted here. Says which test is skipped, and why, when not.
pub fn can_mount(test: &str) -> bool {
    let reason = if !rustix::process::geteuid().is_root() {
        "not root"
    } else if !Path::new("/dev/fuse").exists() {
        "no /dev/fuse"
    } else {
        return true;
    };
    // Past the harness's capture, so that it is seen in every run.
    let _ = writeln!(std::io::stderr(), "skipped: {test}: {reason}");
    false
}

/// Whether `program` is installed. Says which test is skipped when not.
pub fn has_program(test: &str, program: &str) -> bool {
    let dirs = ["/usr/bin", "/usr/sbin", "/bin", "/sbin", "/usr/local/bin"];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .chain(dirs.iter().map(PathBuf::from))
        .any(|dir| dir.join(program).is_file());
    if !found {
        let _ = writeln!(std::io::stderr(), "skipped: {test}: no {program}");
    }
    found
}

/// See the module.
pub struct Site {
    dir: TempDir,
}

impl Site {
    /// Fresh directories.
    pub fn new() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("holdfast-test-")
            .tempdir()
            .expect("a temporary directory");
        for name in ["source", "cache", "run", "mount"] {
            std::fs::create_dir(dir.path().join(name)).expect("a directory");
        }
        let private = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(dir.path().join("run"), private).expect("a private directory");
        Self { dir }
    }

    /// A directory that tests may serve.
    pub fn source(&self) -> PathBuf {
        self.dir.path().join("source")
    }

    /// The cache directory.
    pub fn cache(&self) -> PathBuf {
        self.dir.path().join("cache")
    }

    /// The mount point.
    pub fn mount_point(&self) -> PathBuf {
        self.dir.path().join("mount")
    }

    /// The log of all processes.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.dir.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Any other path within the site.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The run directory of the site's only instance.
    pub fn run_dir(&self) -> PathBuf {
        std::fs::read_dir(self.path("run"))
            .expect("the run root")
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .find(|path| path.join("device.sock").exists())
            .expect("a running instance")
    }

    /// The program under test, told to keep to this site.
    pub fn holdfast(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
        command.env("HOLDFAST_RUN_DIR", self.path("run"));
        command
    }

    /// Mounts the `dir:` source of the site.
    pub fn mount_dir(&self, options: &[&str]) {
        let mut source = std::ffi::OsString::from("dir:");
        source.push(self.source());
        self.mount(&source, options);
    }

    /// Mounts `source` with further options; panics with the log when that fails.
    pub fn mount(&self, source: &OsStr, options: &[&str]) {
        let output = self.try_mount(source, options);
        assert!(
            output.status.success(),
            "holdfast mount: {}\n{}",
            String::from_utf8_lossy(&output.stderr),
            self.log()
        );
    }

    /// Runs `holdfast mount`.
    pub fn try_mount(&self, source: &OsStr, options: &[&str]) -> Output {
        self.mount_command(source, &self.mount_point(), options)
            .output()
            .expect("holdfast runs")
    }

    /// `holdfast mount`, not run yet. A mount point besides [`Site::mount_point`] is to be a
    /// directory of the site whose name begins with `mount`: those are cleaned up.
    pub fn mount_command(&self, source: &OsStr, dir: &Path, options: &[&str]) -> Command {
        let mut command = self.holdfast();
        command
            .args(["mount", "--idle-exit", "1s", "--cache-dir"])
            .arg(self.cache())
            .arg("--log")
            .arg(self.path("log"))
            .args(options)
            .arg(source)
            .arg(dir);
        command
    }

    /// Unmounts and waits until the instance has wound down.
    pub fn umount(&self) {
        let output = self
            .holdfast()
            .arg("umount")
            .arg(self.mount_point())
            .output();
        let output = output.expect("holdfast runs");
        assert!(
            output.status.success(),
            "holdfast umount: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        eventually("the instance winds down", || self.instances().is_empty());
    }

    /// `holdfast status --json`, parsed.
    pub fn status(&self) -> Value {
        let output = self.holdfast().args(["status", "--json"]).output();
        let output = output.expect("holdfast runs");
        serde_json::from_slice(&output.stdout).expect("status prints JSON")
    }

    /// The instances of this site.
    pub fn instances(&self) -> Vec<Value> {
        let status = self.status();
        status["instances"].as_array().cloned().unwrap_or_default()
    }

    /// The process numbers of a role (`keeper`, `engine`, `daemon`).
    pub fn pids(&self, role: &str) -> Vec<Pid> {
        self.instances()
            .iter()
            .flat_map(|instance| {
                instance["processes"]
                    .as_array()
                    .cloned()
                    .unwrap_or_default()
            })
            .filter(|process| process["role"] == role)
            .filter_map(|process| Pid::from_raw(i32::try_from(process["pid"].as_i64()?).ok()?))
            .collect()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let roles = ["keeper", "engine", "daemon"];
        let pids: Vec<Pid> = roles.iter().flat_map(|role| self.pids(role)).collect();
        // By name, not by what is a directory: nothing may be asked of a dead mount.
        let entries = std::fs::read_dir(self.dir.path()).into_iter().flatten();
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            if path
                .file_name()
                .is_some_and(|name| name.as_encoded_bytes().starts_with(b"mount"))
            {
                let _ = rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH);
            }
        }
        // The keeper first: nobody is restarted then.
        for pid in pids {
            let _ = end(pid);
        }
    }
}

/// Kills a process of ours by its pidfd and waits for its death; false when it was dead already.
pub fn end(pid: Pid) -> bool {
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else {
        return false;
    };
    let name = std::fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_nonzero()));
    if !name.is_ok_and(|name| name.starts_with("holdfast")) {
        return false;
    }
    if pidfd_send_signal(&pidfd, Signal::KILL).is_err() {
        return false;
    }
    let mut fds = [rustix::event::PollFd::new(
        &pidfd,
        rustix::event::PollFlags::IN,
    )];
    let timeout = rustix::event::Timespec {
        tv_sec: 10,
        tv_nsec: 0,
    };
    rustix::event::poll(&mut fds, Some(&timeout)).is_ok_and(|ready| ready > 0)
}

/// Waits until `holds`; panics after [`DEADLINE`].
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < DEADLINE, "still not so: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Bytes that differ everywhere and depend on `seed`.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    let mut bytes = vec![0; len];
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}
