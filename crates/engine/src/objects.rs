//! Objects as the engine holds them: what the daemon is asked for, where the bytes go, and how it
//! is being read. The state of the seed system is not here but in `core`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use holdfast_core::OutagePolicy;
use holdfast_proto::key::CookieKey;
use holdfast_store::Object as StoredObject;

use crate::read_ahead::ReadAhead;

/// Which cookie of which volume, hashed: the key of tables that hold many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ObjectKey([u8; 16]);

impl ObjectKey {
    /// The key of `cookie` in `volume`.
    #[must_use]
    pub fn of(volume: &str, cookie: &CookieKey) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(volume.as_bytes()).update(b"\0");
        hasher.update(&cookie.encode());
        let mut key = [0; 16];
        key.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Self(key)
    }
}

/// Tells one [`CachedObject`] from every other of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Serial(u64);

/// An object: one cookie of one volume, in one incarnation of its file.
#[derive(Debug)]
pub struct CachedObject {
    /// Its number in this process.
    pub serial: Serial,
    /// The volume key: the source it belongs to.
    pub volume: Arc<str>,
    /// What a daemon is asked for.
    pub cookie: CookieKey,
    /// Its bytes and what is present of them.
    pub stored: Arc<StoredObject>,
    /// What its readers get in an outage.
    pub outage: OutagePolicy,
    /// How it is being read.
    pub read_ahead: Mutex<ReadAhead>,
}

impl CachedObject {
    /// A new number for `cookie` whose bytes are in `stored`.
    #[must_use]
    pub fn new(
        volume: Arc<str>,
        cookie: CookieKey,
        stored: Arc<StoredObject>,
        outage: OutagePolicy,
        read_ahead_bytes: u64,
    ) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            serial: Serial(NEXT.fetch_add(1, Ordering::Relaxed)),
            volume,
            cookie,
            stored,
            outage,
            read_ahead: Mutex::new(ReadAhead::new(read_ahead_bytes)),
        }
    }

    /// How logs name it.
    #[must_use]
    pub fn label(&self) -> String {
        let (kind, path) = match &self.cookie {
            CookieKey::Data { path, .. } => ("file", path),
            CookieKey::Listing { path } => ("listing of", path),
            CookieKey::Entry { path } => ("entry", path),
        };
        let path = String::from_utf8_lossy(path.as_bytes());
        format!("{kind} {path:?} of {}", self.volume)
    }
}

/// The file objects in use, so that two mounts of one source, or two nodes of one version, share
/// one object and fetch nothing twice.
#[derive(Debug, Default)]
pub struct DataObjects {
    by_key: Mutex<HashMap<ObjectKey, Weak<CachedObject>>>,
}

impl DataObjects {
    /// The object for `cookie`, made by `make` when none is in use.
    ///
    /// # Errors
    /// What `make` returns.
    pub fn get_or<E>(
        &self,
        volume: &str,
        cookie: &CookieKey,
        make: impl FnOnce() -> Result<CachedObject, E>,
    ) -> Result<Arc<CachedObject>, E> {
        let key = ObjectKey::of(volume, cookie);
        let mut by_key = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(object) = by_key.get(&key).and_then(Weak::upgrade) {
            return Ok(object);
        }
        let object = Arc::new(make()?);
        by_key.insert(key, Arc::downgrade(&object));
        if by_key.len().is_power_of_two() {
            by_key.retain(|_, object| object.strong_count() > 0);
        }
        Ok(object)
    }
}
