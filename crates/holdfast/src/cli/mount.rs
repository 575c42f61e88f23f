//! The options of `holdfast mount`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args};

use super::InstanceArgs;
use super::values::{Bytes, OnOutage, parse_bytes, parse_duration};

/// `holdfast mount`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
SOURCE is one of
  dir:/path, file:///path       a directory, local or of a network file system
  http://…, https://…           a tree with an index (nginx JSON or HTML, Apache HTML) or a manifest, or one file
  s3://bucket/prefix            an S3 bucket; also s3://bucket/prefix?endpoint=URL&region=NAME

Passwords never belong on a command line, where every user of the machine can read them:
  HOLDFAST_HTTP_USER=me HOLDFAST_HTTP_PASSWORD=secret holdfast mount https://example.org/data/ /mnt/data
  holdfast mount --auth-file ~/.holdfast-auth https://example.org/data/ /mnt/data

Examples:
  holdfast mount https://example.org/data/ /mnt/data
  holdfast mount --foreground --cache-dir /fast/cache dir:/net/slow /mnt/slow
  holdfast mount --on-outage eio:30s s3://bucket/prefix /mnt/bucket

Exit status: 0 mounted and readable, 1 failed, 2 wrong usage.")]
pub struct MountArgs {
    /// Where the files live: dir:/path, http(s)://… or s3://bucket/prefix
    #[arg(value_name = "SOURCE")]
    pub source: OsString,
    /// An existing directory to mount on
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Where fetched data is kept [default: $XDG_CACHE_HOME/holdfast/default, else
    /// ~/.cache/holdfast/default; for root /var/cache/holdfast]
    #[arg(long, value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,
    /// What readers get while the origin cannot be reached: `wait`, or `eio:DURATION` for an error
    /// once the outage of a file is that old, such as eio:30s
    #[arg(long, value_name = "POLICY", default_value = "wait")]
    pub on_outage: OnOutage,
    /// How long listings and attributes are believed before the origin is asked again, such as 10m
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = parse_duration)]
    pub metadata_ttl: Duration,
    /// Read ahead of sequential readers, in bytes (0 switches it off)
    #[arg(long, value_name = "BYTES", default_value = "8MiB", value_parser = parse_bytes)]
    pub read_ahead: Bytes,
    /// Let other users read the mount too (needs user_allow_other in /etc/fuse.conf unless root)
    #[arg(long, action = ArgAction::SetTrue)]
    pub allow_other: bool,
    /// File with the credentials of an http(s) source, readable by you alone: `user:password`, or a
    /// bearer token, on its first line
    #[arg(long, value_name = "FILE")]
    pub auth_file: Option<PathBuf>,
    /// URL of the manifest of an http(s) source, absolute or relative to SOURCE [default: the
    /// well-known name in SOURCE, if the server has it]
    #[arg(long, value_name = "URL")]
    pub manifest: Option<String>,
    /// Stay until DIR is unmounted; Ctrl-C unmounts it
    #[arg(long, short)]
    pub foreground: bool,
    /// Options that shape the instance.
    #[command(flatten)]
    pub instance: InstanceArgs,
}
