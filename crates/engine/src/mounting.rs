//! Mounts begin, are taken over from a dead engine, and end.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use holdfast_fuse::{NotifyError, ReceiveError};

use crate::control::MountRequest;
use crate::descriptors::{self, StoreDescriptorError};
use crate::engine::Engine;
use crate::failovers::Cause;
use crate::fs::interrupts::Interrupts;
use crate::fs::serve::{ServeError, serve};
use crate::mount::{Mount, MountSetupError};

/// Threads that receive requests of one mount. Each can be held up by the cache's disk, none by a
/// daemon.
const THREADS_PER_MOUNT: usize = 4;
/// How long the caller of a mount request may take to mount the descriptor.
const MOUNTED_WITHIN: Duration = Duration::from_secs(60);
/// How often a descriptor that is not mounted yet is tried.
const TRY_EVERY: Duration = Duration::from_millis(3);

/// Why a mount was not begun.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// The instance is winding down; a new one must be started.
    #[error("the instance is winding down")]
    WindingDown,
    /// Its state could not be written.
    #[error(transparent)]
    Setup(#[from] MountSetupError),
    /// The keeper did not take its descriptor.
    #[error(transparent)]
    Keep(#[from] StoreDescriptorError),
    /// Its threads could not be started, or its descriptor not copied.
    #[error("starting to serve: {0}")]
    Start(#[from] io::Error),
}

/// Why a mount was not forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ForgetError {
    /// There is none of this number (any more).
    #[error("there is no mount {0}")]
    Unknown(u64),
    /// The kernel knows it: unmounting it is the way.
    #[error("mount {0} is mounted")]
    Mounted(u64),
}

#[derive(Debug)]
enum Phase {
    /// Mounts come and go.
    Serving {
        mounts: HashMap<u64, Arc<Mount>>,
        next_id: u64,
        /// Since when there has been none.
        empty_since: Instant,
    },
    /// No mount is accepted any more.
    WoundDown,
}

/// The mounts of an engine.
#[derive(Debug)]
pub struct Mounts {
    phase: Mutex<Phase>,
    changed: Condvar,
    interrupts: Arc<Interrupts>,
}

impl Mounts {
    /// No mounts yet.
    #[must_use]
    pub fn new(interrupts: Arc<Interrupts>) -> Self {
        Self {
            phase: Mutex::new(Phase::Serving {
                mounts: HashMap::new(),
                next_id: 1,
                empty_since: Instant::now(),
            }),
            changed: Condvar::new(),
            interrupts,
        }
    }

    /// The mounts being served.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Mount>> {
        match &*self.lock() {
            Phase::Serving { mounts, .. } => mounts.values().cloned().collect(),
            Phase::WoundDown => Vec::new(),
        }
    }

    /// Begins to serve `fuse`, which the caller is about to mount. When this returns the keeper
    /// holds it too (H22).
    ///
    /// # Errors
    /// See [`BeginError`]; nothing is left behind.
    pub(crate) fn begin(
        self: &Arc<Self>,
        engine: &Arc<Engine>,
        request: MountRequest,
        fuse: OwnedFd,
    ) -> Result<u64, BeginError> {
        let id = match &mut *self.lock() {
            Phase::Serving { next_id, .. } => {
                *next_id += 1;
                *next_id - 1
            }
            Phase::WoundDown => return Err(BeginError::WindingDown),
        };
        let mount = Arc::new(Mount::create(&engine.run_dir, id, request, fuse)?);
        let kept = descriptors::store(&descriptors::mount_name(id), mount.connection.device());
        let begun = kept
            .map_err(BeginError::from)
            .and_then(|()| self.enter(&mount))
            .and_then(|()| Ok(self.start(engine, &mount)?));
        if let Err(error) = begun {
            self.end(engine, &mount);
            return Err(error);
        }
        Ok(id)
    }

    /// Goes on with a mount that an engine before this one served.
    ///
    /// # Errors
    /// See [`BeginError`]; the mount then stays with the keeper.
    pub(crate) fn recover(
        self: &Arc<Self>,
        engine: &Arc<Engine>,
        id: u64,
        fuse: OwnedFd,
    ) -> Result<(), BeginError> {
        let mount = Arc::new(Mount::recover(&engine.run_dir, id, fuse)?);
        self.enter(&mount)?;
        engine.failovers.count(Cause::EngineDied);
        match mount.connection.notify_resend() {
            Ok(()) => tracing::info!(
                mount = id,
                "taken over; the kernel delivers again what was not answered"
            ),
            Err(NotifyError::NotSupported) => tracing::error!(
                mount = id,
                "taken over, but this kernel cannot deliver again what the dead engine had received: those readers wait until they are killed"
            ),
            Err(error) => tracing::warn!(mount = id, %error, "taken over without a resend"),
        }
        self.start(engine, &mount)?;
        Ok(())
    }

    /// Lets go of a descriptor that its caller could not mount; its threads end soon after.
    ///
    /// # Errors
    /// See [`ForgetError`]; nothing has changed.
    pub(crate) fn forget(&self, id: u64) -> Result<(), ForgetError> {
        let Some(mount) = self.all().into_iter().find(|mount| mount.id == id) else {
            return Err(ForgetError::Unknown(id));
        };
        if mount.negotiated().is_some() {
            return Err(ForgetError::Mounted(id));
        }
        mount.give_up();
        Ok(())
    }

    /// Waits until there has been no mount for `idle`, then accepts none any more.
    pub fn wait_until_idle(&self, idle: Duration) {
        let mut phase = self.lock();
        loop {
            let left = match &*phase {
                Phase::WoundDown => return,
                Phase::Serving {
                    mounts,
                    empty_since,
                    ..
                } if mounts.is_empty() => idle.saturating_sub(empty_since.elapsed()),
                Phase::Serving { .. } => idle.max(Duration::from_secs(1)),
            };
            if left.is_zero() {
                *phase = Phase::WoundDown;
                return;
            }
            phase = self
                .changed
                .wait_timeout(phase, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn enter(&self, mount: &Arc<Mount>) -> Result<(), BeginError> {
        match &mut *self.lock() {
            Phase::Serving {
                mounts, next_id, ..
            } => {
                *next_id = (*next_id).max(mount.id + 1);
                mounts.insert(mount.id, Arc::clone(mount));
                Ok(())
            }
            Phase::WoundDown => Err(BeginError::WindingDown),
        }
    }

    fn start(self: &Arc<Self>, engine: &Arc<Engine>, mount: &Arc<Mount>) -> io::Result<()> {
        let running = Arc::new(AtomicUsize::new(THREADS_PER_MOUNT));
        for number in 0..THREADS_PER_MOUNT {
            let (this, engine) = (Arc::clone(self), Arc::clone(engine));
            let (mount, running) = (Arc::clone(mount), Arc::clone(&running));
            std::thread::Builder::new()
                .name(format!("fuse-{}-{number}", mount.id))
                .spawn(move || {
                    serve_until_unmounted(&engine, &mount, &this.interrupts);
                    if running.fetch_sub(1, Ordering::AcqRel) == 1 {
                        this.end(&engine, &mount);
                    }
                })?;
        }
        Ok(())
    }

    /// Forgets a mount that the kernel has let go of.
    fn end(&self, engine: &Engine, mount: &Arc<Mount>) {
        tracing::info!(mount = mount.id, "a mount ended");
        engine.with_hub(|hub| hub.abandon_mount(mount.id));
        descriptors::remove(&descriptors::mount_name(mount.id));
        mount.erase();
        if let Phase::Serving {
            mounts,
            empty_since,
            ..
        } = &mut *self.lock()
            && mounts.remove(&mount.id).is_some()
            && mounts.is_empty()
        {
            *empty_since = Instant::now();
        }
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn serve_until_unmounted(engine: &Arc<Engine>, mount: &Arc<Mount>, interrupts: &Interrupts) {
    let began = Instant::now();
    loop {
        match serve(engine, mount, interrupts) {
            Ok(()) => return,
            Err(ServeError::Receive(ReceiveError::NotMounted)) => {
                if mount.is_given_up() {
                    return;
                }
                if began.elapsed() > MOUNTED_WITHIN {
                    tracing::warn!(mount = mount.id, "the descriptor was never mounted");
                    return;
                }
                std::thread::sleep(TRY_EVERY);
            }
            Err(error) => {
                tracing::error!(mount = mount.id, %error, "a thread serves no more");
                return;
            }
        }
    }
}
