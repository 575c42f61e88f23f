//! The keeper's process: detached, without our descriptors, without secrets in its environment.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use super::{StartError, StartPlan};

/// Variables that hold secrets. They go into the volume's file (0600), not into the environment of
/// processes that live for months and dump it into bug reports.
const SECRET_VARIABLES: [&str; 6] = [
    "HOLDFAST_HTTP_USER",
    "HOLDFAST_HTTP_PASSWORD",
    "HOLDFAST_HTTP_BEARER",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
];
/// How long a keeper may take to end what it started; above its own grace for that.
const END_PATIENCE: Duration = Duration::from_secs(20);

/// Starts the keeper of `run_dir`. It leaves our session by itself, as its first act.
pub fn keeper(
    run_dir: &Path,
    plan: &StartPlan,
    log: &Path,
    log_limit_bytes: u64,
) -> Result<Child, StartError> {
    let error = |what: String| move |source| StartError::Spawn { what, source };
    let program =
        std::env::current_exe().map_err(error("finding the path of this program".into()))?;
    let log_file = open_log(log).map_err(error(format!("opening the log {}", log.display())))?;
    let mut command = Command::new(&program);
    command
        .arg("keeper")
        .arg("--run-dir")
        .arg(run_dir)
        .arg("--cache-dir")
        .arg(&plan.cache_dir)
        .args(["--daemons", &plan.daemons.to_string()])
        .args(["--workers", &plan.workers.to_string()])
        .args(["--idle-exit-ms", &plan.idle_exit.as_millis().to_string()])
        .args(["--log-level", &plan.log_level.to_string()])
        .args(["--log-limit-bytes", &log_limit_bytes.to_string()])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::from(log_file));
    for name in SECRET_VARIABLES {
        command.env_remove(name);
    }
    command
        .spawn()
        .map_err(error(format!("starting {}", program.display())))
}

/// Opens the log for appending, so that several processes share it and `logrotate`'s copytruncate
/// works.
fn open_log(path: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
}

/// Ends a keeper that is of no use: asks it, and kills it if it does not follow.
pub fn end(child: &mut Child) {
    let pid = Pid::from_child(child);
    // Not waited for yet, so the number is still this child's.
    let _ = rustix::process::kill_process(pid, Signal::TERM);
    let start = Instant::now();
    while start.elapsed() < END_PATIENCE {
        match child.try_wait() {
            Ok(Some(_)) | Err(_) => return,
            Ok(None) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
    let _ = child.kill();
    let _ = child.wait();
}
