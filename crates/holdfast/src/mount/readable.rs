//! Waiting until a new mount answers.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use crate::adapter::source::{self, CheckError};
use crate::instance::Instance;
use crate::output;
use crate::start::log_tail;

/// How long the engine may take for its first answer; it needs no daemon for it (H20).
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// How long a listing that is cached may take; one that is not may wait for its source for ever.
const CACHED_WITHIN: Duration = Duration::from_secs(3);

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
    /// The source is not there, and nothing of it is cached.
    #[error("nothing is mounted on {}, because the source cannot be read and nothing of it is cached: {reason}", .dir.display())]
    Source {
        /// The mount point.
        dir: PathBuf,
        /// What is wrong with it.
        reason: CheckError,
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

/// Waits until the mount of `volume_key` on `dir` can be read: the engine answers for its root, and
/// the source is there or the root's listing is cached.
///
/// # Errors
/// See [`ReadableError`]; the caller unmounts.
pub fn wait(dir: &Path, instance: &Instance, volume_key: &str) -> Result<(), ReadableError> {
    engine_answers(dir, instance)?;
    // Asked of the source and not of the mount, where it would be the whole listing (H13).
    let Err(reason) = source::check(&instance.run_dir(), volume_key) else {
        return Ok(());
    };
    let listed = in_a_thread(dir, |path| path.read_dir()?.next().transpose());
    match listed.recv_timeout(CACHED_WITHIN) {
        Ok(Ok(_)) => {
            output::remark(&format!("what is cached can be read, but {reason}"));
            Ok(())
        }
        Ok(Err(_)) | Err(_) => Err(ReadableError::Source {
            dir: dir.to_owned(),
            reason,
        }),
    }
}

/// Runs a look at a mount. One whose server is silent blocks; the caller detaches the mount, and the
/// thread ends with this process at the latest.
fn in_a_thread<T: Send + 'static>(
    dir: &Path,
    look: impl FnOnce(&Path) -> T + Send + 'static,
) -> mpsc::Receiver<T> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let path = dir.to_owned();
    std::thread::spawn(move || {
        let _ = sender.send(look(&path));
    });
    receiver
}

fn engine_answers(dir: &Path, instance: &Instance) -> Result<(), ReadableError> {
    let looked = in_a_thread(dir, Path::metadata);
    let tail = || log_tail::of_instance(instance);
    match looked.recv_timeout(ANSWER_WITHIN) {
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
