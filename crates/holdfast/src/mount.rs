//! `holdfast mount`: from SOURCE and DIR to a directory that can be read.
//!
//! The order is the one of H22: the engine (and through it the keeper) holds the descriptor before
//! anything is mounted on it, so a crash in between leaves no dead mount.

mod attach;
pub mod auth;
mod foreground;
mod places;
mod readable;
pub mod target;
mod volume;

use std::path::{Path, PathBuf};

use crate::adapter::source::SourceError;
use crate::adapter::{engine, fuse};
use crate::cli::mount::MountArgs;
use crate::instance::private_dir::PrivateDirError;
use crate::instance::run_root::{self, Surroundings};
use crate::instance::{Instance, InstanceError};
use crate::output;
use crate::placement::{self, PlacementError};
use crate::start::{self, Outcome, StartError, StartPlan};

/// How often an instance is started or joined anew when it winds down under our hands.
const ATTEMPTS_MAX: u32 = 5;

/// Why nothing was mounted.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// SOURCE is not usable.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The credentials are not usable.
    #[error(transparent)]
    Auth(#[from] auth::AuthError),
    /// DIR is not usable.
    #[error(transparent)]
    Target(#[from] target::TargetError),
    /// The cache directory is not usable.
    #[error(transparent)]
    Cache(#[from] places::CacheDirError),
    /// Two places are in each other's way.
    #[error(transparent)]
    Placement(#[from] PlacementError),
    /// The run root is not ours.
    #[error(transparent)]
    PrivateDir(#[from] PrivateDirError),
    /// The run directory cannot be used.
    #[error(transparent)]
    Instance(#[from] InstanceError),
    /// No instance could be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// FUSE is not to be had, or the kernel refused.
    #[error(transparent)]
    Fuse(#[from] fuse::FuseError),
    /// The engine did not take the mount.
    #[error("the engine cannot serve {}: {source}; its log: {log}", .dir.display())]
    Engine {
        /// The mount point.
        dir: PathBuf,
        /// What it said.
        source: engine::EngineError,
        /// Where to look.
        log: String,
    },
    /// It is mounted but cannot be read; it was unmounted again.
    #[error(transparent)]
    Readable(#[from] readable::ReadableError),
    /// The system refused something that should always work.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// `--foreground`: Ctrl-C came, and the mount could not be unmounted.
    #[error(transparent)]
    Umount(#[from] crate::umount::UmountError),
}

/// Everything about a mount that is known before anything is changed, but for the cache directory,
/// which is made.
struct Prepared {
    volume: volume::Volume,
    target: PathBuf,
    plan: StartPlan,
    instance: Instance,
}

/// Runs the command.
///
/// # Errors
/// See [`MountError`]. Nothing stays mounted then.
pub fn run(args: &MountArgs) -> Result<(), MountError> {
    let prepared = prepare(args)?;
    warn_of_kernel_limit();
    let outcome = serve(args, &prepared)?;
    if outcome == Outcome::Joined && !prepared.plan.asked_for.is_empty() {
        output::remark(&format!(
            "joined the running instance; {} take effect only when one is started",
            prepared.plan.asked_for.join(", ")
        ));
    }
    if let Err(error) = readable::wait(&prepared.target, &prepared.instance, &prepared.volume.key())
    {
        let _ = crate::umount::detach(&prepared.target);
        return Err(error.into());
    }
    fuse::read_ahead_further(&prepared.target);
    if args.foreground {
        foreground::stay(&prepared.target)
    } else {
        Ok(())
    }
}

fn prepare(args: &MountArgs) -> Result<Prepared, MountError> {
    let volume = volume::Volume::new(args)?;
    fuse::check_available()?;
    let target = target::prepare(&args.dir)?;
    let cache_dir = places::cache_dir(args.cache_dir.as_deref())?;
    let system = |what| move |source| MountError::System { what, source };
    let plan =
        StartPlan::new(cache_dir, &args.instance).map_err(system("the current directory"))?;
    places::check(&plan, &volume, &target)?;
    let run_root = run_root::ensure(&Surroundings::of_this_process())?;
    let instance = Instance::of_cache_dir(&run_root, &plan.cache_dir)?;
    Ok(Prepared {
        volume,
        target,
        plan,
        instance,
    })
}

/// Starts or joins, and mounts. An instance that ends between the two (its idle time was over) is no
/// failure: the next round starts a new one.
fn serve(args: &MountArgs, prepared: &Prepared) -> Result<Outcome, MountError> {
    let mount = engine::Mount {
        source: prepared.volume.key(),
        dir: prepared.target.clone(),
        on_outage: args.on_outage,
        metadata_ttl: args.metadata_ttl,
        read_ahead_bytes: args.read_ahead.0,
    };
    let run_dir = prepared.instance.run_dir();
    let mut attempts = 0;
    loop {
        attempts += 1;
        let outcome = start::start_or_join(&prepared.instance, &prepared.plan)?;
        let result = prepared
            .volume
            .write(&run_dir)
            .and_then(|()| attach::attach(&run_dir, &mount, args.allow_other));
        match result {
            Ok(()) => return Ok(outcome),
            Err(error) if attempts < ATTEMPTS_MAX && has_ended(&error, &run_dir) => {}
            Err(error) => return Err(error),
        }
    }
}

fn has_ended(error: &MountError, run_dir: &Path) -> bool {
    // Without a run directory it ended before the volume's file could be written into it.
    matches!(
        error,
        MountError::Engine {
            source: engine::EngineError::Gone(_),
            ..
        }
    ) || !run_dir.is_dir()
}

fn warn_of_kernel_limit() {
    if let Some(limit) = placement::kernel_request_timeout_s() {
        output::remark(&format!(
            "fs.fuse.max_request_timeout is {limit} s here: the kernel aborts the mount when a reader waits longer, as in \
             a long outage; set it to 0 (sysctl fs.fuse.max_request_timeout=0) or use --on-outage eio: with less"
        ));
    }
}
