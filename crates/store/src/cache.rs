//! The cache: a directory, its lock, and the objects this process knows.
//!
//! Invariants: one process has a cache open (flock); one [`Object`] exists per incarnation; at most one incarnation
//! of an object has a name in the file system.
//!
//! Lock order: known objects (one of the parts) → an object's record → an object's open files → the clock.

use std::collections::HashMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::SystemTime;

use rustix::fs::FlockOperation;

use crate::boot::BootId;
use crate::error::{CreateError, LookupError, OpenError, RecordError, RemoveError};
use crate::files::{self, Files, RecordFile};
use crate::handles::{Clock, lock};
use crate::layout::{FORMAT, ObjectName};
use crate::load::{Found, load};
use crate::object::{History, Object, footprint};
use crate::objects_dir::ObjectsDir;
use crate::record::{
    Identity, KEY_BYTES_MAX, OBJECT_SIZE_MAX_BYTES, State, Synced, VALIDATOR_BYTES_MAX, parse,
};
use crate::sparse::HoleReports;
use crate::usage::{Change, Usage, UsageFile};

/// How a cache is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// Objects whose files stay open, two descriptors each; the least recently used are closed beyond it.
    pub open_objects_max: usize,
    /// The boot this is; `None` asks the kernel. Given by tests of what a reboot does.
    pub boot: Option<BootId>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            open_objects_max: 256,
            boot: None,
        }
    }
}

/// An open cache directory. Shared by reference; all methods take `&self`.
#[derive(Debug)]
pub struct Cache {
    shared: Arc<Shared>,
}

/// Parts of the table of known objects, each with its own lock.
const KNOWN_PARTS: usize = 64;

/// What the cache and its objects share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) objects: ObjectsDir,
    pub(crate) clock: Clock,
    pub(crate) boot: BootId,
    pub(crate) holes: HoleReports,
    pub(crate) usage: UsageFile,
    known: [Mutex<HashMap<ObjectName, Weak<Object>>>; KNOWN_PARTS],
    last_incarnation: AtomicU64,
    /// Dropped last: the lock goes when nothing of the cache is in use any more.
    _lock: File,
}

impl Cache {
    /// Opens the cache in `dir`, making the directory and the layout where they are missing, and takes its lock.
    ///
    /// Costs the same however many objects there are: what a crash left is put right when its object is looked up.
    ///
    /// # Errors
    /// [`OpenError::NotADirectory`], [`OpenError::UnknownFormat`]; [`OpenError::InUse`] while another process (or another
    /// `Cache` of this one) has it open; [`OpenError::Io`] for everything else the kernel refuses.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        Self::open_with(dir, &Options::default())
    }

    /// [`Self::open`] with options.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(dir: &Path, options: &Options) -> Result<Self, OpenError> {
        let failed = |step| {
            move |source| OpenError::Io {
                dir: dir.to_owned(),
                step,
                source,
            }
        };
        make_dir(dir).map_err(failed("make the directory"))?;
        if !dir
            .metadata()
            .map_err(failed("look at the directory"))?
            .is_dir()
        {
            return Err(OpenError::NotADirectory(dir.to_owned()));
        }
        let lock_file = open_file(&dir.join("lock")).map_err(failed("open the lock"))?;
        match rustix::fs::flock(&lock_file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(OpenError::InUse(dir.to_owned())),
            Err(error) => return Err(failed("take the lock")(error.into())),
        }
        check_format(dir)?;
        let objects =
            ObjectsDir::open(&dir.join("objects")).map_err(failed("open the folder of objects"))?;
        let usage = open_file(&dir.join("usage")).map_err(failed("open the totals"))?;
        let boot = match options.boot {
            Some(boot) => boot,
            None => BootId::current().map_err(failed("learn the boot id"))?,
        };
        let shared = Shared {
            objects,
            clock: Clock::new(options.open_objects_max),
            boot,
            holes: HoleReports::of(dir).map_err(failed("try the file system"))?,
            usage: UsageFile::new(usage),
            known: std::array::from_fn(|_| Mutex::default()),
            last_incarnation: AtomicU64::new(0),
            _lock: lock_file,
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Whether the file system has room for `more_bytes` of data, above a reserve that is kept for records and listings: 2 % of
    /// it, at least 4 MiB and at most 512 MiB. Like cachefiles' `bstop`.
    ///
    /// # Errors
    /// What fstatvfs(3) says.
    pub fn has_room(&self, more_bytes: u64) -> io::Result<bool> {
        let space = rustix::fs::fstatvfs(self.shared.objects.get())?;
        let total_bytes = space.f_blocks.saturating_mul(space.f_frsize);
        let reserve_bytes = (total_bytes / 50).clamp(4 << 20, 512 << 20);
        let free_bytes = space.f_bavail.saturating_mul(space.f_frsize);
        Ok(free_bytes > reserve_bytes.saturating_add(more_bytes))
    }

    /// The object of these keys, if the cache has it. While anybody holds it, it is the same [`Object`] each time.
    ///
    /// An absent object costs one failed open. What a crash or a power cut made useless is unlinked here and is then
    /// absent. Only a record torn by a power cut makes this read the names of one folder (1/256 of the cache).
    ///
    /// # Errors
    /// What the kernel refused, such as EMFILE or EIO; never "no such file".
    pub fn lookup(
        &self,
        volume_key: &[u8],
        cookie_key: &[u8],
    ) -> Result<Option<Arc<Object>>, LookupError> {
        let name = ObjectName::new(volume_key, cookie_key);
        let shared = &self.shared;
        let mut known = lock(shared.part(&name));
        if let Some(object) = known.get(&name).and_then(Weak::upgrade) {
            return Ok(Some(object));
        }
        match load(
            &shared.objects.get(),
            &name,
            (volume_key, cookie_key),
            shared.boot,
        )
        .map_err(LookupError)?
        {
            Found::Absent => Ok(None),
            Found::Discarded(was) => {
                let change = was.map(|(identity, words)| footprint(&identity, &words));
                shared.usage.add(negated(change.unwrap_or(Change {
                    objects: 1,
                    ..Change::default()
                })));
                Ok(None)
            }
            Found::Usable(loaded) => {
                let history = if loaded.durable {
                    History::Clean
                } else {
                    History::Broken
                };
                let object = Object::new(
                    shared,
                    name,
                    &loaded.identity,
                    loaded.state,
                    &loaded.words,
                    history,
                );
                let object = Arc::new(object);
                object.adopt_files(loaded.files);
                known.insert(name, Arc::downgrade(&object));
                Ok(Some(object))
            }
        }
    }

    /// Makes a new incarnation of an object: no block is present, and its data file is a new inode.
    ///
    /// The incarnation before it, if any, is unlinked first; who holds it can read on from its present bytes, and can
    /// mark nothing any more. `size_bytes` is `None` while unknown. Costs two opens and one write.
    ///
    /// # Errors
    /// [`CreateError::KeyTooLong`], [`CreateError::ValidatorTooLong`], [`CreateError::TooLarge`] for what no record
    /// holds; [`CreateError::Record`] when the disk is full or the kernel refuses. Then nothing of the new incarnation is left, and the old
    /// one may be gone.
    pub fn create(
        &self,
        volume_key: &[u8],
        cookie_key: &[u8],
        size_bytes: Option<u64>,
        validator: &[u8],
    ) -> Result<Arc<Object>, CreateError> {
        check_bounds(volume_key, cookie_key, size_bytes, validator)?;
        let name = ObjectName::new(volume_key, cookie_key);
        let shared = &self.shared;
        // Declared before the guard, so that it is dropped after it: the drop of an object takes the same lock.
        let old;
        let mut known = lock(shared.part(&name));
        old = known.get(&name).and_then(Weak::upgrade);
        if let Some(old) = &old {
            old.retire().map_err(RecordError::from)?;
        }
        known.remove(&name);
        let created = SystemTime::now();
        let identity = Identity {
            volume_key: volume_key.into(),
            cookie_key: cookie_key.into(),
            validator: validator.into(),
            incarnation: shared.next_incarnation(created),
            size_bytes,
            created,
        };
        let state = State {
            sequence: 0,
            boot: shared.boot,
            verified: created,
            synced: Synced::Never,
        };
        let files = shared
            .create_files(&name, &identity, &state)
            .map_err(RecordError::from)?;
        let object = Arc::new(Object::new(
            shared,
            name,
            &identity,
            state,
            &[],
            History::Clean,
        ));
        object.adopt_files(files);
        shared.usage.add(footprint(&identity, &[]));
        known.insert(name, Arc::downgrade(&object));
        Ok(object)
    }

    /// Unlinks an incarnation; does nothing when it is unlinked already. The same as [`Object::unlink`].
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn remove(&self, object: &Object) -> Result<(), RemoveError> {
        object.unlink()
    }

    /// How much is in the cache.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.shared.usage.get()
    }

    /// Whether marks are checked against the file system's own idea of what was written.
    #[must_use]
    pub fn hole_reports(&self) -> HoleReports {
        self.shared.holes
    }
}

impl Shared {
    fn part(&self, name: &ObjectName) -> &Mutex<HashMap<ObjectName, Weak<Object>>> {
        &self.known[name.spread() % KNOWN_PARTS]
    }

    /// A number no incarnation made before has: the time in nanoseconds, and always higher than the last.
    fn next_incarnation(&self, now: SystemTime) -> u64 {
        let ns = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_nanos());
        let ns = u64::try_from(ns).unwrap_or(u64::MAX / 2);
        let next = |last: u64| Some(ns.max(last + 1));
        let last = self
            .last_incarnation
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        let last = last.expect("the update always gives a number");
        ns.max(last + 1)
    }

    /// [`Self::create_files_in`] the folder of objects, which is made again if somebody has removed it.
    fn create_files(
        &self,
        name: &ObjectName,
        identity: &Identity,
        state: &State,
    ) -> io::Result<Files> {
        let objects = self.objects.get();
        match self.create_files_in(&objects, name, identity, state) {
            Err(error)
                if error.kind() == io::ErrorKind::NotFound
                    && self.objects.remake_if_removed(&objects)? =>
            {
                self.create_files_in(&self.objects.get(), name, identity, state)
            }
            other => other,
        }
    }

    /// The record first, then the data file that it names; what was left of another incarnation goes before.
    fn create_files_in(
        &self,
        objects: &OwnedFd,
        name: &ObjectName,
        identity: &Identity,
        state: &State,
    ) -> io::Result<Files> {
        let record = match RecordFile::create(objects, name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.discard_unknown(name)?;
                RecordFile::create(objects, name)?
            }
            other => other?,
        };
        let made = record
            .write_new(identity, state)
            .and_then(|()| files::create_data(objects, name, identity.incarnation));
        match made {
            Ok(data) => Ok(Files { data, record }),
            Err(error) => {
                // Best effort: a record left without data is recognised at the next lookup.
                let _ = files::unlink(objects, name, identity.incarnation);
                Err(error)
            }
        }
    }

    /// Unlinks the incarnation on disk that no [`Object`] stands for.
    fn discard_unknown(&self, name: &ObjectName) -> io::Result<()> {
        let objects = &self.objects.get();
        let record = RecordFile::open(objects, name)?;
        let Some((identity, _)) = parse(&record.read_start()?) else {
            self.usage.add(Change {
                objects: -1,
                ..Change::default()
            });
            return files::unlink_all(objects, name);
        };
        let place = identity.bitmap_place();
        let words = record.read_words(place.present_offset(0), place.words)?;
        files::unlink(objects, name, identity.incarnation)?;
        self.usage.add(negated(footprint(&identity, &words)));
        Ok(())
    }

    /// Unlinks an incarnation, so that its name stands for no object from the moment on that anybody can see it.
    pub(crate) fn unlink(&self, name: &ObjectName, object: &Object) -> io::Result<()> {
        let mut known = lock(self.part(name));
        object.retire()?;
        remove_if_same(&mut known, name, object);
        Ok(())
    }

    /// Forgets an object that is being dropped, unless its name stands for another one by now.
    pub(crate) fn forget(&self, name: &ObjectName, object: *const Object) {
        remove_if_same(&mut lock(self.part(name)), name, object);
    }
}

/// Removes the entry of `name` unless it stands for another object than `object`.
fn remove_if_same(
    known: &mut HashMap<ObjectName, Weak<Object>>,
    name: &ObjectName,
    object: *const Object,
) {
    if known
        .get(name)
        .is_some_and(|weak| std::ptr::eq(weak.as_ptr(), object))
    {
        known.remove(name);
    }
}

pub(crate) fn negated(change: Change) -> Change {
    Change {
        objects: -change.objects,
        present_bytes: -change.present_bytes,
        allocated_bytes: -change.allocated_bytes,
    }
}

fn check_bounds(
    volume: &[u8],
    cookie: &[u8],
    size: Option<u64>,
    validator: &[u8],
) -> Result<(), CreateError> {
    let key_bytes = volume.len().max(cookie.len());
    if key_bytes > KEY_BYTES_MAX {
        return Err(CreateError::KeyTooLong(key_bytes));
    }
    if validator.len() > VALIDATOR_BYTES_MAX {
        return Err(CreateError::ValidatorTooLong(validator.len()));
    }
    match size {
        Some(size) if size > OBJECT_SIZE_MAX_BYTES => Err(CreateError::TooLarge(size)),
        Some(_) | None => Ok(()),
    }
}

/// Makes a directory for its owner alone; one that exists is left as it is (and so is a file in its place).
fn make_dir(dir: &Path) -> io::Result<()> {
    match DirBuilder::new().recursive(true).mode(0o700).create(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

/// Refuses a layout of another version; writes the version into a new cache.
fn check_format(dir: &Path) -> Result<(), OpenError> {
    let failed = |step| {
        move |source| OpenError::Io {
            dir: dir.to_owned(),
            step,
            source,
        }
    };
    let path = dir.join("format");
    match std::fs::read(&path) {
        Ok(found) if found == FORMAT.as_bytes() => Ok(()),
        Ok(found) => {
            let line = found
                .split(|byte| *byte == b'\n')
                .next()
                .unwrap_or_default();
            let found = String::from_utf8_lossy(&line[..line.len().min(80)]).into_owned();
            Err(OpenError::UnknownFormat {
                dir: dir.to_owned(),
                found,
            })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // By rename, so that a crash leaves no half of it; synced, so that a power cut leaves no empty one.
            let new = dir.join("format.new");
            std::fs::write(&new, FORMAT)
                .and_then(|()| File::open(&new)?.sync_all())
                .and_then(|()| std::fs::rename(&new, &path))
                .map_err(failed("write the format"))
        }
        Err(error) => Err(failed("read the format")(error)),
    }
}
