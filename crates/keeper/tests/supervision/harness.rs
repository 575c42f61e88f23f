//! Starting a keeper for a test, looking at it, and leaving nothing behind.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use holdfast_keeper::status::{KeeperStatus, ProcessStatus, query};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::child::Seen;
use crate::keeper_process::{RoleSpec, SPEC_VARIABLE, Spec};

/// No test passes or fails by time but at this distance.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A running keeper. On drop everything it started is ended by pid.
pub struct Keeper {
    process: Child,
    spec: Spec,
    dir: TempDir,
}

fn start(spec: &Spec, dir: &Path) -> Child {
    let log = OpenOptions::new()
        .append(true)
        .create(true)
        .open(dir.join("log"))
        .expect("log file");
    Command::new(std::env::current_exe().expect("own path"))
        .env(
            SPEC_VARIABLE,
            serde_json::to_string(spec).expect("plain data"),
        )
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("keeper started")
}

impl Keeper {
    pub fn start(roles: Vec<RoleSpec>) -> Keeper {
        Keeper::start_with_grace(roles, Duration::from_secs(20))
    }

    pub fn start_with_grace(roles: Vec<RoleSpec>, stop_grace: Duration) -> Keeper {
        let dir = tempfile::tempdir().expect("temporary directory");
        let spec = Spec {
            run_dir: dir.path().join("run"),
            roles,
            stop_grace_ms: stop_grace.as_millis() as u64,
        };
        Keeper {
            process: start(&spec, dir.path()),
            spec,
            dir,
        }
    }

    /// A second keeper for the same run directory.
    pub fn restart_beside(&self) -> Child {
        start(&self.spec, self.dir.path())
    }

    /// A successor of this keeper, which has ended.
    pub fn replace(&mut self) {
        self.process = start(&self.spec, self.dir.path());
    }

    /// The directory that holds the run directory, `events` and the log.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn run_dir(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.process)
    }

    pub fn status(&self) -> KeeperStatus {
        self.until("the keeper answers", || query(&self.run_dir()).ok())
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// What the children saw so far. A line that is still being written is left out.
    pub fn seen(&self) -> Vec<Seen> {
        let text = std::fs::read_to_string(self.dir.path().join("events")).unwrap_or_default();
        text.split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
            .map(|line| serde_json::from_str(line).expect("one append, one line"))
            .collect()
    }

    /// Waits for `condition`; a test fails here if it never holds.
    #[track_caller]
    pub fn until<T>(&self, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(value) = condition() {
                return value;
            }
            assert!(Instant::now() < end, "in vain: {what}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until slot `index` fulfils `condition`.
    #[track_caller]
    pub fn until_slot(
        &self,
        index: usize,
        what: &str,
        condition: impl Fn(&ProcessStatus) -> bool,
    ) -> ProcessStatus {
        self.until(what, || {
            query(&self.run_dir())
                .ok()?
                .processes
                .get(index)
                .cloned()
                .filter(&condition)
        })
    }

    /// Waits for the keeper's own end.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.process.try_wait().expect("own child") {
                return status;
            }
            assert!(
                Instant::now() < end,
                "the keeper does not end\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Sends a signal to a process of the test.
pub fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid as i32).expect("a pid");
    kill_process(pid, signal).expect("it lives");
}

/// Whether a process is there, zombies included.
pub fn exists(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // First the keeper, so that it replaces nobody; then whoever it left.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let end = Instant::now() + DEADLINE;
        loop {
            let left = living_with(self.dir.path());
            if left.is_empty() || Instant::now() > end {
                break;
            }
            for pid in left {
                let _ = kill_process(pid, Signal::KILL);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Processes that carry the test's directory, whose name is unique, in their environment: children, and children between
/// fork and exec, which still have the keeper's. A zombie has no environment.
fn living_with(dir: &Path) -> Vec<Pid> {
    let marker = dir.as_os_str().as_encoded_bytes();
    let mut pids = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
            .and_then(Pid::from_raw)
        else {
            continue;
        };
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        if environment
            .windows(marker.len())
            .any(|window| window == marker)
        {
            pids.push(pid);
        }
    }
    pids
}
