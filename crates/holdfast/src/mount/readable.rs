//! Waiting until a new mount answers.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use crate::instance::Instance;
use crate::start::log_tail;

/// How long the engine may take for its first answer; it needs no daemon for it (H20).
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// Why a new mount is of no use.
#[derive(Debug, thiserror::Error)]
pub enum ReadableError {
    /// The root cannot be looked at.
    #[error("{} is mounted but cannot be read: {source}; unmounted it again; the log says:\n{tail}", .dir.display())]
    Failed {
        /// The mount point.
        dir: PathBuf,
        /// What the system said.
        source: std::io::Error,
        /// The end of the log.
        tail: String,
    },
    /// No answer.
    #[error("{} is mounted but has not answered for {} s; unmounted it again; the log says:\n{tail}", .dir.display(), ANSWER_WITHIN.as_secs())]
    Silent {
        /// The mount point.
        dir: PathBuf,
        /// The end of the log.
        tail: String,
    },
}

/// Waits until the root of the mount on `dir` can be looked at.
///
/// # Errors
/// See [`ReadableError`]; the caller unmounts.
pub fn wait(dir: &Path, instance: &Instance) -> Result<(), ReadableError> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let path = dir.to_owned();
    // stat(2) on a mount whose server is silent blocks; the caller detaches the mount, and the
    // thread ends with this process at the latest.
    std::thread::spawn(move || {
        let _ = sender.send(path.metadata());
    });
    let tail = || log_tail::of_instance(instance);
    match receiver.recv_timeout(ANSWER_WITHIN) {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(source)) => Err(ReadableError::Failed {
            dir: dir.to_owned(),
            source,
            tail: tail(),
        }),
        Err(_) => Err(ReadableError::Silent {
            dir: dir.to_owned(),
            tail: tail(),
        }),
    }
}
