//! From a role's configuration to a running child with its pidfd.

use std::collections::BTreeMap;
use std::ffi::{CString, NulError, OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitIdStatus, WaitOptions, kill_process,
    pidfd_open, pidfd_send_signal, waitid, waitpid,
};

use crate::config::{InheritedDescriptors, Role, RoleConfig};
use crate::fork::{self, Image};
use crate::status::Cause;

/// Variables of the protocols: a child gets ours or none, never those that the keeper itself was started with.
const PROTOCOL_VARIABLES: [&str; 7] = [
    "NOTIFY_SOCKET",
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
];

/// A role whose command line and environment are turned into what execve(2) takes, once.
#[derive(Debug)]
pub(crate) struct PreparedRole {
    pub(crate) role: Role,
    pub(crate) inherits: InheritedDescriptors,
    pub(crate) watchdog: Option<Duration>,
    pub(crate) start_timeout: Duration,
    oom_score_adjust: Option<i16>,
    program: CString,
    argv: Vec<CString>,
    env: Vec<CString>,
}

/// Why a role's command line or environment cannot be executed.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// `argv` is empty.
    #[error("a role has no program")]
    NoProgram,
    /// The program is not given as a path.
    #[error("the program {program:?} is not a path (it needs a '/')")]
    NotAPath {
        /// What was given.
        program: OsString,
    },
    /// An argument or a variable contains a NUL byte.
    #[error("an argument or variable contains a NUL byte: {0}")]
    Nul(#[from] NulError),
}

impl PreparedRole {
    /// # Errors
    /// See [`PrepareError`].
    pub(crate) fn new(
        config: &RoleConfig,
        notify_socket: &Path,
    ) -> Result<PreparedRole, PrepareError> {
        let program = config.argv.first().ok_or(PrepareError::NoProgram)?;
        if !program.as_bytes().contains(&b'/') {
            return Err(PrepareError::NotAPath {
                program: program.clone(),
            });
        }
        let argv = config
            .argv
            .iter()
            .map(|argument| CString::new(argument.as_bytes()))
            .collect::<Result<_, _>>()?;
        let env = environment(config, notify_socket)
            .into_iter()
            .map(|(name, value)| variable(&name, &value))
            .collect::<Result<_, _>>()?;
        Ok(PreparedRole {
            role: config.role,
            inherits: config.inherits.clone(),
            watchdog: config.watchdog,
            start_timeout: config.start_timeout,
            oom_score_adjust: config.oom_score_adjust,
            program: CString::new(program.as_bytes())?,
            argv,
            env,
        })
    }

    /// Starts a process of this role with these descriptors from number 3 on.
    ///
    /// # Errors
    /// fork(2) or pidfd_open(2) failed; no process is left then.
    pub(crate) fn start(&self, descriptors: &[(&str, BorrowedFd<'_>)]) -> std::io::Result<Child> {
        let mut env = self.env.clone();
        if !descriptors.is_empty() {
            let names: Vec<&str> = descriptors.iter().map(|(name, _)| *name).collect();
            env.push(variable(
                OsStr::new("LISTEN_FDS"),
                OsStr::new(&descriptors.len().to_string()),
            )?);
            env.push(variable(
                OsStr::new("LISTEN_FDNAMES"),
                OsStr::new(&names.join(":")),
            )?);
        }
        let image = Image {
            program: self.program.clone(),
            argv: self.argv.clone(),
            env,
        };
        let passed: Vec<BorrowedFd<'_>> = descriptors
            .iter()
            .map(|(_, descriptor)| *descriptor)
            .collect();
        let child = Child::from_unreaped(fork::spawn(&image, &passed)?)?;
        if let Some(adjust) = self.oom_score_adjust {
            // Best effort: lowering it takes CAP_SYS_RESOURCE.
            let _ = std::fs::write(
                format!("/proc/{}/oom_score_adj", child.pid()),
                adjust.to_string(),
            );
        }
        Ok(child)
    }
}

fn environment(config: &RoleConfig, notify_socket: &Path) -> BTreeMap<OsString, OsString> {
    let mut env: BTreeMap<OsString, OsString> = std::env::vars_os()
        .chain(config.env.iter().cloned())
        .collect();
    for name in PROTOCOL_VARIABLES {
        env.remove(OsStr::new(name));
    }
    env.insert("NOTIFY_SOCKET".into(), notify_socket.into());
    if let Some(limit) = config.watchdog {
        // Without WATCHDOG_PID, which is optional: the variable is for whoever gets it (sd_watchdog_enabled(3)).
        env.insert("WATCHDOG_USEC".into(), limit.as_micros().to_string().into());
    }
    env
}

fn variable(name: &OsStr, value: &OsStr) -> Result<CString, NulError> {
    let mut assignment = name.to_owned();
    assignment.push("=");
    assignment.push(value);
    CString::new(assignment.into_vec())
}

/// A child that has not been reaped; while this lives its pid names no other process.
#[derive(Debug)]
pub(crate) struct Child {
    pid: Pid,
    pidfd: OwnedFd,
}

impl Child {
    fn from_unreaped(pid: Pid) -> std::io::Result<Child> {
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => Ok(Child { pid, pidfd }),
            Err(errno) => {
                // Without a pidfd it could be neither watched nor ended safely later; it is still unreaped now.
                let _ = kill_process(pid, Signal::KILL);
                let _ = waitpid(Some(pid), WaitOptions::empty());
                Err(errno.into())
            }
        }
    }

    /// Process id, as the kernel's credentials name it.
    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_pid().unsigned_abs()
    }

    /// Readable when the process is dead.
    pub(crate) fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Queues a signal. A process that is dead already is no error.
    pub(crate) fn signal(&self, signal: Signal) {
        match pidfd_send_signal(&self.pidfd, signal) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(errno) => {
                tracing::error!(pid = self.pid(), ?signal, %errno, "a child cannot be signalled")
            }
        }
    }

    /// Reaps the process if it is dead, and says how it died.
    pub(crate) fn reap(&self) -> Option<Cause> {
        self.wait_with(WaitIdOptions::EXITED | WaitIdOptions::NOHANG)
    }

    /// Waits for the death of a process that was killed right after its start (nothing can hold it in the kernel yet).
    pub(crate) fn wait(&self) {
        self.wait_with(WaitIdOptions::EXITED);
    }

    fn wait_with(&self, options: WaitIdOptions) -> Option<Cause> {
        loop {
            match waitid(WaitId::PidFd(self.pidfd.as_fd()), options) {
                Ok(status) => return status.as_ref().and_then(cause_of),
                Err(Errno::INTR) => {}
                // ECHILD: somebody else reaped it; its status is lost.
                Err(_) => return Some(Cause::Unknown),
            }
        }
    }
}

fn cause_of(status: &WaitIdStatus) -> Option<Cause> {
    status
        .exit_status()
        .map(Cause::Exit)
        .or_else(|| status.terminating_signal().map(Cause::Signal))
}
