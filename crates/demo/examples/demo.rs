//! Runs the demo with any program that has Holdfast's commands: `cargo run -p holdfast-demo --example demo -- PROGRAM [SECONDS
//! [KILLS_PER_SECOND [TOTAL_BYTES [TEMP_DIR]]]]`. With the one argument `demo-mmap-reader` it is the demo's mapping reader.

use std::path::PathBuf;
use std::process::ExitCode;

use holdfast_demo::{DemoConfig, Show};

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    if args.first().is_some_and(|arg| arg == "demo-mmap-reader") {
        holdfast_demo::mmap_reader_main(&args[1..])?;
        return Ok(ExitCode::SUCCESS);
    }
    let number = |at: usize| args.get(at).and_then(|arg| arg.to_str());
    let mut config = DemoConfig {
        show: Show::Auto,
        ..DemoConfig::default()
    };
    config.holdfast_binary = Some(PathBuf::from(args.first().ok_or("which program?")?));
    if let Some(seconds) = number(1) {
        config.seconds = seconds.parse()?;
    }
    if let Some(rate) = number(2) {
        config.kills_per_second = rate.parse()?;
    }
    if let Some(bytes) = number(3) {
        config.total_bytes = bytes.parse()?;
    }
    config.temp_dir = args.get(4).map(PathBuf::from);
    let summary = holdfast_demo::run(config)?;
    println!("{summary}");
    Ok(if summary.succeeded() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
