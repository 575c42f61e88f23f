//! What a path names: a file on disk or in memory, or a directory.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

/// openat2 gives EAGAIN when a rename happened meanwhile (openat2(2)); with more renames than this in a row it is an error.
const OPEN_ATTEMPTS_MAX: u32 = 64;

/// The directory at `/`.
#[derive(Debug)]
pub(super) struct Root {
    directory: OwnedFd,
}

/// Where the bytes are.
#[derive(Debug, Clone)]
pub(super) enum Content {
    Disk(Arc<OwnedFd>),
    Memory(Bytes),
}

/// A file as it is when the request arrives.
#[derive(Debug, Clone)]
pub(super) struct File {
    pub content: Content,
    pub size_bytes: u64,
    pub modified: SystemTime,
    /// What the entity tag is made of; differs between versions.
    pub tag: String,
}

/// What a path names.
#[derive(Debug)]
pub(super) enum Found {
    File(File),
    Directory(OwnedFd),
}

impl Root {
    pub fn open(path: &Path) -> Result<Self, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            directory: rustix::fs::open(path, flags, Mode::empty())?,
        })
    }

    /// Opens what `relative` names. Blocks as long as the file system does.
    pub fn find(&self, relative: &[u8]) -> Result<Found, Errno> {
        let path = if relative.is_empty() { b"." } else { relative };
        let opened = self.open_beneath(path)?;
        let stat = rustix::fs::fstat(&opened)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(Found::File(File {
                size_bytes: size_bytes(&stat),
                modified: modified(&stat),
                tag: format!(
                    "{:x}.{:09}-{:x}-{:x}",
                    stat.st_mtime, stat.st_mtime_nsec, stat.st_size, stat.st_ino
                ),
                content: Content::Disk(Arc::new(opened)),
            })),
            FileType::Directory => Ok(Found::Directory(opened)),
            FileType::Symlink
            | FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => Err(Errno::NOENT),
        }
    }

    fn open_beneath(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        // NONBLOCK: opening a FIFO must not wait for a writer.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        for _ in 1..OPEN_ATTEMPTS_MAX {
            match rustix::fs::openat2(&self.directory, path, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN) => {}
                done => return done,
            }
        }
        rustix::fs::openat2(&self.directory, path, flags, Mode::empty(), resolve)
    }
}

impl File {
    /// A file that is served from memory; its tag is made of its content.
    pub fn in_memory(content: &Bytes, modified: SystemTime) -> Self {
        use std::hash::{DefaultHasher, Hash as _, Hasher as _};
        let mut hasher = DefaultHasher::new();
        content.hash(&mut hasher);
        let size_bytes =
            u64::try_from(content.len()).expect("a length in memory fits into 64 bits");
        let tag = format!("memory-{size_bytes:x}-{:x}", hasher.finish());
        Self {
            content: Content::Memory(content.clone()),
            size_bytes,
            modified,
            tag,
        }
    }
}

/// The size of a regular file; the kernel never says a negative one.
pub(super) fn size_bytes(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// The modification time; times before 1970 become 1970, because HTTP dates of servers do.
pub(super) fn modified(stat: &Stat) -> SystemTime {
    let seconds = u64::try_from(stat.st_mtime).unwrap_or(0);
    UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_nanos(stat.st_mtime_nsec)
}
