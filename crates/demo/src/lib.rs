//! Holdfast's demonstration run, and the HTTP origin that tests and benches of the other crates use.
//!
//! * [`origin`]: an HTTP/1.1 file server on loopback with directory indexes, ranges, validators, counters and faults that
//!   can be switched while it runs.
//! * [`sample`]: a directory tree made from a seed, with everything that is hard about names and sizes.
//! * [`run`]: the demo: serve the sample, mount it, read all of it in three ways while the daemons are killed, compare every
//!   byte, report.
//!
//! Layers, an arrow never points up: `clock`, `kills`, `score` ← `killer`, `readers`, `command` ← `instance` ← `view` ← [`run`].
//!
//! Invariant: nothing here is part of the data path of a mount; this crate looks at Holdfast only from outside, as a user does: through
//! its command line, the mounted files and signals.

mod clock;
mod command;
mod config;
mod instance;
pub mod killer;
mod kills;
pub mod origin;
mod readers;
mod run;
pub mod sample;
mod score;
mod summary;
mod view;
mod workspace;

pub use command::CommandError;
pub use config::{DemoConfig, DemoError, Show};
pub use instance::InstanceError;
pub use kills::KillLog;
pub use readers::{MmapReaderError, mmap_reader_main};
pub use run::run;
pub use summary::{StallPercentiles, Summary};
