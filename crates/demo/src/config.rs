//! What a run of the demo is told, and why it may not come about.

use std::path::PathBuf;

use crate::instance::InstanceError;
use crate::origin::StartError;

/// How a run is shown while it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// A live view if standard output is a terminal, else lines.
    Auto,
    /// A line every second on standard output.
    Lines,
    /// Nothing.
    Nothing,
}

/// What [`run`](crate::run) is to do.
#[derive(Debug, Clone)]
pub struct DemoConfig {
    /// How long to read while killing, in seconds; longer if not everything was read once by then.
    pub seconds: u64,
    /// Kills per second, at random moments; 0 kills nobody.
    pub kills_per_second: f64,
    /// Repeats the data and the choice of kills; `None` takes a random one.
    pub seed: Option<u64>,
    /// Least size of the sample, in bytes.
    pub total_bytes: u64,
    /// The program whose commands `mount`, `umount`, `status`, `manifest` and `demo-mmap-reader` are used; `None` is the running one.
    pub holdfast_binary: Option<PathBuf>,
    /// Daemons of an instance.
    pub daemons: u16,
    /// Threads of each of the three kinds of readers.
    pub threads_per_kind: usize,
    /// Where the temporary directory is made; `None`: where this system keeps temporary files on disk.
    pub temp_dir: Option<PathBuf>,
    /// What to show meanwhile.
    pub show: Show,
}

impl Default for DemoConfig {
    fn default() -> Self {
        Self {
            seconds: 20,
            kills_per_second: 12.0,
            seed: None,
            total_bytes: 256 << 20,
            holdfast_binary: None,
            daemons: 2,
            threads_per_kind: 2,
            temp_dir: None,
            show: Show::Auto,
        }
    }
}

/// Why a run could not be made. Failed reads are no error: they are in the [`Summary`](crate::Summary).
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The running program cannot be found.
    #[error("cannot find the program holdfast itself: {0}")]
    Binary(#[source] std::io::Error),
    /// The rate is negative or not a number, or too high to count.
    #[error("{0} kills per second cannot be made")]
    Rate(f64),
    /// The temporary directory cannot be made or removed.
    #[error("cannot use a temporary directory: {0}")]
    Workspace(#[source] std::io::Error),
    /// The sample cannot be written.
    #[error("cannot write the sample data: {0}")]
    Sample(#[source] std::io::Error),
    /// The origin does not start.
    #[error("cannot serve the sample: {0}")]
    Origin(#[from] StartError),
    /// Threads or signal handlers cannot be had.
    #[error("cannot start the demo's own parts: {0}")]
    Threads(#[source] std::io::Error),
    /// An instance could not be mounted or ended.
    #[error(transparent)]
    Instance(#[from] InstanceError),
    /// A signal came before anything was read.
    #[error("interrupted")]
    Interrupted,
}
