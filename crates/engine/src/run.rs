//! From start to end of an engine process.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;
use holdfast_core::Config;
use holdfast_fuse::ReplyBuffer;
use holdfast_store::Cache;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::descriptors::{self, Inherited, StoreDescriptorError};
use crate::device::event_loop::DeviceLoop;
use crate::device::socket;
use crate::engine::Engine;
use crate::fs::interrupts::Interrupts;
use crate::fs::perform::perform;
use crate::hub::Woken;
use crate::mounting::Mounts;
use crate::waker::Waker;
use crate::{control, device};

/// Threads that answer readers whose bytes have arrived.
const WORKERS: usize = 2;

/// How an engine is to run.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// The cache.
    pub cache_dir: PathBuf,
    /// Sockets and the state of mounts; private to the user.
    pub run_dir: PathBuf,
    /// How long the engine goes on without any mount.
    pub idle_exit_after: Duration,
}

/// Why an engine could not run, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The cache directory.
    #[error("the cache: {0}")]
    Cache(#[from] holdfast_store::OpenError),
    /// Inherited descriptors, sockets, threads.
    #[error("{what}: {source}")]
    System {
        /// What was attempted.
        what: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// A socket could not be stored with the keeper.
    #[error(transparent)]
    Keep(#[from] StoreDescriptorError),
}

/// Serves until there has been no mount for `idle_exit_after`.
///
/// # Errors
/// See [`RunError`].
pub fn run(config: EngineConfig) -> Result<(), RunError> {
    let mut inherited = Inherited::take().map_err(system("inherited descriptors"))?;
    let descriptors = raise_descriptor_limit();
    let cache = Cache::open(&config.cache_dir)?;
    let device = device_socket(&config, &mut inherited)?;
    let control = control_socket(&config, &mut inherited)?;
    let (work, woken) = crossbeam_channel::unbounded();
    let waker = Waker::new().map_err(system("an eventfd"))?;
    let engine = Arc::new(Engine::new(
        config.run_dir.clone(),
        cache,
        core_config(descriptors),
        waker,
        work,
    ));
    let interrupts = Arc::new(Interrupts::default());
    let mounts = Arc::new(Mounts::new(Arc::clone(&interrupts)));
    start_threads(&engine, &mounts, &interrupts, device, control, &woken)?;
    for (id, fuse) in inherited.remove_mounts() {
        if let Err(error) = mounts.recover(&engine, id, fuse) {
            tracing::error!(mount = id, %error, "a mount of the engine before this one is lost");
        }
    }
    descriptors::ready();
    tracing::info!(cache = %config.cache_dir.display(), "the engine serves");
    mounts.wait_until_idle(config.idle_exit_after);
    tracing::info!("no mount is left: the engine ends");
    descriptors::stopping();
    Ok(())
}

fn start_threads(
    engine: &Arc<Engine>,
    mounts: &Arc<Mounts>,
    interrupts: &Arc<Interrupts>,
    device: OwnedFd,
    control: UnixListener,
    woken: &Receiver<Woken>,
) -> Result<(), RunError> {
    let device = DeviceLoop::new(Arc::clone(engine), device).map_err(system("epoll"))?;
    spawn("device", move || {
        if let Err(error) = device.run() {
            // Without it no reader would ever be served: a new engine can do better.
            tracing::error!(%error, "the device loop failed; the engine ends and is replaced");
            std::process::exit(70);
        }
    })?;
    for number in 0..WORKERS {
        let (engine, woken) = (Arc::clone(engine), woken.clone());
        let mut buffer = ReplyBuffer::new()
            .map_err(|error| system("a buffer")(io::Error::other(error.to_string())))?;
        spawn(&format!("worker-{number}"), move || {
            for (waiting, went) in woken {
                perform(&engine, waiting, went, &mut buffer);
            }
        })?;
    }
    let (watching, engine_of_interrupts) = (Arc::clone(interrupts), Arc::clone(engine));
    spawn("interrupts", move || watching.watch(&engine_of_interrupts))?;
    let (engine, mounts) = (Arc::clone(engine), Arc::clone(mounts));
    spawn("control", move || {
        control::server::run(&engine, &mounts, &control);
    })
}

fn spawn<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> Result<(), RunError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .map(drop)
        .map_err(system("a thread"))
}

fn device_socket(config: &EngineConfig, inherited: &mut Inherited) -> Result<OwnedFd, RunError> {
    if let Some(socket) = inherited.remove("device") {
        return Ok(socket);
    }
    let socket = socket::listen(&config.run_dir.join(device::SOCKET_NAME))
        .map_err(system("the device socket"))?;
    descriptors::store("device", &socket)?;
    Ok(socket)
}

fn control_socket(
    config: &EngineConfig,
    inherited: &mut Inherited,
) -> Result<UnixListener, RunError> {
    if let Some(socket) = inherited.remove("control") {
        return Ok(UnixListener::from(socket));
    }
    let path = config.run_dir.join(control::SOCKET_NAME);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(system("the control socket")(error));
        }
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&path).map_err(system("the control socket"))?;
    descriptors::store("control", &listener)?;
    Ok(listener)
}

/// As many open files as we may have (H16); returns how many those are.
fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// A lease takes a descriptor here for as long as a daemon holds the object: with a low limit daemons
/// may hold fewer, so that up to eight of them leave enough for the cache's files and the rest.
fn core_config(descriptors: u64) -> Config {
    const FOR_THE_REST: u64 = 768;
    let mut config = Config::default();
    let share = descriptors.saturating_sub(FOR_THE_REST) / 8;
    let share = usize::try_from(share).unwrap_or(usize::MAX);
    config.open_objects_per_session_max = config.open_objects_per_session_max.min(share.max(16));
    config
}

fn system(what: &'static str) -> impl Fn(io::Error) -> RunError {
    move |source| RunError::System { what, source }
}
