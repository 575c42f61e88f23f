//! `holdfast`: the command line of Holdfast, and, by hidden commands, the processes of an instance.
//!
//! It wires the other crates together and holds no logic of theirs: what it decides itself is where
//! an instance lives, who may start it, and what a user is told.
//!
//! Exit status: 0 done, 1 failed, 2 wrong usage.
#![forbid(unsafe_code)]

mod adapter;
mod cli;
mod instance;
mod logging;
mod manifest;
mod mount;
mod mountinfo;
mod output;
mod placement;
mod process;
mod roles;
mod start;
mod status;
mod umount;

use std::error::Error;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use cli::{Cli, Command};

/// How a command ended.
enum Ended {
    Well,
    /// Without an error, but not as wished; the command has said how.
    Badly,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(Ended::Well) => ExitCode::SUCCESS,
        Ok(Ended::Badly) => ExitCode::FAILURE,
        Err(error) => {
            output::remark(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<Ended, Box<dyn Error>> {
    match command {
        Command::Mount(args) => mount::run(&args)?,
        Command::Umount(args) => umount::run(&args)?,
        Command::Status(args) => status::run(&args)?,
        Command::Manifest(args) => manifest::run(&args)?,
        Command::Demo(args) => return demo(&args),
        Command::Completions(args) => completions(&args)?,
        Command::Keeper(args) => logged(roles::keeper(&args))?,
        Command::Engine(args) => logged(roles::engine(&args))?,
        Command::Daemon(args) => logged(roles::daemon(&args))?,
        Command::DemoMmapReader(args) => return mmap_reader(&args.rest),
    }
    Ok(Ended::Well)
}

/// A process of an instance has nobody who reads its exit message: its log must hold it.
fn logged(result: Result<(), roles::RoleError>) -> Result<(), roles::RoleError> {
    if let Err(error) = &result {
        tracing::error!(%error, "ended with a failure");
    }
    result
}

fn demo(args: &cli::DemoArgs) -> Result<Ended, Box<dyn Error>> {
    Ok(if adapter::demo::run(args)? {
        Ended::Well
    } else {
        Ended::Badly
    })
}

fn mmap_reader(args: &[std::ffi::OsString]) -> Result<Ended, Box<dyn Error>> {
    adapter::demo::mmap_reader(args)?;
    Ok(Ended::Well)
}

fn completions(args: &cli::CompletionsArgs) -> std::io::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "holdfast", &mut script);
    output::print(&script)
}
