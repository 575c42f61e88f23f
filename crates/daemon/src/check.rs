//! Whether a volume's source can be reached: asked once by whoever mounts it, so that a wrong address is told at once
//! and in words, while readers of a mount only ever see an errno.

use std::io;
use std::path::Path;

use crate::errno::SourceError;
use crate::retry::retrying;
use crate::volumes::Volumes;

/// Why a source is of no use.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The runtime's threads or epoll could not be made.
    #[error("cannot start the runtime: {0}")]
    Runtime(#[source] io::Error),
    /// The source says so, or is silent.
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// Asks the source of a volume, reached as the volume file in `run_dir` says, whether its root can be listed. Blocks
/// for a few seconds at most when nobody answers.
///
/// # Errors
/// See [`CheckError`].
pub fn check(run_dir: &Path, volume_key: &[u8]) -> Result<(), CheckError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(CheckError::Runtime)?;
    let source = Volumes::new(run_dir.to_owned()).source(volume_key)?;
    let checked = runtime.block_on(retrying(|| source.check()));
    // A blocking call into a dead network file system would otherwise hold the process.
    runtime.shutdown_background();
    Ok(checked?)
}
