//! The files of one incarnation, open.
//!
//! Invariants: the record is only ever written with `pwrite`; the data file is never written through this descriptor, and
//! it was opened before anybody could write to the file, so that `fdatasync` on it reports every failed write-back.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{AtFlags, FallocateFlags, Mode, OFlags};

use crate::layout::ObjectName;
use crate::record::{BitmapPlace, HEADER_BYTES_MAX, Identity, State};

/// A record up to this long is written whole when it is made, which reserves its space too.
const IMAGE_BYTES_MAX: u64 = 64 << 10;
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);
const FLAGS: OFlags = OFlags::CLOEXEC.union(OFlags::NOFOLLOW);

/// Record and data file.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) data: File,
    pub(crate) record: RecordFile,
}

impl Files {
    /// Opens both files of a known incarnation.
    pub(crate) fn open(objects: &OwnedFd, name: &ObjectName, incarnation: u64) -> io::Result<Self> {
        let record = RecordFile::open(objects, name)?;
        Ok(Self {
            data: open_data(objects, name, incarnation)?,
            record,
        })
    }
}

/// Opens a data file for reading and syncing.
pub(crate) fn open_data(
    objects: &OwnedFd,
    name: &ObjectName,
    incarnation: u64,
) -> io::Result<File> {
    let path = name.data_path(incarnation);
    Ok(rustix::fs::openat(objects, path, FLAGS | OFlags::RDONLY, Mode::empty())?.into())
}

/// Opens a data file for a daemon: writing only.
pub(crate) fn open_writer(
    objects: &OwnedFd,
    name: &ObjectName,
    incarnation: u64,
) -> io::Result<OwnedFd> {
    let path = name.data_path(incarnation);
    Ok(rustix::fs::openat(
        objects,
        path,
        FLAGS | OFlags::WRONLY,
        Mode::empty(),
    )?)
}

/// Opens a data file that is open, for writing only; it need not have a name any more.
pub(crate) fn reopen_for_writing(data: &File) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", data.as_raw_fd());
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// Makes a data file that was not there.
pub(crate) fn create_data(
    objects: &OwnedFd,
    name: &ObjectName,
    incarnation: u64,
) -> io::Result<File> {
    let path = name.data_path(incarnation);
    Ok(rustix::fs::openat(
        objects,
        path,
        FLAGS | OFlags::RDONLY | OFlags::CREATE | OFlags::EXCL,
        FILE_MODE,
    )?
    .into())
}

/// Unlinks the files of an incarnation: data first, so that no data file is ever without a record that names it.
pub(crate) fn unlink(objects: &OwnedFd, name: &ObjectName, incarnation: u64) -> io::Result<()> {
    unlink_path(objects, &name.data_path(incarnation))?;
    unlink_path(objects, &name.record_path())
}

/// Unlinks every file of an object, whatever its incarnation. Reads the object's folder (1/256 of the cache's names),
/// so it is for records that a power cut tore, and for nothing else.
pub(crate) fn unlink_all(objects: &OwnedFd, name: &ObjectName) -> io::Result<()> {
    let folder = rustix::fs::openat(
        objects,
        name.folder(),
        FLAGS | OFlags::DIRECTORY,
        Mode::empty(),
    )?;
    let (stem, record) = (name.stem(), format!("{}.record", name.stem()));
    for entry in rustix::fs::Dir::read_from(&folder)? {
        let entry = entry?;
        let file_name = entry.file_name().to_bytes();
        if file_name.starts_with(stem.as_bytes()) && file_name != record.as_bytes() {
            match rustix::fs::unlinkat(&folder, entry.file_name(), AtFlags::empty()) {
                Ok(()) | Err(rustix::io::Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    unlink_path(objects, &name.record_path())
}

/// Unlinks a file that may be gone already.
fn unlink_path(objects: &OwnedFd, path: &str) -> io::Result<()> {
    match rustix::fs::unlinkat(objects, path, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A record file, open for reading and writing.
#[derive(Debug)]
pub(crate) struct RecordFile(File);

impl RecordFile {
    pub(crate) fn open(objects: &OwnedFd, name: &ObjectName) -> io::Result<Self> {
        let file = rustix::fs::openat(
            objects,
            name.record_path(),
            FLAGS | OFlags::RDWR,
            Mode::empty(),
        )?;
        Ok(Self(file.into()))
    }

    /// Makes a record that was not there (EEXIST otherwise), and its folder if need be.
    pub(crate) fn create(objects: &OwnedFd, name: &ObjectName) -> io::Result<Self> {
        let open = || {
            let flags = FLAGS | OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
            rustix::fs::openat(objects, name.record_path(), flags, FILE_MODE)
        };
        let file = match open() {
            Err(rustix::io::Errno::NOENT) => {
                match rustix::fs::mkdirat(objects, name.folder(), Mode::RWXU) {
                    Ok(()) | Err(rustix::io::Errno::EXIST) => open()?,
                    Err(error) => return Err(error.into()),
                }
            }
            other => other?,
        };
        Ok(Self(file.into()))
    }

    /// Writes the header, and reserves the space of the bitmaps so that marking a block cannot run out of it.
    pub(crate) fn write_new(&self, identity: &Identity, state: &State) -> io::Result<()> {
        let mut image = identity.encode(state);
        let record_bytes = identity.bitmap_place().record_bytes();
        if record_bytes <= IMAGE_BYTES_MAX {
            // Bounded by the line above. Writing zeros reserves the blocks and saves a call.
            image.resize(record_bytes as usize, 0);
        } else {
            rustix::fs::fallocate(&self.0, FallocateFlags::empty(), 0, record_bytes)?;
        }
        self.0.write_all_at(&image, 0)
    }

    /// Writes the state into the slot of its sequence number.
    pub(crate) fn write_state(&self, state: &State) -> io::Result<()> {
        let (offset, bytes) = state.encode();
        self.0.write_all_at(&bytes, offset)
    }

    /// The file's first bytes, enough for every header and the bitmaps of small objects, in one call.
    pub(crate) fn read_start(&self) -> io::Result<Vec<u8>> {
        let mut image = vec![0; 4096];
        let mut len = self.read_up_to(&mut image, 0)?;
        if len == image.len() {
            image.resize(HEADER_BYTES_MAX, 0);
            len += self.read_up_to(&mut image[len..], len as u64)?;
        }
        image.truncate(len);
        Ok(image)
    }

    /// Words at `offset`; those behind the file's end are zero: a bit that was never written says absent.
    pub(crate) fn read_words(&self, offset: u64, words: u64) -> io::Result<Vec<u64>> {
        let count =
            usize::try_from(words).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        let mut bytes = vec![0; count * 8];
        let len = self.read_up_to(&mut bytes, offset)?;
        bytes[len..].fill(0);
        Ok(to_words(&bytes))
    }

    pub(crate) fn write_words(&self, offset: u64, words: &[u64]) -> io::Result<()> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.0.write_all_at(&bytes, offset)
    }

    /// The bitmap of present or of durable blocks out of `image` if it is all there, else from the file.
    pub(crate) fn bitmap(
        &self,
        image: &[u8],
        offset: u64,
        place: BitmapPlace,
    ) -> io::Result<Vec<u64>> {
        let within = usize::try_from(offset)
            .ok()
            .zip(usize::try_from(place.words * 8).ok());
        match within.and_then(|(start, len)| image.get(start..start.checked_add(len)?)) {
            Some(bytes) => Ok(to_words(bytes)),
            None => self.read_words(offset, place.words),
        }
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    pub(crate) fn allocated_bytes(&self) -> io::Result<u64> {
        allocated_bytes(&self.0)
    }

    fn read_up_to(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut len = 0;
        while len < buffer.len() {
            match self.0.read_at(&mut buffer[len..], offset + len as u64) {
                Ok(0) => break,
                Ok(count) => len += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(len)
    }
}

/// Bytes that the file system has set aside for a file.
pub(crate) fn allocated_bytes(file: &File) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    Ok(file.metadata()?.blocks() * 512)
}

fn to_words(bytes: &[u8]) -> Vec<u64> {
    bytes
        .as_chunks::<8>()
        .0
        .iter()
        .map(|word| u64::from_le_bytes(*word))
        .collect()
}
