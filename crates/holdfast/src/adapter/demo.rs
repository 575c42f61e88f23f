//! The demo.

use std::ffi::OsString;

use holdfast_demo::{DemoConfig, DemoError, MmapReaderError};

use crate::cli::DemoArgs;
use crate::output;

/// Runs the demo and prints its report; whether it has shown what it claims.
///
/// # Errors
/// See [`DemoError`].
pub fn run(args: &DemoArgs) -> Result<bool, DemoError> {
    let summary = holdfast_demo::run(DemoConfig {
        seconds: args.seconds,
        kills_per_second: args.kills_per_second,
        seed: args.seed,
        total_bytes: args.size.0,
        ..DemoConfig::default()
    })?;
    // The exit status says it too, so a report that nobody can read changes nothing.
    let _ = output::print(format!("{summary}\n").as_bytes());
    Ok(summary.succeeded())
}

/// The demo's mapping reader.
///
/// # Errors
/// See [`MmapReaderError`].
pub fn mmap_reader(args: &[OsString]) -> Result<(), MmapReaderError> {
    holdfast_demo::mmap_reader_main(args)
}
