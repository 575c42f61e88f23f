//! The `dir:` source: a directory (or one file) of this machine or of a network file system.
//!
//! Invariants: no path leaves the root, and no symbolic link is followed below it (`openat2(2)` with `RESOLVE_BENEATH`
//! and `RESOLVE_NO_SYMLINKS`); links are handed out as links. A file's version is its mtime and ctime in nanoseconds,
//! size and inode; each READ compares it before and after the bytes are read. Devices, sockets and pipes have no place
//! in a read cache and are not shown. The root is looked up anew for each request, so a directory mounted again is
//! found again.
//!
//! Limit: two changes within one tick of the origin's clock (some milliseconds on older kernels) that keep the size
//! cannot be told apart, as with every tool that goes by mtime.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;
use holdfast_proto::ByteRange;
use holdfast_proto::key::RelativePath;
use holdfast_proto::listing::{Entry, EntryKind, Mtime};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno as OsErrno;

use super::{ByteStream, LISTING_ENTRIES_MAX, ROOT_NAME, Source};
use crate::errno::SourceError;

/// Bytes read at a time.
const PIECE_BYTES: u64 = 1 << 20;
/// Longest path given to one system call, in bytes (PATH_MAX is 4096 with its NUL).
const PATH_BYTES_MAX: usize = 4000;
/// Tries when the kernel cannot be sure of a path because something was renamed meanwhile (EAGAIN of `openat2`).
const OPEN_TRIES: usize = 16;

/// A directory tree, or a single file.
#[derive(Debug, Clone)]
pub struct DirSource {
    root: PathBuf,
}

/// What the source's root turned out to be.
enum Root {
    Directory(OwnedFd),
    /// A single file: the tree has one entry, named as the file.
    File {
        parent: OwnedFd,
        name: OsString,
    },
}

impl DirSource {
    /// The tree at `root`, an absolute path.
    #[must_use]
    pub fn new(root: PathBuf) -> DirSource {
        DirSource { root }
    }

    fn place(&self, path: &RelativePath) -> String {
        let relative: &Path = std::ffi::OsStr::from_bytes(path.as_bytes()).as_ref();
        self.root.join(relative).display().to_string()
    }

    fn root(&self) -> Result<Root, SourceError> {
        let os = |errno| SourceError::os(self.root.display().to_string(), errno);
        let root = rustix::fs::open(&self.root, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .map_err(os)?;
        if FileType::from_raw_mode(rustix::fs::fstat(&root).map_err(os)?.st_mode)
            == FileType::Directory
        {
            return Ok(Root::Directory(root));
        }
        let (Some(parent), Some(name)) = (self.root.parent(), self.root.file_name()) else {
            return Err(os(OsErrno::NOTDIR));
        };
        let parent = rustix::fs::openat(
            CWD,
            parent,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(os)?;
        Ok(Root::File {
            parent,
            name: name.to_owned(),
        })
    }

    /// Opens what `path` names, links as themselves.
    fn open(&self, path: &RelativePath, flags: OFlags) -> Result<OwnedFd, SourceError> {
        let os = |errno| self.open_error(path, errno);
        match self.root()? {
            Root::Directory(root) => open_beneath(root, path.as_bytes(), flags).map_err(os),
            Root::File { parent, name } if path.as_bytes() == name.as_bytes() => {
                // The one name that the user gave may be a link; it is what they meant.
                let flags = flags.difference(OFlags::NOFOLLOW) | OFlags::CLOEXEC;
                rustix::fs::openat(parent, name, flags, Mode::empty()).map_err(os)
            }
            Root::File { .. } => Err(os(OsErrno::NOENT)),
        }
    }

    fn open_error(&self, path: &RelativePath, errno: OsErrno) -> SourceError {
        let place = self.place(path);
        match errno {
            OsErrno::NOENT => SourceError::NotFound { place },
            // A link on the way (LOOP) is no directory of ours: the reader's kernel resolves links itself.
            OsErrno::NOTDIR | OsErrno::LOOP => SourceError::NotADirectory { place },
            errno => SourceError::os(place, errno),
        }
    }

    fn entry_blocking(&self, path: &RelativePath) -> Result<Option<Entry>, SourceError> {
        let name = path
            .file_name()
            .map_or_else(|| ROOT_NAME.to_vec(), <[u8]>::to_vec);
        if path.is_root() && matches!(self.root()?, Root::File { .. }) {
            return Ok(Some(plain_directory(name)));
        }
        match self.open(path, OFlags::PATH | OFlags::NOFOLLOW) {
            Ok(fd) => entry_of(&fd, name).map_err(|errno| SourceError::os(self.place(path), errno)),
            Err(SourceError::NotFound { .. } | SourceError::NotADirectory { .. })
                if !path.is_root() =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn list_blocking(&self, path: &RelativePath) -> Result<Vec<Entry>, SourceError> {
        if let (true, Root::File { name, .. }) = (path.is_root(), self.root()?) {
            let path =
                RelativePath::new(name.as_bytes()).map_err(|e| SourceError::Unsupported {
                    place: self.place(path),
                    detail: e.to_string(),
                })?;
            return Ok(self.entry_blocking(&path)?.into_iter().collect());
        }
        let fd = self.open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW)?;
        let os = |errno| SourceError::os(self.place(path), errno);
        let mut entries = Vec::new();
        for name in rustix::fs::Dir::read_from(&fd).map_err(os)? {
            let name = name.map_err(os)?;
            let name = name.file_name();
            if name.to_bytes() == b"." || name.to_bytes() == b".." {
                continue;
            }
            if entries.len() >= LISTING_ENTRIES_MAX {
                return Err(SourceError::TooBig {
                    place: self.place(path),
                    detail: "more than 16 Mi entries".into(),
                });
            }
            match rustix::fs::statat(&fd, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => {
                    let target = || {
                        rustix::fs::readlinkat(&fd, name, Vec::new())
                            .map(std::ffi::CString::into_bytes)
                    };
                    entries
                        .extend(entry_from(&stat, name.to_bytes().to_vec(), target).map_err(os)?);
                }
                // Gone between the two calls: as if listed a moment later.
                Err(OsErrno::NOENT) => {}
                Err(errno) => return Err(os(errno)),
            }
        }
        Ok(entries)
    }

    fn open_file(
        &self,
        path: &RelativePath,
        validator: &[u8],
    ) -> Result<(OwnedFd, u64), SourceError> {
        // NONBLOCK: a pipe that took the file's place must not hold the worker.
        let fd = self.open(
            path,
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY,
        )?;
        let stat = self.check(&fd, path, validator)?;
        Ok((fd, u64::try_from(stat.st_size).unwrap_or(0)))
    }

    /// Whether the open file is (still) the version wanted.
    fn check(
        &self,
        fd: &OwnedFd,
        path: &RelativePath,
        validator: &[u8],
    ) -> Result<Stat, SourceError> {
        let stat =
            rustix::fs::fstat(fd).map_err(|errno| SourceError::os(self.place(path), errno))?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            return Err(SourceError::IsADirectory {
                place: self.place(path),
            });
        }
        if validator_of(&stat) != validator {
            return Err(SourceError::Changed {
                place: self.place(path),
                detail: "mtime, size or inode differ".into(),
            });
        }
        Ok(stat)
    }

    /// One piece, proven to be of the version wanted by a look before and after.
    fn read_piece(
        &self,
        file: &OwnedFd,
        path: &RelativePath,
        validator: &[u8],
        offset: u64,
        len: usize,
    ) -> Result<Bytes, SourceError> {
        self.check(file, path, validator)?;
        let mut buffer = Vec::with_capacity(len);
        while buffer.len() < len {
            let at = offset + buffer.len() as u64;
            let room = len - buffer.len();
            let count = rustix::io::retry_on_intr(|| {
                rustix::io::pread(file, rustix::buffer::spare_capacity(&mut buffer), at)
            })
            .map_err(|errno| SourceError::os(self.place(path), errno))?;
            if count == 0 {
                break;
            }
            assert!(
                count <= room,
                "a read never returns more than there is room for"
            );
        }
        self.check(file, path, validator)?;
        buffer.truncate(len);
        Ok(buffer.into())
    }
}

#[async_trait]
impl Source for DirSource {
    async fn entry(&self, path: &RelativePath) -> Result<Option<Entry>, SourceError> {
        let (source, path) = (self.clone(), path.clone());
        blocking(move || source.entry_blocking(&path)).await
    }

    async fn list(&self, path: &RelativePath) -> Result<Vec<Entry>, SourceError> {
        let (source, path) = (self.clone(), path.clone());
        blocking(move || source.list_blocking(&path)).await
    }

    async fn open_check(
        &self,
        path: &RelativePath,
        validator: &[u8],
        _expected: Option<u64>,
    ) -> Result<u64, SourceError> {
        let (source, path, validator) = (self.clone(), path.clone(), validator.to_vec());
        blocking(move || source.open_file(&path, &validator).map(|(_, size)| size)).await
    }

    async fn read(
        &self,
        path: &RelativePath,
        validator: &[u8],
        _size: u64,
        range: ByteRange,
    ) -> Result<ByteStream, SourceError> {
        let (source, path, validator) = (self.clone(), path.clone(), validator.to_vec());
        let pieces = stream::try_unfold(
            (None, range.offset),
            move |(file, offset): (Option<OwnedFd>, u64)| {
                let (source, path, validator) = (source.clone(), path.clone(), validator.clone());
                let len = usize::try_from((range.end() - offset).min(PIECE_BYTES))
                    .expect("at most 1 MiB");
                async move {
                    if len == 0 {
                        return Ok(None);
                    }
                    blocking(move || {
                        let file = match file {
                            Some(file) => file,
                            None => source.open_file(&path, &validator)?.0,
                        };
                        let piece = source.read_piece(&file, &path, &validator, offset, len)?;
                        let next = offset + piece.len() as u64;
                        Ok((!piece.is_empty()).then_some((piece, (Some(file), next))))
                    })
                    .await
                }
            },
        );
        Ok(Box::pin(pieces))
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

/// Opens `path` below `root`, in steps where it is longer than one system call takes.
fn open_beneath(root: OwnedFd, path: &[u8], flags: OFlags) -> Result<OwnedFd, OsErrno> {
    let (mut at, mut rest) = (root, path);
    while rest.len() > PATH_BYTES_MAX {
        let cut = rest[..PATH_BYTES_MAX]
            .iter()
            .rposition(|byte| *byte == b'/')
            .ok_or(OsErrno::NAMETOOLONG)?;
        at = open_step(&at, &rest[..cut], OFlags::PATH | OFlags::DIRECTORY)?;
        rest = &rest[cut + 1..];
    }
    open_step(&at, if rest.is_empty() { b"." } else { rest }, flags)
}

fn open_step(at: &OwnedFd, path: &[u8], flags: OFlags) -> Result<OwnedFd, OsErrno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let mut last = OsErrno::AGAIN;
    for _ in 0..OPEN_TRIES {
        match rustix::fs::openat2(at, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(errno @ (OsErrno::AGAIN | OsErrno::INTR)) => last = errno,
            done => return done,
        }
    }
    Err(last)
}

fn entry_of(fd: &OwnedFd, name: Vec<u8>) -> Result<Option<Entry>, OsErrno> {
    let stat = rustix::fs::fstat(fd)?;
    entry_from(&stat, name, || {
        rustix::fs::readlinkat(fd, c"", Vec::new()).map(std::ffi::CString::into_bytes)
    })
}

fn entry_from(
    stat: &Stat,
    name: Vec<u8>,
    target: impl FnOnce() -> Result<Vec<u8>, OsErrno>,
) -> Result<Option<Entry>, OsErrno> {
    let (kind, size, validator) = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => (
            EntryKind::File,
            u64::try_from(stat.st_size).ok(),
            validator_of(stat),
        ),
        FileType::Directory => (EntryKind::Directory, None, Vec::new()),
        FileType::Symlink => (EntryKind::Symlink { target: target()? }, None, Vec::new()),
        FileType::Fifo
        | FileType::Socket
        | FileType::CharacterDevice
        | FileType::BlockDevice
        | FileType::Unknown => return Ok(None),
    };
    let mode = u16::try_from(stat.st_mode & 0o7777).expect("twelve bits");
    Ok(Some(Entry {
        name,
        kind,
        size,
        mode: Some(mode),
        mtime: mtime_of(stat),
        validator,
    }))
}

fn mtime_of(stat: &Stat) -> Option<Mtime> {
    Some(Mtime {
        s: stat.st_mtime,
        ns: u32::try_from(stat.st_mtime_nsec).ok()?,
    })
}

fn plain_directory(name: Vec<u8>) -> Entry {
    Entry {
        name,
        kind: EntryKind::Directory,
        size: None,
        mode: None,
        mtime: None,
        validator: Vec::new(),
    }
}

/// The version of a file as text; readable in logs and records.
fn validator_of(stat: &Stat) -> Vec<u8> {
    format!(
        "dir1:{}.{:09}:{}:{}:{}.{:09}",
        stat.st_mtime,
        stat.st_mtime_nsec,
        stat.st_size,
        stat.st_ino,
        stat.st_ctime,
        stat.st_ctime_nsec
    )
    .into_bytes()
}
