//! What is present, and reading it.

use std::io;
use std::os::unix::fs::FileExt;

use holdfast_proto::{BLOCK_BYTES, ByteRange};

use super::{Object, blocks_of};
use crate::error::ReadError;
use crate::presence::Presence;

impl Object {
    /// The bytes of `range` that are not present, as runs of whole blocks, ascending, apart from each other.
    ///
    /// Blocks behind the object's end are never missing; while the size is unknown all of `range` is.
    #[must_use]
    pub fn missing(&self, range: ByteRange) -> Vec<ByteRange> {
        match self.presence.get() {
            None => vec![range.align_outward()],
            Some(presence) => match blocks_of(presence, range) {
                None => Vec::new(),
                Some((first, end)) => presence.missing(first, end),
            },
        }
    }

    /// Whether all bytes of `range` that the object has are present; `false` while its size is unknown.
    #[must_use]
    pub fn is_present(&self, range: ByteRange) -> bool {
        let Some(presence) = self.presence.get() else {
            return false;
        };
        blocks_of(presence, range).is_none_or(|(first, end)| presence.contains(first, end))
    }

    /// Whether the size is known and every block is present.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.presence.get().is_some_and(Presence::is_complete)
    }

    /// Bytes present, of the object's own: the last block counts with the bytes it has.
    #[must_use]
    pub fn present_bytes(&self) -> u64 {
        self.presence.get().map_or(0, Presence::present_bytes)
    }

    /// Reads from byte `offset` on, up to the end of `buffer` or of the object, and returns how many bytes that was:
    /// always all of them. One `pread` when the files are open.
    ///
    /// # Errors
    /// [`ReadError::SizeUnknown`]; [`ReadError::Absent`] when a block asked for is not present; [`ReadError::Torn`] when the data file is
    /// shorter than its record says: everything from there on is absent from now on; [`ReadError::Io`] for the rest.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, ReadError> {
        let presence = self.presence.get().ok_or(ReadError::SizeUnknown)?;
        let asked = ByteRange::new(offset, buffer.len() as u64)
            .and_then(|range| range.clip(presence.size_bytes()));
        let Some(range) = asked else { return Ok(0) };
        if !presence.contains(range.first_block(), range.end_block()) {
            return Err(ReadError::Absent(range));
        }
        let files = self.files().map_err(ReadError::Io)?;
        // The buffer holds the clipped range, so its length fits.
        let buffer = &mut buffer[..range.len as usize];
        let mut len = 0;
        while len < buffer.len() {
            let at = offset + len as u64;
            match files.data.read_at(&mut buffer[len..], at) {
                Ok(0) => {
                    self.forget_from(&files, presence, at / BLOCK_BYTES);
                    return Err(ReadError::Torn { at });
                }
                Ok(count) => len += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ReadError::Io(error)),
            }
        }
        Ok(len)
    }
}
