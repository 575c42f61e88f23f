//! Starting a keeper for a test, looking at it, and leaving nothing behind.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use holdfast_keeper::status::{KeeperStatus, ProcessStatus, query};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tempfile::TempDir;

use crate::child::Seen;
use crate::keeper_process::{RoleSpec, SPEC_VARIABLE, Spec};

/// No test passes or fails by time but at this distance.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A running keeper. On drop everything it started is ended by pid.
pub struct Keeper {
    process: Child,
    /// Children of an earlier keeper that a test killed.
    orphans: Vec<Pid>,
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
            orphans: Vec::new(),
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

    /// Kills the keeper; its children live on until the end of the test.
    pub fn kill_keeper(&mut self) {
        kill_process(self.pid(), Signal::STOP).expect("it lives");
        let stopped = WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(self.pid()), stopped).expect("own child");
        self.orphans.extend(children_of(self.pid()));
        self.process.kill().expect("own child");
        self.wait();
    }

    /// From here on the test itself has ended the orphans.
    pub fn forget_orphans(&mut self) {
        self.orphans.clear();
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

/// Whether a process is dead and not reaped.
pub fn is_zombie(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'))
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // The keeper is stopped first, so that it can neither replace nor reap: its list of children is whole then, and
        // no pid in it can become another's. A child between fork and exec is in the list too.
        let keeper = self.pid();
        let mut left = Vec::new();
        if matches!(self.process.try_wait(), Ok(None)) && kill_process(keeper, Signal::STOP).is_ok()
        {
            let _ = waitid(
                WaitId::Pid(keeper),
                WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT,
            );
            left = children_of(keeper);
        }
        for pid in left {
            let _ = kill_process(pid, Signal::KILL);
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
        for pid in std::mem::take(&mut self.orphans) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// Only the given process is looked at: reading another's memory through /proc (its environment, its command line) can
/// hang when that process is stuck in the kernel.
fn children_of(pid: Pid) -> Vec<Pid> {
    let pid = pid.as_raw_pid();
    let list =
        std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace()
        .filter_map(|child| child.parse().ok().and_then(Pid::from_raw))
        .collect()
}
