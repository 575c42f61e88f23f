//! What all threads of an engine share.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::Sender;
use holdfast_core::Config;
use holdfast_proto::{ByteRange, Errno};
use holdfast_store::Cache;

use crate::failovers::{Failovers, Sessions};
use crate::fs::waiting::Waiting;
use crate::hub::{Decisions, Hub, Need, Woken};
use crate::mount::Mount;
use crate::namespace::metadata::Metadata;
use crate::namespace::node::{Node, NodeKind};
use crate::objects::{CachedObject, DataObjects};
use crate::waker::Waker;

/// What all threads of an engine share. Locks are taken in the order of the fields and never two
/// at once except `metadata` before `hub`.
pub(crate) struct Engine {
    /// Sockets and the state of mounts.
    pub run_dir: PathBuf,
    /// The cache on disk.
    pub cache: Cache,
    /// Listings and entries.
    pub metadata: Metadata,
    /// Contents of files.
    pub data_objects: DataObjects,
    /// The state machine and who waits for it.
    hub: Mutex<Hub>,
    /// Wakes the device loop.
    pub waker: Waker,
    /// Connected daemons, for `status`.
    pub sessions: Sessions,
    /// What was lost so far, for `status`.
    pub failovers: Failovers,
    /// Requests whose wait is over.
    work: Sender<Woken>,
}

impl Engine {
    pub(crate) fn new(
        run_dir: PathBuf,
        cache: Cache,
        config: Config,
        waker: Waker,
        work: Sender<Woken>,
    ) -> Self {
        Self {
            run_dir,
            cache,
            metadata: Metadata::default(),
            data_objects: DataObjects::default(),
            hub: Mutex::new(Hub::new(config)),
            waker,
            sessions: Sessions::default(),
            failovers: Failovers::default(),
            work,
        }
    }

    /// The hub, locked. Use [`Engine::with_hub`] where the core may have decided something.
    pub(crate) fn hub(&self) -> MutexGuard<'_, Hub> {
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `change` on the hub and has what the core decided done.
    pub(crate) fn with_hub<T>(&self, change: impl FnOnce(&mut Hub) -> T) -> T {
        let (result, decisions) = {
            let mut hub = self.hub();
            let result = change(&mut hub);
            (result, hub.drain())
        };
        self.carry_out(decisions);
        result
    }

    fn carry_out(&self, decisions: Decisions) {
        for woken in decisions.woken {
            self.run_later(woken);
        }
        if decisions.device {
            self.waker.wake();
        }
    }

    /// Has a worker try a request (again).
    pub(crate) fn run_later(&self, woken: Woken) {
        // The receivers end with the process only.
        let _ = self.work.send(woken);
    }

    /// Puts a request to sleep until `need` is met, or has it tried again at once when it is.
    pub(crate) fn wait(&self, mut waiting: Box<Waiting>, need: Need) {
        waiting.need = Some(need.clone());
        let unneeded = self.with_hub(|hub| hub.wait(waiting, &need));
        if let Some(waiting) = unneeded {
            self.run_later((waiting, Ok(())));
        }
    }

    /// Fetches `range` for nobody in particular, while the cache's disk is far from full: what is under
    /// way for this reader already is up to as much again, and there are others.
    pub(crate) fn prefetch(&self, object: &Arc<CachedObject>, range: ByteRange) {
        let margin_bytes = range.len.saturating_mul(4);
        if self.cache.has_room(margin_bytes).unwrap_or(true) && !object.stored.is_present(range) {
            self.with_hub(|hub| hub.prefetch(object, range));
        }
    }

    /// Has the core forget an object that nobody uses; who waits for it nevertheless gets `errno`.
    pub(crate) fn leave(&self, object: &CachedObject, errno: Errno) {
        self.with_hub(|hub| hub.leave(object, errno));
    }

    /// Drops what the cache holds of an object.
    pub(crate) fn discard(&self, object: &CachedObject) {
        if let Err(error) = self.cache.remove(&object.stored) {
            tracing::warn!(object = object.label(), %error, "could not be dropped from the cache");
        }
    }

    /// The object with the bytes of a file node.
    ///
    /// # Errors
    /// EIO when the cache cannot be read, ENOSPC when it cannot be written, EISDIR for no file.
    pub(crate) fn data_object(
        &self,
        mount: &Mount,
        node: &Node,
    ) -> Result<Arc<CachedObject>, Errno> {
        node.object_or(|| {
            let (NodeKind::File { size, validator }, Some(cookie)) = (&node.kind, node.data_key())
            else {
                return Err(Errno::EISDIR);
            };
            self.data_objects.get_or(&mount.volume, &cookie, || {
                let key = cookie.encode();
                let volume = mount.volume.as_bytes();
                let found = self.cache.lookup(volume, &key).unwrap_or_else(|error| {
                    tracing::warn!(%error, "a cached object is unreadable and is fetched anew");
                    None
                });
                let stored = match found.filter(|stored| stored.size() == Some(*size)) {
                    Some(stored) => stored,
                    None => self
                        .cache
                        .create(volume, &key, Some(*size), validator)
                        .map_err(|error| {
                            tracing::error!(%error, "the cache cannot take a file");
                            reader_errno(error.errno())
                        })?,
                };
                Ok(CachedObject::new(
                    Arc::clone(&mount.volume),
                    cookie.clone(),
                    stored,
                    mount.outage_policy(),
                    mount.request.read_ahead_bytes,
                ))
            })
        })
    }

    /// Lets go of a node that the kernel forgot: its object is closed when nobody else has it.
    pub(crate) fn forgotten(&self, node: &Node) {
        if let Some(object) = node.object() {
            // The node's and the hub's reference; another one is another node's, or a reader's.
            if Arc::strong_count(object) <= 2 {
                self.leave(object, Errno::ESTALE);
            }
        }
    }
}

/// What a reader is told when the cache refuses: that there is no room or no memory as it is, all
/// else as EIO. "No such file" of the cache must not become "no such file" of the source.
pub(crate) fn reader_errno(errno: Errno) -> Errno {
    match errno {
        Errno::ENOSPC | Errno::EDQUOT | Errno::ENOMEM | Errno::EMFILE | Errno::ENFILE => errno,
        _ => Errno::EIO,
    }
}
