//! Listings and entries: fetched as objects like any other, kept on disk, believed for a time.
//!
//! A document that is too old is asked for again, but the old one stays until the new one is
//! whole: the two lie in two *slots* of the store, used by turns. When the new one cannot be had
//! the old one is served on; a valid cache is never dropped because the origin is away.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use holdfast_core::OutagePolicy;
use holdfast_proto::key::CookieKey;
use holdfast_proto::{ByteRange, Errno};
use holdfast_store::Object as StoredObject;
use quick_cache::Weighter;
use quick_cache::sync::Cache as MemoryCache;

use crate::engine::{Engine, reader_errno};
use crate::hub::Need;
use crate::listing_index::IndexedListing;
use crate::mount::Mount;
use crate::objects::{CachedObject, ObjectKey};

/// Bytes of documents held in memory; what does not fit is read from disk again.
const MEMORY_BYTES: u64 = 256 << 20;
/// The largest document that is accepted: it is held in memory while it is used.
pub const DOCUMENT_BYTES_MAX: u64 = 1 << 30;
/// "There is no such name" is not believed longer than this: names appear more often than they change.
const NEGATIVE_TTL_MAX: Duration = Duration::from_secs(30);
/// While an old document is there, an outage delays its readers no longer than this.
const REFRESH_WITHIN: Duration = Duration::from_secs(2);
/// After a refresh failed, the old document is served this long before the next try.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// A whole, validated listing or entry.
#[derive(Debug)]
pub struct Document {
    /// Its content.
    pub listing: IndexedListing,
    fetched_at: SystemTime,
    slot: Slot,
}

/// One of the two places on disk for a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    A,
    B,
}

impl Slot {
    fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// The store's key of `cookie` in this slot. A NUL cannot stand in a path, so no other key is hit.
    fn key(self, cookie: &CookieKey) -> Vec<u8> {
        let mut key = cookie.encode();
        key.extend_from_slice(match self {
            Self::A => b"\0a",
            Self::B => b"\0b",
        });
        key
    }
}

/// A failed wait: whose, and why.
#[derive(Debug, Clone)]
pub struct Failure {
    /// What was waited for.
    pub object: Arc<CachedObject>,
    /// What the daemon or the outage said.
    pub errno: Errno,
}

/// The answer to "give me this document".
#[derive(Debug)]
pub enum Look {
    /// Here it is, and how long the kernel may believe it.
    Ready(Arc<Document>, Duration),
    /// Wait for this and ask again.
    Wait(Need),
    /// It cannot be had.
    Refused(Errno),
}

#[derive(Debug, Clone)]
enum Known {
    Absent,
    Document(Arc<Document>),
}

#[derive(Debug, Clone)]
struct ByMemory;

impl Weighter<ObjectKey, Known> for ByMemory {
    fn weight(&self, _: &ObjectKey, known: &Known) -> u64 {
        64 + match known {
            Known::Absent => 0,
            Known::Document(document) => document.listing.memory_bytes() as u64,
        }
    }
}

#[derive(Debug)]
enum Refresh {
    Fetching(Arc<CachedObject>),
    Postponed(Instant),
}

/// All documents of an engine.
#[derive(Debug)]
pub struct Metadata {
    known: MemoryCache<ObjectKey, Known, ByMemory>,
    refreshes: Mutex<HashMap<ObjectKey, Refresh>>,
    /// Entries that the origin contradicted: the listing is not asked for them.
    distrusted: Mutex<HashMap<ObjectKey, SystemTime>>,
}

impl Default for Metadata {
    fn default() -> Self {
        Self {
            known: MemoryCache::with_weighter(10_000, MEMORY_BYTES, ByMemory),
            refreshes: Mutex::default(),
            distrusted: Mutex::default(),
        }
    }
}

impl Metadata {
    /// The document `cookie` of the mount's volume; `failure` is how the caller's last wait went.
    pub fn look(
        &self,
        engine: &Engine,
        mount: &Mount,
        cookie: &CookieKey,
        failure: Option<&Failure>,
    ) -> Look {
        let key = ObjectKey::of(&mount.volume, cookie);
        if let Some(ready) = self.fresh_in_memory(key, mount) {
            return ready;
        }
        let mut refreshes = lock(&self.refreshes);
        let current = self.current(engine, mount, cookie, key);
        if let Some(failure) = failure.filter(|failure| failure.object.cookie == *cookie) {
            return Self::give_up(
                engine,
                &mut refreshes,
                key,
                &failure.object,
                failure.errno,
                current,
            );
        }
        if let Some(document) = &current
            && let Some(left) = self.remaining(&key, document, mount.request.metadata_ttl())
        {
            return Look::Ready(Arc::clone(document), left);
        }
        match (refreshes.get(&key), current) {
            (Some(Refresh::Postponed(until)), Some(old)) if Instant::now() < *until => {
                Look::Ready(old, Duration::from_secs(1))
            }
            (Some(Refresh::Fetching(object)), current) => {
                let object = Arc::clone(object);
                self.advance(engine, &mut refreshes, key, &object, current)
            }
            (Some(Refresh::Postponed(_)) | None, current) => {
                match start(engine, mount, cookie, current.as_deref()) {
                    Ok(object) => {
                        refreshes.insert(key, Refresh::Fetching(Arc::clone(&object)));
                        Look::Wait(Need::Opened(object))
                    }
                    Err(errno) => current.map_or(Look::Refused(errno), serve_old),
                }
            }
        }
    }

    /// The document if it is at hand and, where `ttl` is given, not older; nothing is fetched.
    pub fn at_hand(
        &self,
        engine: &Engine,
        mount: &Mount,
        cookie: &CookieKey,
        ttl: Option<Duration>,
    ) -> Option<(Arc<Document>, Duration)> {
        let key = ObjectKey::of(&mount.volume, cookie);
        let document = match self.known.get(&key) {
            Some(Known::Document(document)) => document,
            Some(Known::Absent) => return None,
            None => self.current(engine, mount, cookie, key)?,
        };
        let left = match ttl {
            Some(ttl) => self.remaining(&key, &document, ttl)?,
            None => Duration::from_secs(1),
        };
        Some((document, left))
    }

    /// Notes that the origin contradicts what is known of this entry: what was fetched until now is
    /// too old, and listings are not believed about it.
    pub fn distrust(&self, volume: &str, entry: &CookieKey) {
        lock(&self.distrusted).insert(ObjectKey::of(volume, entry), SystemTime::now());
    }

    /// Whether [`Metadata::distrust`] was called for this entry.
    pub fn is_distrusted(&self, volume: &str, entry: &CookieKey) -> bool {
        let distrusted = lock(&self.distrusted);
        !distrusted.is_empty() && distrusted.contains_key(&ObjectKey::of(volume, entry))
    }

    /// How long `document` may still be believed; `None` when it is too old.
    fn remaining(&self, key: &ObjectKey, document: &Document, ttl: Duration) -> Option<Duration> {
        let distrusted = lock(&self.distrusted);
        if distrusted
            .get(key)
            .is_some_and(|since| document.fetched_at <= *since)
        {
            return None;
        }
        // A fetch in the future means that the clock was set back: not to be believed.
        let age = SystemTime::now().duration_since(document.fetched_at).ok()?;
        let ttl = if document.listing.is_negative() {
            ttl.min(NEGATIVE_TTL_MAX)
        } else {
            ttl
        };
        ttl.checked_sub(age).filter(|left| !left.is_zero())
    }

    fn fresh_in_memory(&self, key: ObjectKey, mount: &Mount) -> Option<Look> {
        match self.known.get(&key)? {
            Known::Absent => None,
            Known::Document(document) => {
                let left = self.remaining(&key, &document, mount.request.metadata_ttl())?;
                Some(Look::Ready(document, left))
            }
        }
    }

    /// The newest whole document there is, from memory or disk.
    fn current(
        &self,
        engine: &Engine,
        mount: &Mount,
        cookie: &CookieKey,
        key: ObjectKey,
    ) -> Option<Arc<Document>> {
        match self.known.get(&key) {
            Some(Known::Document(document)) => return Some(document),
            Some(Known::Absent) => return None,
            None => {}
        }
        let newest = [Slot::A, Slot::B]
            .into_iter()
            .filter_map(|slot| from_disk(engine, mount, cookie, slot))
            .max_by_key(|document| document.fetched_at)
            .map(Arc::new);
        let known = newest.clone().map_or(Known::Absent, Known::Document);
        self.known.insert(key, known);
        newest
    }

    /// Goes on with a fetch under way: waits for the rest, or takes the whole document in.
    fn advance(
        &self,
        engine: &Engine,
        refreshes: &mut HashMap<ObjectKey, Refresh>,
        key: ObjectKey,
        object: &Arc<CachedObject>,
        current: Option<Arc<Document>>,
    ) -> Look {
        let Some(size) = object.stored.size() else {
            return Look::Wait(Need::Opened(Arc::clone(object)));
        };
        let whole = match ByteRange::new(0, size) {
            Some(whole) if size <= DOCUMENT_BYTES_MAX => whole,
            Some(_) => {
                tracing::error!(
                    object = object.label(),
                    size,
                    "larger than {DOCUMENT_BYTES_MAX} bytes, refused"
                );
                return Self::give_up(engine, refreshes, key, object, Errno::EFBIG, current);
            }
            None => {
                tracing::error!(object = object.label(), "an empty document, refused");
                return Self::give_up(engine, refreshes, key, object, Errno::EIO, current);
            }
        };
        if !object.stored.is_present(whole) {
            return Look::Wait(Need::Bytes(Arc::clone(object), whole));
        }
        match load(object, slot_beside(current.as_deref())) {
            Ok(document) => {
                let document = Arc::new(document);
                refreshes.remove(&key);
                engine.leave(object, Errno::ESTALE);
                self.known
                    .insert(key, Known::Document(Arc::clone(&document)));
                Look::Ready(document, Duration::from_secs(1))
            }
            Err(errno) => Self::give_up(engine, refreshes, key, object, errno, current),
        }
    }

    /// The fetch of `object` failed: the old document serves on, if there is one.
    fn give_up(
        engine: &Engine,
        refreshes: &mut HashMap<ObjectKey, Refresh>,
        key: ObjectKey,
        object: &Arc<CachedObject>,
        errno: Errno,
        current: Option<Arc<Document>>,
    ) -> Look {
        // Only the first of several that waited for the same fetch ends it.
        if matches!(refreshes.get(&key), Some(Refresh::Fetching(current)) if current.serial == object.serial)
        {
            refreshes.remove(&key);
            engine.leave(object, errno);
            engine.discard(object);
            if current.is_some() {
                refreshes.insert(key, Refresh::Postponed(Instant::now() + RETRY_AFTER));
            }
        }
        current.map_or(Look::Refused(errno), serve_old)
    }
}

fn serve_old(old: Arc<Document>) -> Look {
    Look::Ready(old, Duration::from_secs(1))
}

fn slot_beside(current: Option<&Document>) -> Slot {
    current.map_or(Slot::A, |document| document.slot.other())
}

fn start(
    engine: &Engine,
    mount: &Mount,
    cookie: &CookieKey,
    current: Option<&Document>,
) -> Result<Arc<CachedObject>, Errno> {
    let key = slot_beside(current).key(cookie);
    let stored = engine
        .cache
        .create(mount.volume.as_bytes(), &key, None, &[])
        .map_err(|error| {
            tracing::error!(%error, "the cache cannot take a listing");
            reader_errno(error.errno())
        })?;
    let outage = match current {
        Some(_) => OutagePolicy::Eio {
            after: REFRESH_WITHIN,
        },
        None => mount.outage_policy(),
    };
    let volume = Arc::clone(&mount.volume);
    Ok(Arc::new(CachedObject::new(
        volume,
        cookie.clone(),
        stored,
        outage,
        0,
    )))
}

fn from_disk(engine: &Engine, mount: &Mount, cookie: &CookieKey, slot: Slot) -> Option<Document> {
    let key = slot.key(cookie);
    let stored = match engine.cache.lookup(mount.volume.as_bytes(), &key) {
        Ok(found) => found?,
        Err(error) => {
            tracing::warn!(%error, "a cached listing is unreadable and is fetched anew");
            return None;
        }
    };
    if !stored.is_complete() {
        return None;
    }
    read_document(&stored, slot)
        .inspect_err(|error| {
            tracing::warn!(%error, "a cached listing is malformed and is fetched anew");
        })
        .ok()
}

fn load(object: &CachedObject, slot: Slot) -> Result<Document, Errno> {
    read_document(&object.stored, slot).map_err(|error| {
        tracing::error!(object = object.label(), %error, "what the daemon gave is no listing");
        Errno::EIO
    })
}

fn read_document(
    stored: &StoredObject,
    slot: Slot,
) -> Result<Document, Box<dyn std::error::Error + Send + Sync>> {
    let size = stored.size().ok_or("its size is unknown")?;
    if size > DOCUMENT_BYTES_MAX {
        return Err("it is too large".into());
    }
    let mut document = vec![0; usize::try_from(size)?];
    stored.read_at(&mut document, 0)?;
    Ok(Document {
        listing: IndexedListing::new(document)?,
        fetched_at: stored.created_at(),
        slot,
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
