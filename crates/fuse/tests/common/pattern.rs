//! A file system of one directory with files of any size whose bytes are a function of their place.

use std::time::Duration;

use holdfast_fuse::{
    Accepted, Attributes, Connection, EntryReply, Errno, FileHandle, FileKind, NodeId, OpenFlags,
    Operation, ReadSpan, ReplyBuffer, ReplyError, Request,
};

/// Read through the page cache, which each open empties.
pub const CACHED: &str = "cached";
/// Each read(2) is one READ.
pub const DIRECT: &str = "direct";
/// Size of both files: no multiple of a page.
pub const SIZE_BYTES: u64 = 8 * 1024 * 1024 + 1234;

const CACHED_NODE: NodeId = NodeId(2);
const DIRECT_NODE: NodeId = NodeId(3);
const VALID: Duration = Duration::from_secs(3600);

/// The bytes at `offset`: each aligned eight tell where they are.
pub fn fill(bytes: &mut [u8], offset: u64) {
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = byte_at(offset + at as u64);
    }
}

fn byte_at(offset: u64) -> u8 {
    let word = (offset / 8).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    word.to_le_bytes()[(offset % 8) as usize]
}

/// Whether `bytes` are what the file has at `offset`.
pub fn is_right(bytes: &[u8], offset: u64) -> bool {
    bytes
        .iter()
        .enumerate()
        .all(|(at, &byte)| byte == byte_at(offset + at as u64))
}

/// Answers one request.
pub fn answer(
    connection: &Connection,
    request: &Request<'_>,
    payload: &mut ReplyBuffer,
) -> Result<Accepted, ReplyError> {
    let unique = request.unique;
    match request.operation {
        Operation::Lookup { name } => match name {
            b"cached" => connection.reply_entry(unique, &entry(CACHED_NODE)),
            b"direct" => connection.reply_entry(unique, &entry(DIRECT_NODE)),
            _ => connection.reply_error(unique, Errno::NOENT),
        },
        Operation::Getattr { .. } => {
            connection.reply_attr(unique, &attributes(request.nodeid), VALID)
        }
        Operation::Open { .. } => {
            let flags = if request.nodeid == DIRECT_NODE {
                OpenFlags::DIRECT_IO
            } else {
                OpenFlags::empty()
            };
            connection.reply_open(unique, FileHandle(0), flags)
        }
        Operation::Read { offset, size, .. } => {
            let span = ReadSpan {
                offset,
                size,
                file_size_bytes: SIZE_BYTES,
            };
            let len = span.reply_len_bytes();
            fill(&mut payload.bytes_mut()[..len], offset);
            connection.reply_read(unique, span, payload.filled(len))
        }
        Operation::Release { .. } => connection.reply_empty(unique),
        Operation::Forget { .. } | Operation::BatchForget(_) | Operation::Interrupt { .. } => {
            Ok(Accepted::Accepted)
        }
        Operation::Mutating { .. } => connection.reply_error(unique, Errno::ROFS),
        _ => connection.reply_error(unique, Errno::NOSYS),
    }
}

fn attributes(nodeid: NodeId) -> Attributes {
    let (kind, size_bytes) = if nodeid == NodeId::ROOT {
        (FileKind::Directory, 0)
    } else {
        (FileKind::File, SIZE_BYTES)
    };
    Attributes::new(nodeid.0, kind, 0o755, size_bytes)
}

fn entry(nodeid: NodeId) -> EntryReply {
    EntryReply {
        nodeid,
        generation: 0,
        entry_valid: VALID,
        attr_valid: VALID,
        attr: attributes(nodeid),
    }
}
