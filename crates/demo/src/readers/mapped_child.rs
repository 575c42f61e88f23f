//! The process behind a [`Mapper`](super::mapped::Mapper): maps the files it is told, and reports each piece.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use super::compare::{Expected, PIECE_BYTES, drop_cached};
use crate::clock::now_ns;

/// PATH_MAX of Linux and a little more.
const PATH_BYTES_MAX: usize = 8192;

/// Why the mapping reader's process ended before its input did.
#[derive(Debug, thiserror::Error)]
pub enum MmapReaderError {
    /// It was given arguments; it takes none.
    #[error("the mapping reader takes no arguments; it is started by `holdfast demo`")]
    Arguments,
    /// A request could not be read or an answer not be written: the demo has gone.
    #[error("the mapping reader has lost the demo: {0}")]
    Lost(#[from] io::Error),
}

/// The body of the hidden command `demo-mmap-reader`: serves requests from standard input until it ends.
///
/// # Errors
/// [`MmapReaderError::Arguments`] when there are arguments, [`MmapReaderError::Lost`] when standard input ends within a request or
/// standard output cannot be written.
pub fn mmap_reader_main(args: &[OsString]) -> Result<(), MmapReaderError> {
    if !args.is_empty() {
        return Err(MmapReaderError::Arguments);
    }
    // Named unlike an instance's processes, whose arguments the demo reads: it must not wait for a process stuck in a page fault.
    // Without the name only that is lost.
    let _ = rustix::thread::set_name(c"demo-mmap");
    Ok(serve(&mut io::stdin().lock(), &mut io::stdout().lock())?)
}

pub(super) fn serve(requests: &mut impl Read, answers: &mut impl Write) -> io::Result<()> {
    while let Some((mounted, source, size_bytes)) = read_request(requests)? {
        match compare_mapped(&mounted, &source, size_bytes, answers)? {
            Ok(()) => writeln!(answers, "done")?,
            Err(error) => writeln!(answers, "failed {}", error.to_string().replace('\n', " "))?,
        }
        answers.flush()?;
    }
    Ok(())
}

/// The outer error is one of answering, the inner one of reading.
fn compare_mapped(
    mounted: &Path,
    source: &Path,
    size_bytes: u64,
    answers: &mut impl Write,
) -> io::Result<io::Result<()>> {
    // A lookup that waits stalls a reader, too: the first piece counts from the open on.
    let mut start_ns = now_ns();
    let opened = File::open(mounted).and_then(|mounted| {
        let found = mounted.metadata()?.len();
        if found != size_bytes {
            return Err(io::Error::other(format!(
                "shows {found} of {size_bytes} bytes"
            )));
        }
        let expected = Expected::open(source)?;
        // An empty mapping is EINVAL (mmap(2)).
        let mapping = if size_bytes == 0 {
            None
        } else {
            Some(map(&mounted)?)
        };
        Ok((mounted, expected, mapping))
    });
    let (mounted, mut expected, mapping) = match opened {
        Ok(opened) => opened,
        Err(error) => return Ok(Err(error)),
    };
    let mut copy = vec![0; PIECE_BYTES];
    let mut offset_bytes = 0_u64;
    for piece in mapping
        .iter()
        .flat_map(|mapping| mapping.chunks(PIECE_BYTES))
    {
        let copy = &mut copy[..piece.len()];
        copy.copy_from_slice(piece); // the page faults
        let end_ns = now_ns();
        let differing = match expected.differing_bytes(copy, offset_bytes) {
            Ok(differing) => differing,
            Err(error) => return Ok(Err(error)),
        };
        writeln!(
            answers,
            "read {start_ns} {end_ns} {} {differing}",
            piece.len()
        )?;
        answers.flush()?;
        offset_bytes += u64::try_from(piece.len()).expect("at most a piece");
        start_ns = now_ns();
    }
    drop(mapping);
    drop_cached(&mounted);
    Ok(Ok(()))
}

fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: memmap2 asks that the file is not changed or truncated while it is mapped. A mounted file is of one version for ever (Holdfast
    // is read only, and another version is another inode); should the mount break that promise or fail to give a page, the worst that
    // happens is a wrong byte, which is counted, or SIGBUS, for which this process exists. No reference into the mapping outlives it, and
    // bytes are copied out before anything depends on their staying the same.
    unsafe { Mmap::map(file) }
}

fn read_request(requests: &mut impl Read) -> io::Result<Option<(PathBuf, PathBuf, u64)>> {
    let mut first = [0; 1];
    if requests.read(&mut first)? == 0 {
        return Ok(None);
    }
    let mut rest = [0; 3];
    requests.read_exact(&mut rest)?;
    let mounted = read_path(
        requests,
        u32::from_ne_bytes([first[0], rest[0], rest[1], rest[2]]),
    )?;
    let mut len = [0; 4];
    requests.read_exact(&mut len)?;
    let source = read_path(requests, u32::from_ne_bytes(len))?;
    let mut size_bytes = [0; 8];
    requests.read_exact(&mut size_bytes)?;
    Ok(Some((mounted, source, u64::from_ne_bytes(size_bytes))))
}

fn read_path(requests: &mut impl Read, len: u32) -> io::Result<PathBuf> {
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    if len > PATH_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut path = vec![0; len];
    requests.read_exact(&mut path)?;
    Ok(OsStr::from_bytes(&path).into())
}
