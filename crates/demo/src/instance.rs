//! An instance of Holdfast as the demo sees it: commands of the program `holdfast`, a mount, processes.
//!
//! Invariant: the instances of a run have their run root and caches inside the run's temporary directory. So every process of
//! theirs can be told by its command line, which names it, whatever has died or was restarted; and no other instance is touched.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::Deserialize;

use crate::command::{self, CommandError, NEVER};
use crate::workspace::Workspace;

/// Mounting includes starting all processes, on a machine that may be busy.
const MOUNT_DEADLINE: Duration = Duration::from_secs(90);
const UMOUNT_DEADLINE: Duration = Duration::from_secs(20);
const STATUS_DEADLINE: Duration = Duration::from_secs(10);
const MANIFEST_DEADLINE: Duration = Duration::from_secs(600);
/// How long an instance without mounts has to end by itself.
const WIND_DOWN_DEADLINE: Duration = Duration::from_secs(20);
/// What it is told to wait for another mount.
const IDLE_EXIT: &str = "300ms";

/// Why the demo could not use an instance as a user would.
#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    /// A command of the program failed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The system did not let the demo do its own part.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why it did not work.
        source: io::Error,
    },
    /// Processes were still there long after the last mount had gone, and were killed.
    #[error("{count} processes did not end by themselves after the unmount and were killed")]
    Lingering {
        /// How many.
        count: usize,
    },
    /// Something is still mounted after everything was tried.
    #[error("cannot unmount {}", .0.display())]
    StillMounted(PathBuf),
}

/// The program, and where its instances are to live.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub binary: PathBuf,
    pub run_root: PathBuf,
    pub log: PathBuf,
    pub daemons: u16,
    /// Set when the user wants to go: commands that may be given up then are.
    pub interrupted: Arc<AtomicBool>,
}

/// A mount with a cache of its own; unmounted and cleaned up when dropped, if [`Instance::end`] has not done it.
#[derive(Debug)]
pub(crate) struct Instance {
    program: Program,
    directory: PathBuf,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Started,
    Ended,
}

#[derive(Deserialize)]
struct StatusDocument {
    instances: Vec<InstanceStatus>,
}

#[derive(Deserialize)]
struct InstanceStatus {
    processes: Vec<ProcessStatus>,
}

#[derive(Deserialize)]
struct ProcessStatus {
    role: String,
    pid: Option<i32>,
}

impl Program {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command.env("HOLDFAST_RUN_DIR", &self.run_root);
        command
    }

    /// Writes the manifest of a directory into it, where mounts look for it.
    pub fn write_manifest(&self, directory: &Path) -> Result<(), InstanceError> {
        command::run(
            self.command().arg("manifest").arg(directory),
            MANIFEST_DEADLINE,
            &self.interrupted,
        )?;
        Ok(())
    }

    /// Pids of live daemons, from `holdfast status --json`; none while there is no answer.
    pub fn daemons(&self) -> Vec<Pid> {
        let Ok(json) = command::run(
            self.command().args(["status", "--json"]),
            STATUS_DEADLINE,
            &NEVER,
        ) else {
            return Vec::new();
        };
        daemons_in(&json)
    }

    /// Mounts `source` on an instance of its own, with an empty cache. `number` makes its directory unique.
    pub fn start(
        &self,
        workspace: &Workspace,
        source: &str,
        number: u64,
    ) -> Result<Instance, InstanceError> {
        let directory = workspace.path().join(format!("pass-{number}"));
        let instance = Instance {
            program: self.clone(),
            directory,
            state: State::Started,
        };
        for part in [
            instance.directory.clone(),
            instance.mount(),
            instance.cache(),
        ] {
            std::fs::create_dir(part).map_err(|source| InstanceError::System {
                what: "cannot make a directory",
                source,
            })?;
        }
        let mut command = self.command();
        command.args(["mount", "--on-outage", "wait", "--idle-exit", IDLE_EXIT]);
        command.arg("--daemons").arg(self.daemons.to_string());
        command
            .arg("--log")
            .arg(&self.log)
            .arg("--cache-dir")
            .arg(instance.cache());
        command.arg(source).arg(instance.mount());
        command::run(&mut command, MOUNT_DEADLINE, &self.interrupted)?;
        Ok(instance)
    }

    /// Live processes of the instances in our temporary directory, with pidfds opened before they were identified.
    fn processes(&self) -> Vec<OwnedFd> {
        let Ok(entries) = std::fs::read_dir("/proc") else {
            return Vec::new();
        };
        let pids = entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter_map(Pid::from_raw);
        let ours = pids
            .filter(|pid| *pid != rustix::process::getpid())
            .filter_map(|pid| {
                let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
                // The name first: reading the arguments of any process waits for its memory's lock, which a process that is stuck in a
                // page fault of some mount can hold. It also spares somebody who looks at our log.
                if !is_holdfast(pid) {
                    return None;
                }
                let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
                // Not only the run root: a process that is just being started still has its starter's arguments.
                let root = self
                    .run_root
                    .parent()
                    .unwrap_or(&self.run_root)
                    .as_os_str()
                    .as_bytes();
                arguments
                    .windows(root.len())
                    .any(|window| window == root)
                    .then_some(pidfd)
            });
        ours.collect()
    }

    /// Kills every process of instances in our temporary directory, until none is left; gives how many were killed.
    pub fn kill_all(&self) -> usize {
        let mut killed = 0;
        // The keeper restarts what dies before it: a few rounds.
        for _ in 0..200 {
            let processes = self.processes();
            if processes.is_empty() {
                break;
            }
            killed += processes
                .iter()
                .filter(|pidfd| pidfd_send_signal(pidfd, Signal::KILL).is_ok())
                .count();
            std::thread::sleep(Duration::from_millis(10));
        }
        killed
    }
}

impl Instance {
    /// Where the source can be read.
    pub fn mount(&self) -> PathBuf {
        self.directory.join("mount")
    }

    fn cache(&self) -> PathBuf {
        self.directory.join("cache")
    }

    /// Unmounts, waits until the instance has wound down, and removes its cache.
    pub fn end(mut self) -> Result<(), InstanceError> {
        self.state = State::Ended;
        let mut umount = self.program.command();
        let unmounted = command::run(
            umount.arg("umount").arg(self.mount()),
            UMOUNT_DEADLINE,
            &NEVER,
        );
        let wound_down = self.wait_for_wind_down();
        self.force_end()?;
        unmounted?;
        wound_down
    }

    fn wait_for_wind_down(&self) -> Result<(), InstanceError> {
        let started = Instant::now();
        loop {
            let count = self.program.processes().len();
            if count == 0 {
                return Ok(());
            }
            if started.elapsed() > WIND_DOWN_DEADLINE {
                return Err(InstanceError::Lingering { count });
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends it whatever state it is in: kills what lives (which ends the FUSE connection, so that no reader hangs), detaches the
    /// mount, removes its files.
    fn force_end(&mut self) -> Result<(), InstanceError> {
        self.state = State::Ended;
        self.program.kill_all();
        let mount = self.mount();
        // Lazily, as users may still be there; once per mount that lies there.
        for _ in 0..10 {
            if !is_mount_point(&mount) {
                break;
            }
            if unmount(&mount, UnmountFlags::DETACH).is_err() {
                // Without root: the helper. Whether it worked is seen by the next look.
                let mut helper = Command::new("fusermount3");
                let _ = command::run(helper.arg("-uz").arg(&mount), UMOUNT_DEADLINE, &NEVER);
            }
        }
        if is_mount_point(&mount) {
            return Err(InstanceError::StillMounted(mount));
        }
        match std::fs::remove_dir_all(&self.directory) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(InstanceError::System {
                what: "cannot remove a cache",
                source,
            }),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if self.state == State::Started
            && let Err(error) = self.force_end()
        {
            eprintln!("holdfast demo: {error}");
        }
    }
}

/// Whether a pid now belongs to a process with a name of ours (`holdfast…`, as prctl(PR_SET_NAME) or exec set it).
pub(crate) fn is_holdfast(pid: Pid) -> bool {
    std::fs::read(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with(b"holdfast"))
}

fn daemons_in(json: &[u8]) -> Vec<Pid> {
    let Ok(document) = serde_json::from_slice::<StatusDocument>(json) else {
        return Vec::new();
    };
    let processes = document
        .instances
        .into_iter()
        .flat_map(|instance| instance.processes);
    processes
        .filter(|process| process.role == "daemon")
        .filter_map(|process| Pid::from_raw(process.pid?))
        .collect()
}

/// Looks into the mount table (proc_pid_mountinfo(5)): asking the directory itself could hang.
fn is_mount_point(directory: &Path) -> bool {
    let Ok(table) = std::fs::read("/proc/self/mountinfo") else {
        return false;
    };
    let mut points = table
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
    points.any(|point| unescape(point) == directory)
}

/// Undoes the octal escapes of the mount table.
fn unescape(escaped: &[u8]) -> PathBuf {
    let mut plain = Vec::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after
            .get(..3)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(value) if byte == b'\\' => {
                plain.push(value);
                rest = &after[3..];
            }
            Some(_) | None => {
                plain.push(byte);
                rest = after;
            }
        }
    }
    PathBuf::from(OsString::from_vec(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_live_daemons_are_taken_from_the_status() {
        let json = br#"{"instances":[{"id":"x","processes":[{"role":"keeper","pid":7,"restarts":0},
            {"role":"daemon","pid":8,"restarts":1},{"role":"daemon","pid":null},{"role":"engine","pid":9}]},
            {"processes":[{"role":"daemon","pid":10}]}]}"#;
        let pids: Vec<i32> = daemons_in(json).into_iter().map(Pid::as_raw_pid).collect();
        assert_eq!(pids, [8, 10]);
        assert!(daemons_in(b"no json").is_empty());
    }

    #[test]
    fn the_mount_table_is_understood() {
        assert!(is_mount_point(Path::new("/proc")));
        assert!(!is_mount_point(Path::new("/proc/self")));
        assert_eq!(unescape(br"/a\040b\134c\012"), Path::new("/a b\\c\n"));
    }

    #[test]
    fn processes_are_found_by_the_run_root_in_their_arguments_and_killed() {
        let directory = tempfile::tempdir().unwrap();
        let run_root = directory.path().join("run");
        let program = Program {
            binary: "false".into(),
            run_root: run_root.clone(),
            log: "log".into(),
            daemons: 1,
            interrupted: Arc::default(),
        };
        assert_eq!(program.kill_all(), 0);
        let named = directory.path().join("holdfast-test");
        std::os::unix::fs::symlink("/bin/sh", &named).unwrap();
        let mut child = Command::new(&named)
            .args(["-c", "read line"])
            .stdin(std::process::Stdio::piped())
            .arg(&run_root)
            .spawn()
            .unwrap();
        let status = loop {
            program.kill_all();
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
        };
        use std::os::unix::process::ExitStatusExt as _;
        assert_eq!(status.signal(), Some(9));
    }
}
