//! What the user may type: the commands, their options, defaults and help.
//!
//! Everything is parsed into types here, once; no other module looks at strings from the command
//! line. Secrets never appear in these types: they come from the environment or a file
//! ([`crate::mount::auth`]), because anybody can read a process's arguments.

pub mod mount;
pub mod roles;
pub mod values;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use values::{Bytes, parse_bytes, parse_duration};

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "holdfast",
    version,
    about = "A crash-proof on-demand read cache: remote files as local ones, through any crash",
    long_about = "Holdfast shows files that live elsewhere (HTTP, S3, a slow or remote directory) as ordinary \
        local files. A byte is fetched when somebody reads it, kept on local disk, and served at local speed ever \
        after. Any process of Holdfast may be killed at any moment and no reader notices.",
    after_help = EXIT_CODES,
    after_long_help = EXAMPLES,
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "Exit status: 0 done, 1 failed, 2 wrong usage.";

const EXAMPLES: &str = "\
Examples:
  holdfast mount https://example.org/data/ /mnt/data
  holdfast mount --on-outage eio:30s s3://bucket/prefix /mnt/bucket
  holdfast mount --cache-dir /fast/cache dir:/net/slow /mnt/slow
  holdfast status
  holdfast umount /mnt/data
  holdfast demo

Environment:
  HOLDFAST_HTTP_USER, HOLDFAST_HTTP_PASSWORD   basic authentication of an http(s) source
  HOLDFAST_HTTP_BEARER                         bearer token of an http(s) source
  AWS_ACCESS_KEY_ID and kin                    credentials of an s3 source (the usual chain)
  HOLDFAST_RUN_DIR                             where sockets are kept [default: /run/holdfast for root,
                                               $XDG_RUNTIME_DIR/holdfast, else /tmp/holdfast-<uid>]
  HOLDFAST_LOG                                 log filter, such as debug or holdfast_engine=trace

Exit status: 0 done, 1 failed, 2 wrong usage.";

/// One command of the program.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Mount SOURCE read only at DIR; returns once DIR can be read
    Mount(mount::MountArgs),
    /// Unmount directories that Holdfast has mounted, dead ones too
    Umount(UmountArgs),
    /// Show the instances of this user: processes, mounts, cache, who waits
    Status(StatusArgs),
    /// Write a manifest of a directory, so that a plain web server can serve it exactly
    Manifest(ManifestArgs),
    /// Read through a mount while its processes are killed, and compare every byte
    Demo(DemoArgs),
    /// Print the completion script of a shell
    Completions(CompletionsArgs),
    /// Supervise an instance (started by `mount`)
    #[command(hide = true)]
    Keeper(roles::KeeperArgs),
    /// Serve the mounts of an instance (started by the keeper)
    #[command(hide = true)]
    Engine(roles::EngineArgs),
    /// Fetch for an instance (started by the keeper)
    #[command(hide = true)]
    Daemon(roles::DaemonArgs),
    /// Read a file through a mapping for the demo (started by `demo`)
    #[command(hide = true)]
    DemoMmapReader(DemoReaderArgs),
}

/// `holdfast umount`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
A plain `umount DIR` or `fusermount3 -u DIR` works too. An instance without mounts ends by itself.

Examples:
  holdfast umount /mnt/data
  holdfast umount --lazy /mnt/data     # programs that still have files open keep them")]
pub struct UmountArgs {
    /// Mounted directories
    #[arg(value_name = "DIR", required = true)]
    pub dirs: Vec<PathBuf>,
    /// Detach at once even if files are open; the mount ends when the last one is closed
    #[arg(long, short)]
    pub lazy: bool,
}

/// `holdfast status`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  holdfast status
  holdfast status --json | jq '.instances[].processes[].pid'")]
pub struct StatusArgs {
    /// Print JSON (shape: docs/status.md) instead of tables
    #[arg(long)]
    pub json: bool,
    /// Show only the instance of this cache directory [default: all instances of this user]
    #[arg(long, value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,
}

/// `holdfast manifest`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
The manifest (.holdfast-manifest.jsonl) holds every name, size, mode, time and symbolic link, which no \
server's index does. Write it again when the directory has changed.

Examples:
  holdfast manifest /srv/www/data
  holdfast mount https://example.org/data/ /mnt/data      # finds it there
  holdfast manifest --output /srv/www/data.jsonl /srv/www/data
  holdfast mount --manifest ../data.jsonl https://example.org/data/ /mnt/data")]
pub struct ManifestArgs {
    /// The directory to describe
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Write the manifest to this file [default: .holdfast-manifest.jsonl in DIR, where mounts find it]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// `holdfast demo`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Exit status 0 only if processes were really killed, no read failed and no byte differed.

Examples:
  holdfast demo
  holdfast demo --seconds 60 --kills-per-second 50 --seed 7")]
pub struct DemoArgs {
    /// How long to read while killing, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: u64,
    /// Mean number of daemons killed per second (SIGKILL, at random moments)
    #[arg(long, value_name = "RATE", default_value_t = 12.0, value_parser = values::parse_rate)]
    pub kills_per_second: f64,
    /// Seed of data and kills, to repeat a run [default: a random one, printed]
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,
    /// Total size of the sample data, in bytes (suffixes such as MiB are understood)
    #[arg(long, value_name = "BYTES", default_value = "256MiB", value_parser = parse_bytes)]
    pub size: Bytes,
}

/// `holdfast completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell to complete for
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// The demo's mapping reader; its arguments belong to the demo.
#[derive(Debug, Args)]
pub struct DemoReaderArgs {
    /// Passed on as they are
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub rest: Vec<std::ffi::OsString>,
}

/// Options that shape an instance; they take effect when it starts, not when a mount joins it.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Instance (takes effect when the mount starts one)")]
pub struct InstanceArgs {
    /// Number of daemons; with two, the death of one costs a hand-over instead of a restart [default: 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub daemons: Option<u16>,
    /// Requests that each daemon works on at once [default: 16]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub workers: Option<u16>,
    /// End the instance when it has had no mount for this long, such as 10s [default: 10s]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub idle_exit: Option<Duration>,
    /// File to append the log of all its processes to [default: a bounded file in the run directory]
    #[arg(long, value_name = "PATH")]
    pub log: Option<PathBuf>,
    /// How much to log: error, warn, info, debug or trace; HOLDFAST_LOG refines it [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<values::LogLevel>,
}
