//! Reads a file from its first byte to its end, as `cat` does.

use std::fs::File;
use std::io::{self, Read};

use super::compare::{Expected, PIECE_BYTES, drop_cached};
use super::{FileEnd, Kind, Shared};
use crate::clock::now_ns;
use crate::sample::SampleFile;
use crate::score::ReadDone;

pub(super) fn compare(shared: &Shared, file: &SampleFile) -> FileEnd {
    compare_with(shared, file)
        .unwrap_or_else(|error| shared.failed(Kind::Sequential, &file.path, &error))
}

fn compare_with(shared: &Shared, file: &SampleFile) -> io::Result<FileEnd> {
    let mut expected = Expected::open(&shared.config.source.join(&file.path))?;
    // A lookup that waits stalls a reader, too: the first read counts from the open on.
    let mut start_ns = now_ns();
    let mut mounted = File::open(shared.config.mount.join(&file.path))?;
    let mut buffer = vec![0; PIECE_BYTES];
    let mut offset_bytes = 0_u64;
    loop {
        if shared.stopped() {
            return Ok(FileEnd::Stopped);
        }
        let count = mounted.read(&mut buffer)?;
        let end_ns = now_ns();
        if count == 0 {
            break;
        }
        let bytes = u64::try_from(count).expect("at most a piece");
        if offset_bytes + bytes > file.size_bytes {
            return Err(io::Error::other(format!(
                "has more than its {} bytes",
                file.size_bytes
            )));
        }
        let differing_bytes = expected.differing_bytes(&buffer[..count], offset_bytes)?;
        offset_bytes += bytes;
        shared.score.read_done(ReadDone {
            start_ns,
            end_ns,
            bytes,
            differing_bytes,
        });
        start_ns = now_ns();
    }
    if offset_bytes != file.size_bytes {
        return Err(io::Error::other(format!(
            "ends after {offset_bytes} of {} bytes",
            file.size_bytes
        )));
    }
    drop_cached(&mounted);
    Ok(FileEnd::Compared)
}
