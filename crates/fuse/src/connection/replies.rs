//! The replies of a [`Connection`].
//!
//! Invariant: a small reply is put together in the thread's resident buffer and written at once; a large one is
//! written from a [`ResidentBytes`], which only a resident buffer can make.

use std::io::IoSlice;
use std::time::Duration;

use fuse_abi::linux as raw;
use rustix::io::{Errno, write, writev};
use zerocopy::IntoBytes;

use super::{Accepted, Connection, ReplyError};
use crate::buffers::{self, BufferError, ResidentBytes, SMALL_BYTES};
use crate::handshake::Negotiated;
use crate::operation::FileHandle;
use crate::reply::{self, Attributes, EntryReply, OpenFlags, ReadSpan, StatfsReply};
use crate::request::Unique;

const HEADER_BYTES: usize = size_of::<raw::fuse_out_header>();

/// The longest body of [`Connection::reply_bytes`].
pub const SMALL_REPLY_MAX_BYTES: usize = SMALL_BYTES - HEADER_BYTES;

/// Each reply gives [`Accepted::Gone`] when the kernel does not know the request any more, and has these errors in
/// common: [`ReplyError::Buffer`] without memory, [`ReplyError::Write`] when the kernel refuses it.
impl Connection {
    /// Fails a request.
    ///
    /// # Errors
    /// [`ReplyError::Buffer`], [`ReplyError::Write`].
    pub fn reply_error(&self, unique: Unique, errno: Errno) -> Result<Accepted, ReplyError> {
        self.finish(self.write_message(unique.raw(), -errno.raw_os_error(), &[]))
    }

    /// Answers a request that wants no body (FLUSH, FSYNC, RELEASE, ACCESS, …).
    ///
    /// # Errors
    /// [`ReplyError::Buffer`], [`ReplyError::Write`].
    pub fn reply_empty(&self, unique: Unique) -> Result<Accepted, ReplyError> {
        self.finish(self.write_message(unique.raw(), 0, &[]))
    }

    /// Answers INIT. Store `negotiated` first: see [`crate::handshake`].
    ///
    /// # Errors
    /// [`ReplyError::Buffer`], [`ReplyError::Write`].
    ///
    /// # Panics
    /// When another `negotiated` is in force already: after a take-over, INIT is answered with the stored one.
    pub fn reply_init(
        &self,
        unique: Unique,
        negotiated: &Negotiated,
    ) -> Result<Accepted, ReplyError> {
        let in_force = self.negotiated.get_or_init(|| *negotiated);
        assert_eq!(in_force, negotiated, "what was agreed on never changes");
        self.reply_struct(unique, negotiated.to_raw().as_bytes())
    }

    /// Answers LOOKUP with a node. Once accepted it counts as one lookup of it.
    ///
    /// # Errors
    /// [`ReplyError::Buffer`], [`ReplyError::Write`].
    ///
    /// # Panics
    /// When the nodeid is 0.
    pub fn reply_entry(&self, unique: Unique, entry: &EntryReply) -> Result<Accepted, ReplyError> {
        assert_ne!(
            entry.nodeid.0, 0,
            "nodeid 0 means that there is no such name"
        );
        self.reply_struct(unique, entry.to_raw().as_bytes())
    }

    /// Answers LOOKUP: there is no such name, and the kernel need not ask again for `valid`.
    ///
    /// # Errors
    /// [`ReplyError::Buffer`], [`ReplyError::Write`].
    pub fn reply_negative_entry(
        &self,
        unique: Unique,
        valid: Duration,
    ) -> Result<Accepted, ReplyError> {
        self.reply_struct(unique, reply::negative_entry(valid).as_bytes())
    }

    /// Answers GETATTR; the attributes hold for `valid`.
    ///
    /// # Errors
    /// [`ReplyError::Buffer`], [`ReplyError::Write`].
    pub fn reply_attr(
        &self,
        unique: Unique,
        attr: &Attributes,
        valid: Duration,
    ) -> Result<Accepted, ReplyError> {
        self.reply_struct(unique, reply::attr_out(*attr, valid).as_bytes())
    }

    /// Answers OPEN or OPENDIR.
    ///
    /// # Errors
    /// [`ReplyError::Buffer`], [`ReplyError::Write`].
    pub fn reply_open(
        &self,
        unique: Unique,
        fh: FileHandle,
        flags: OpenFlags,
    ) -> Result<Accepted, ReplyError> {
        let open = raw::fuse_open_out {
            fh: fh.0,
            open_flags: flags.bits(),
            backing_id: 0,
        };
        self.reply_struct(unique, open.as_bytes())
    }

    /// Answers READ with file data, checked against the file's true size.
    ///
    /// # Errors
    /// [`ReplyError::Buffer`], [`ReplyError::Write`].
    ///
    /// # Panics
    /// When `data` is not exactly what was asked for, cut at the end of the file: a shorter reply would shrink the file.
    pub fn reply_read(
        &self,
        unique: Unique,
        span: ReadSpan,
        data: ResidentBytes<'_>,
    ) -> Result<Accepted, ReplyError> {
        span.assert_whole(data.as_slice().len());
        self.reply_data(unique, data)
    }

    /// Answers READDIR, READDIRPLUS, or anything else whose body is bytes, from resident memory without a copy. For READ
    /// use [`Connection::reply_read`].
    ///
    /// # Errors
    /// [`ReplyError::Buffer`], [`ReplyError::Write`].
    pub fn reply_data(
        &self,
        unique: Unique,
        data: ResidentBytes<'_>,
    ) -> Result<Accepted, ReplyError> {
        let data = data.as_slice();
        let sent = buffers::with_small_buffer(|small| {
            let header = &mut small[..HEADER_BYTES];
            header.copy_from_slice(message_header(unique.raw(), 0, data.len()).as_bytes());
            let parts = [IoSlice::new(header), IoSlice::new(data)];
            retrying(|| writev(&self.device, &parts))
        });
        self.finish(sent)
    }

    /// Answers with a short run of bytes that is copied (READLINK, GETXATTR and LISTXATTR with room).
    ///
    /// # Errors
    /// [`ReplyError::TooLong`] beyond [`SMALL_REPLY_MAX_BYTES`] (8,176); [`ReplyError::Buffer`], [`ReplyError::Write`].
    pub fn reply_bytes(&self, unique: Unique, bytes: &[u8]) -> Result<Accepted, ReplyError> {
        if bytes.len() > SMALL_REPLY_MAX_BYTES {
            return Err(ReplyError::TooLong {
                len_bytes: bytes.len(),
                max_bytes: SMALL_REPLY_MAX_BYTES,
            });
        }
        self.reply_struct(unique, bytes)
    }

    /// Answers READLINK.
    ///
    /// # Errors
    /// As [`Connection::reply_bytes`].
    pub fn reply_readlink(&self, unique: Unique, target: &[u8]) -> Result<Accepted, ReplyError> {
        self.reply_bytes(unique, target)
    }

    /// Answers GETXATTR or LISTXATTR that asked for the size (`size` 0).
    ///
    /// # Errors
    /// [`ReplyError::Buffer`], [`ReplyError::Write`].
    pub fn reply_xattr_size(
        &self,
        unique: Unique,
        size_bytes: u32,
    ) -> Result<Accepted, ReplyError> {
        let getxattr = raw::fuse_getxattr_out {
            size: size_bytes,
            padding: 0,
        };
        self.reply_struct(unique, getxattr.as_bytes())
    }

    /// Answers GETXATTR or LISTXATTR as xattr(7) wants it: the size when `size` is 0, ERANGE when `value` does not fit, else
    /// the value.
    ///
    /// # Errors
    /// As [`Connection::reply_bytes`].
    pub fn reply_xattr(
        &self,
        unique: Unique,
        size: u32,
        value: &[u8],
    ) -> Result<Accepted, ReplyError> {
        if size == 0 {
            // The kernel's limit of a value is 64 KiB.
            let size_bytes = u32::try_from(value.len()).unwrap_or(u32::MAX);
            self.reply_xattr_size(unique, size_bytes)
        } else if value.len() > size as usize {
            self.reply_error(unique, Errno::RANGE)
        } else {
            self.reply_bytes(unique, value)
        }
    }

    /// Answers STATFS.
    ///
    /// # Errors
    /// [`ReplyError::Buffer`], [`ReplyError::Write`].
    pub fn reply_statfs(
        &self,
        unique: Unique,
        statfs: &StatfsReply,
    ) -> Result<Accepted, ReplyError> {
        self.reply_struct(unique, statfs.to_raw().as_bytes())
    }

    /// Answers LSEEK with the position found.
    ///
    /// # Errors
    /// [`ReplyError::Buffer`], [`ReplyError::Write`].
    pub fn reply_lseek(&self, unique: Unique, offset: u64) -> Result<Accepted, ReplyError> {
        self.reply_struct(unique, raw::fuse_lseek_out { offset }.as_bytes())
    }

    fn reply_struct(&self, unique: Unique, body: &[u8]) -> Result<Accepted, ReplyError> {
        self.finish(self.write_message(unique.raw(), 0, body))
    }

    /// Writes header and body from the thread's resident buffer.
    pub(super) fn write_message(
        &self,
        unique: u64,
        error: i32,
        body: &[u8],
    ) -> Result<Result<(), Errno>, BufferError> {
        buffers::with_small_buffer(|small| {
            let message = &mut small[..HEADER_BYTES + body.len()];
            let (header, room) = message.split_at_mut(HEADER_BYTES);
            header.copy_from_slice(message_header(unique, error, body.len()).as_bytes());
            room.copy_from_slice(body);
            retrying(|| write(&self.device, message))
        })
    }

    fn finish(&self, sent: Result<Result<(), Errno>, BufferError>) -> Result<Accepted, ReplyError> {
        match sent? {
            Ok(()) => Ok(Accepted::Accepted),
            Err(Errno::NOENT) => Ok(Accepted::Gone),
            Err(errno) => Err(ReplyError::Write(errno)),
        }
    }
}

/// Repeats a write that a signal interrupted. The kernel takes a message whole or not at all.
fn retrying(mut send: impl FnMut() -> Result<usize, Errno>) -> Result<(), Errno> {
    loop {
        match send() {
            Ok(_whole) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

fn message_header(unique: u64, error: i32, body_bytes: usize) -> raw::fuse_out_header {
    let len = HEADER_BYTES + body_bytes;
    raw::fuse_out_header {
        // Bodies are at most a reply buffer long; what does not fit in 32 bits would be refused by the kernel.
        len: u32::try_from(len).unwrap_or(u32::MAX),
        error,
        unique,
    }
}
