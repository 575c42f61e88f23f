//! The arguments of the processes of an instance. Not for people: `holdfast mount` writes them, so
//! they are in machine units, have no defaults, and hold no secrets.

use std::path::PathBuf;

use clap::Args;

use super::values::LogLevel;

/// What every process of an instance is told.
#[derive(Debug, Clone, Args)]
pub struct RoleArgs {
    /// The instance's run directory
    #[arg(long, value_name = "DIR")]
    pub run_dir: PathBuf,
    /// How much to log
    #[arg(long, value_name = "LEVEL")]
    pub log_level: LogLevel,
    /// Empty the log file when it is larger than this, in bytes (0: never)
    #[arg(long, value_name = "BYTES")]
    pub log_limit_bytes: u64,
}

/// `holdfast keeper`.
#[derive(Debug, Clone, Args)]
pub struct KeeperArgs {
    /// Common arguments.
    #[command(flatten)]
    pub role: RoleArgs,
    /// Engine arguments, passed on to it.
    #[command(flatten)]
    pub cache: CacheArgs,
    /// Number of daemons
    #[arg(long, value_name = "N")]
    pub daemons: u16,
    /// Workers of each daemon
    #[arg(long, value_name = "N")]
    pub workers: u16,
}

/// What the engine is told about the cache and its own end.
#[derive(Debug, Clone, Args)]
pub struct CacheArgs {
    /// The cache directory
    #[arg(long, value_name = "DIR")]
    pub cache_dir: PathBuf,
    /// End after so many milliseconds without a mount
    #[arg(long, value_name = "MS")]
    pub idle_exit_ms: u64,
}

/// `holdfast engine`.
#[derive(Debug, Clone, Args)]
pub struct EngineArgs {
    /// Common arguments.
    #[command(flatten)]
    pub role: RoleArgs,
    /// The cache.
    #[command(flatten)]
    pub cache: CacheArgs,
}

/// `holdfast daemon`.
#[derive(Debug, Clone, Args)]
pub struct DaemonArgs {
    /// Common arguments.
    #[command(flatten)]
    pub role: RoleArgs,
    /// Requests to work on at once
    #[arg(long, value_name = "N")]
    pub workers: u16,
}
