//! Commands of the program `holdfast`, run to their end within a time.
//!
//! Invariants: a command cannot hold the demo up: it is killed at its deadline. Its output goes to a file, not a pipe, so that a
//! background process that inherits it does not keep us waiting. It is in a process group of its own: Ctrl-C reaches only the demo, which
//! then cleans up.

use std::io::{Read as _, Seek as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// For commands that must run to their end.
pub(crate) static NEVER: AtomicBool = AtomicBool::new(false);

/// Between two looks at a running command.
const POLL_INTERVAL: Duration = Duration::from_millis(2);
/// More of a message than anybody reads.
const MESSAGE_CHARS_MAX: usize = 2000;

/// Why a command of the program did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It could not be started, or its output could not be had.
    #[error("cannot run {what}: {source}")]
    Start {
        /// Which command.
        what: String,
        /// Why.
        source: std::io::Error,
    },
    /// It was still running at its deadline, and was killed.
    #[error("{what} did not end within {} s", .deadline.as_secs())]
    Deadline {
        /// Which command.
        what: String,
        /// How long it had.
        deadline: Duration,
    },
    /// The demo was interrupted while it ran; it was killed.
    #[error("{what} was interrupted")]
    Interrupted {
        /// Which command.
        what: String,
    },
    /// It ended with a failure.
    #[error("{what} failed ({status}): {message}")]
    Failed {
        /// Which command.
        what: String,
        /// How it ended.
        status: ExitStatus,
        /// What it wrote to its standard error.
        message: String,
    },
}

/// Runs a command to its end; gives its standard output. It is killed when `interrupted` is set; what must not be given up, such as an
/// unmount, is run with a flag that never is.
pub(crate) fn run(
    command: &mut Command,
    deadline: Duration,
    interrupted: &AtomicBool,
) -> Result<Vec<u8>, CommandError> {
    let what = describe(command);
    let start = |source| CommandError::Start {
        what: what.clone(),
        source,
    };
    let mut out = tempfile::tempfile().map_err(start)?;
    let mut err = tempfile::tempfile().map_err(start)?;
    let out_for_child = out.try_clone().map_err(start)?;
    let err_for_child = err.try_clone().map_err(start)?;
    command
        .stdin(Stdio::null())
        .stdout(out_for_child)
        .stderr(err_for_child)
        .process_group(0);
    let mut child = command.spawn().map_err(start)?;
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().map_err(start)? {
            break status;
        }
        let given_up = interrupted.load(Ordering::SeqCst);
        if given_up || started.elapsed() > deadline {
            // Errors mean that it has just ended, which is as good.
            let _ = child.kill();
            let _ = child.wait();
            let late = CommandError::Deadline {
                what: what.clone(),
                deadline,
            };
            return Err(if given_up {
                CommandError::Interrupted { what }
            } else {
                late
            });
        }
        std::thread::sleep(POLL_INTERVAL);
    };
    let read = |file: &mut std::fs::File| {
        let mut bytes = Vec::new();
        file.rewind()
            .and_then(|()| file.read_to_end(&mut bytes))
            .map_err(start)?;
        Ok(bytes)
    };
    if !status.success() {
        let message: String = String::from_utf8_lossy(&read(&mut err)?)
            .trim()
            .chars()
            .take(MESSAGE_CHARS_MAX)
            .collect();
        return Err(CommandError::Failed {
            what,
            status,
            message,
        });
    }
    read(&mut out)
}

fn describe(command: &Command) -> String {
    let first = command
        .get_args()
        .next()
        .map(|arg| arg.to_string_lossy().into_owned())
        .unwrap_or_default();
    format!("`holdfast {first}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn output_and_failures_are_told() {
        let shell = |script: &str| run(Command::new("/bin/sh").args(["-c", script]), LONG, &NEVER);
        assert_eq!(shell("echo out; echo err >&2").unwrap(), b"out\n");
        match shell("echo why >&2; exit 3").unwrap_err() {
            CommandError::Failed {
                status, message, ..
            } => assert_eq!((status.code(), message.as_str()), (Some(3), "why")),
            other @ (CommandError::Start { .. }
            | CommandError::Deadline { .. }
            | CommandError::Interrupted { .. }) => {
                panic!("{other}")
            }
        }
        assert!(matches!(
            run(&mut Command::new("/no/such/program"), LONG, &NEVER),
            Err(CommandError::Start { .. })
        ));
    }

    #[test]
    fn a_background_process_with_our_output_does_not_hold_us_up() {
        let out = run(
            Command::new("/bin/sh").args(["-c", "sleep 1000 & echo $!"]),
            LONG,
            &NEVER,
        )
        .unwrap();
        let pid = String::from_utf8(out).unwrap().trim().parse().unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it still sleeps");
    }

    #[test]
    fn a_command_that_hangs_is_killed_at_its_deadline() {
        let mut sleep = Command::new("sleep");
        let result = run(sleep.arg("1000"), Duration::from_millis(50), &NEVER);
        assert!(matches!(result, Err(CommandError::Deadline { .. })));
    }

    #[test]
    fn an_interrupted_command_is_killed() {
        let result = run(
            Command::new("sleep").arg("1000"),
            LONG,
            &AtomicBool::new(true),
        );
        assert!(matches!(result, Err(CommandError::Interrupted { .. })));
    }
}
