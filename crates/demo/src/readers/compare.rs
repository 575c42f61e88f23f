//! Comparing what was read with the source.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rustix::fs::{Advice, fadvise};

/// The most that is read and compared at once.
pub(super) const PIECE_BYTES: usize = 256 * 1024;

/// Number of places at which two pieces of equal length differ.
pub(super) fn differing_bytes(got: &[u8], expected: &[u8]) -> u64 {
    assert_eq!(
        got.len(),
        expected.len(),
        "pieces of different lengths cannot be compared"
    );
    if got == expected {
        return 0;
    }
    let count = got.iter().zip(expected).filter(|(a, b)| a != b).count();
    u64::try_from(count).expect("at most a piece")
}

/// The source of a file.
#[derive(Debug)]
pub(super) struct Expected {
    file: File,
    buffer: Vec<u8>,
}

impl Expected {
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: File::open(path)?,
            buffer: vec![0; PIECE_BYTES],
        })
    }

    /// Compares a piece, at most [`PIECE_BYTES`] long, with what the source has at `offset`.
    pub fn differing_bytes(&mut self, got: &[u8], offset: u64) -> io::Result<u64> {
        let expected = &mut self.buffer[..got.len()];
        self.file.read_exact_at(expected, offset)?;
        Ok(differing_bytes(got, expected))
    }
}

/// Drops what the kernel keeps of a file, so that the next reader of it reaches Holdfast. Only advice (posix_fadvise(2)): pages in use by
/// others stay, and nothing depends on it.
pub(super) fn drop_cached(file: &File) {
    let _ = fadvise(file, 0, None, Advice::DontNeed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_differing_byte_counts() {
        assert_eq!(differing_bytes(b"", b""), 0);
        assert_eq!(differing_bytes(b"abcd", b"abcd"), 0);
        assert_eq!(differing_bytes(b"abcd", b"xbcy"), 2);
        assert_eq!(differing_bytes(&[0; 1000], &[1; 1000]), 1000);
    }
}
