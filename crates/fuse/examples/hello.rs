//! A whole read-only file system in one file: one directory with a few files.
//!
//! ```text
//! cargo run -p holdfast-fuse --example hello -- /some/empty/directory
//! ```
//!
//! It serves until somebody unmounts it. Needs root for mount(2).
//!
//! Nodeid 1 is the directory, nodeid `2 + i` is file `i`, and the offset of a directory entry is its place in the
//! list: every number that the kernel gets can be understood without any state, so a successor process could go on with
//! this session at any moment.
use std::time::Duration;

use holdfast_fuse::{
    Accepted, Attributes, Connection, Dirent, DirentWriter, EntryReply, Errno, FileHandle,
    FileKind, NodeId, OpenFlags, Operation, Pushed, ReadSpan, ReceiveBuffer, Received, ReplyBuffer,
    ReplyError, Request,
};

/// How long the kernel may believe what it was told: nothing here ever changes.
const VALID: Duration = Duration::from_secs(3600);

/// One file.
pub struct File {
    pub(crate) name: &'static str,
    pub(crate) content: Vec<u8>,
    pub(crate) permissions: u16,
}

/// Serves `files` until the mount is gone. `buffer` and `payload` are this thread's own.
pub fn serve(connection: &Connection, files: &[File]) -> Result<(), Box<dyn std::error::Error>> {
    let mut buffer = ReceiveBuffer::new()?;
    let mut payload = ReplyBuffer::new()?;
    while let Received::Request(request) = connection.receive(&mut buffer)? {
        // Not accepted means that the reader was killed meanwhile: nothing to do.
        let _ = answer(connection, files, &request, &mut payload)?;
    }
    Ok(())
}

fn answer(
    connection: &Connection,
    files: &[File],
    request: &Request<'_>,
    payload: &mut ReplyBuffer,
) -> Result<Accepted, ReplyError> {
    let unique = request.unique;
    match request.operation {
        Operation::Lookup { name } => {
            match files.iter().position(|file| file.name.as_bytes() == name) {
                Some(at) => connection.reply_entry(unique, &entry(files, 2 + at as u64)),
                None => connection.reply_negative_entry(unique, VALID),
            }
        }
        Operation::Getattr { .. } => {
            connection.reply_attr(unique, &attributes(files, request.nodeid.0), VALID)
        }
        Operation::Open { .. } => connection.reply_open(
            unique,
            FileHandle(0),
            OpenFlags::KEEP_CACHE | OpenFlags::NOFLUSH,
        ),
        Operation::Opendir { .. } => {
            connection.reply_open(unique, FileHandle(0), OpenFlags::CACHE_DIR)
        }
        Operation::Read { offset, size, .. } => {
            let content = &files[request.nodeid.0 as usize - 2].content;
            let span = ReadSpan {
                offset,
                size,
                file_size_bytes: content.len() as u64,
            };
            let len = span.reply_len_bytes();
            let start = content.len().min(offset as usize);
            payload.bytes_mut()[..len].copy_from_slice(&content[start..start + len]);
            connection.reply_read(unique, span, payload.filled(len))
        }
        Operation::Readdir { offset, size, .. } => {
            let mut entries = DirentWriter::new(payload, size);
            for (at, file) in files.iter().enumerate().skip(offset as usize) {
                let at = at as u64;
                let name = file.name.as_bytes();
                let dirent = Dirent {
                    ino: 2 + at,
                    next_offset: at + 1,
                    kind: FileKind::File,
                    name,
                };
                if entries.push(&dirent) == Pushed::Full {
                    break;
                }
            }
            connection.reply_data(unique, entries.finish())
        }
        Operation::Release { .. } | Operation::Releasedir { .. } => connection.reply_empty(unique),
        Operation::Forget { .. } | Operation::BatchForget(_) | Operation::Interrupt { .. } => {
            Ok(Accepted::Accepted) // Wants no answer.
        }
        Operation::Mutating { .. } => connection.reply_error(unique, Errno::ROFS),
        _ => connection.reply_error(unique, Errno::NOSYS),
    }
}

fn attributes(files: &[File], nodeid: u64) -> Attributes {
    match nodeid.checked_sub(2).and_then(|at| files.get(at as usize)) {
        Some(file) => {
            let size_bytes = file.content.len() as u64;
            Attributes::new(nodeid, FileKind::File, file.permissions, size_bytes)
        }
        None => Attributes::new(nodeid, FileKind::Directory, 0o755, 0),
    }
}

fn entry(files: &[File], nodeid: u64) -> EntryReply {
    EntryReply {
        nodeid: NodeId(nodeid),
        generation: 0,
        entry_valid: VALID,
        attr_valid: VALID,
        attr: attributes(files, nodeid),
    }
}

// The integration test includes this file as a module, without `main`.
#[allow(dead_code)]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    use holdfast_fuse::{HandshakeOptions, handshake::Readdirplus, mount};

    let dir = std::env::args_os().nth(1).ok_or("usage: hello DIR")?;
    let file = |name, content| File {
        name,
        content,
        permissions: 0o444,
    };
    let files = [
        file("hello", b"Hello, world!\n".to_vec()),
        file("bytes", (0..1 << 20).map(|n| n as u8).collect()),
    ];
    let device = mount::open_device()?;
    mount::mount_direct(dir.as_ref(), &device, &mount::MountOptions::new("hello"))?;
    let connection = Connection::new(device);
    let options = HandshakeOptions {
        readdirplus: Readdirplus::Never,
        ..HandshakeOptions::default()
    };
    // Nobody will take this session over, so nothing is stored.
    connection.handshake(&mut ReceiveBuffer::new()?, &options, |_| Ok::<_, Errno>(()))?;
    serve(&connection, &files)
}
