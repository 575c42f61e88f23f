//! The loop of a thread that serves a mount.

use std::sync::Arc;

use holdfast_fuse::{
    Accepted, FileHandle, HandshakeOptions, InitRequest, Negotiated, NodeId, OpenFlags, Operation,
    ReceiveBuffer, ReceiveError, Received, ReplyBuffer, ReplyError, Request, Unique,
};
use holdfast_proto::Errno;

use crate::engine::Engine;
use crate::mount::Mount;
use crate::namespace::node::{Node, NodeKind};

use super::attributes;
use super::interrupts::Interrupts;
use super::outcome::to_system;
use super::perform::perform;
use super::waiting::{EntryStyle, Job, Waiting};

/// Why a thread stopped serving.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// No memory for the thread's buffers.
    #[error(transparent)]
    Buffer(#[from] holdfast_fuse::BufferError),
    /// The descriptor cannot be read.
    #[error(transparent)]
    Receive(ReceiveError),
}

/// Receives and answers requests until the mount ends.
///
/// # Errors
/// See [`ServeError`].
pub(crate) fn serve(
    engine: &Arc<Engine>,
    mount: &Arc<Mount>,
    interrupts: &Interrupts,
) -> Result<(), ServeError> {
    let mut incoming = ReceiveBuffer::new()?;
    let mut outgoing = ReplyBuffer::new()?;
    let server = Server {
        engine,
        mount,
        interrupts,
    };
    loop {
        match mount.connection.receive(&mut incoming) {
            Ok(Received::Request(request)) => server.dispatch(&request, &mut outgoing),
            Ok(Received::Unmounted) => return Ok(()),
            Ok(Received::Aborted) => return Ok(()),
            Err(ReceiveError::Malformed(error)) => {
                tracing::error!(%error, "a request of the kernel that is not understood");
                if let Some(unique) = error.unique() {
                    server.check(mount.connection.reply_error(unique, to_system(Errno::EIO)));
                }
            }
            Err(error) => return Err(ServeError::Receive(error)),
        }
    }
}

struct Server<'a> {
    engine: &'a Engine,
    mount: &'a Arc<Mount>,
    interrupts: &'a Interrupts,
}

impl Server<'_> {
    fn dispatch(&self, request: &Request<'_>, outgoing: &mut ReplyBuffer) {
        let connection = &self.mount.connection;
        let unique = request.unique;
        match request.operation {
            Operation::Lookup { name } => {
                let job = Job::Lookup {
                    parent: request.nodeid,
                    name: name.to_vec(),
                };
                self.perform(request, job, outgoing);
            }
            Operation::Read { offset, size, .. } => {
                let node = request.nodeid;
                self.perform(request, Job::Read { node, offset, size }, outgoing);
            }
            Operation::Readdir { offset, size, .. } => {
                self.read_directory(request, offset, size, EntryStyle::Plain, outgoing);
            }
            Operation::Readdirplus { offset, size, .. } => {
                self.read_directory(request, offset, size, EntryStyle::Plus, outgoing);
            }
            Operation::Forget { nlookup } => self.forget(request.nodeid, nlookup),
            Operation::BatchForget(forgets) => {
                for forget in forgets.iter() {
                    self.forget(forget.nodeid, forget.nlookup);
                }
            }
            Operation::Getattr { .. } => self.getattr(unique, request.nodeid),
            Operation::Readlink => self.readlink(unique, request.nodeid),
            Operation::Open { .. } => self.open(unique, request.nodeid),
            Operation::Opendir { .. } => {
                self.check(connection.reply_open(unique, FileHandle(0), OpenFlags::empty()));
            }
            Operation::Statfs => {
                self.check(connection.reply_statfs(unique, &attributes::statfs(self.mount)));
            }
            Operation::Release { .. }
            | Operation::Releasedir { .. }
            | Operation::Access { .. }
            | Operation::Destroy => self.check(connection.reply_empty(unique)),
            Operation::Interrupt {
                unique: interrupted,
            } => self.interrupts.note(self.mount, interrupted.id()),
            Operation::Init(init) => self.init(unique, &init),
            Operation::Mutating { .. } => self.refuse(unique, Errno::EROFS),
            // The kernel then does it itself or never asks again: extended attributes become
            // EOPNOTSUPP, a hole search finds none, close() waits for nobody (H20).
            Operation::Getxattr { .. }
            | Operation::Listxattr { .. }
            | Operation::Flush { .. }
            | Operation::Fsync { .. }
            | Operation::Fsyncdir { .. }
            | Operation::Lseek { .. }
            | Operation::Ioctl { .. }
            | Operation::Poll { .. }
            | Operation::Statx { .. }
            | Operation::Syncfs
            | Operation::Unsupported { .. }
            | Operation::Unknown { .. } => self.refuse(unique, Errno::ENOSYS),
        }
    }

    fn read_directory(
        &self,
        request: &Request<'_>,
        offset: u64,
        size: u32,
        style: EntryStyle,
        outgoing: &mut ReplyBuffer,
    ) {
        let job = Job::ReadDirectory {
            node: request.nodeid,
            offset,
            size,
            style,
        };
        self.perform(request, job, outgoing);
    }

    fn perform(&self, request: &Request<'_>, job: Job, outgoing: &mut ReplyBuffer) {
        let waiting = Box::new(Waiting {
            mount: Arc::clone(self.mount),
            unique: request.unique,
            tid: request.pid,
            job,
            need: None,
            attempts: 0,
        });
        perform(self.engine, waiting, Ok(()), outgoing);
    }

    fn forget(&self, node: NodeId, count: u64) {
        if let Some(node) = self.mount.nodes.forget(node, count) {
            self.engine.forgotten(&node);
        }
    }

    fn getattr(&self, unique: Unique, node: NodeId) {
        let Some(node) = self.node(unique, node) else {
            return;
        };
        let attributes = attributes::of(self.mount, &node);
        let valid = attributes::valid_for(self.mount, &node);
        self.check(self.mount.connection.reply_attr(unique, &attributes, valid));
    }

    fn readlink(&self, unique: Unique, node: NodeId) {
        let Some(node) = self.node(unique, node) else {
            return;
        };
        match &node.kind {
            NodeKind::Symlink { target } => {
                self.check(self.mount.connection.reply_readlink(unique, target));
            }
            NodeKind::File { .. } | NodeKind::Directory => self.refuse(unique, Errno::EINVAL),
        }
    }

    fn open(&self, unique: Unique, node: NodeId) {
        let Some(node) = self.node(unique, node) else {
            return;
        };
        if node.is_superseded() {
            // The kernel looks the name up again by itself, and finds the new version (H05).
            return self.refuse(unique, Errno::ESTALE);
        }
        // The content of a node never changes, so what the page cache has stays right; without
        // the flag an open would wait behind reads that are under way. And close(2) must not wait
        // for an engine that is just being replaced (H20).
        let flags = OpenFlags::KEEP_CACHE | OpenFlags::NOFLUSH;
        self.check(
            self.mount
                .connection
                .reply_open(unique, FileHandle(0), flags),
        );
    }

    fn init(&self, unique: Unique, init: &InitRequest) {
        let chosen = match self.mount.negotiated() {
            // The one before us died before it answered (H22).
            Some(agreed) => Ok(agreed),
            None => Negotiated::choose(init, &HandshakeOptions::default()),
        };
        let negotiated = match chosen {
            Ok(negotiated) => negotiated,
            Err(error) => {
                tracing::error!(%error, "no common ground with the kernel");
                return self.check(self.mount.connection.reply_error(unique, error.errno()));
            }
        };
        if let Err(error) = self.mount.agree(&negotiated) {
            tracing::error!(%error, "what was agreed with the kernel cannot be stored");
            return self.refuse(unique, Errno::EIO);
        }
        self.check(self.mount.connection.reply_init(unique, &negotiated));
    }

    /// The node, or `None` after ESTALE was answered: the kernel looks the name up again.
    fn node(&self, unique: Unique, node: NodeId) -> Option<Arc<Node>> {
        let found = self.mount.nodes.get(node);
        if found.is_none() {
            self.refuse(unique, Errno::ESTALE);
        }
        found
    }

    fn refuse(&self, unique: Unique, errno: Errno) {
        self.check(self.mount.connection.reply_error(unique, to_system(errno)));
    }

    fn check(&self, sent: Result<Accepted, ReplyError>) {
        match sent {
            Ok(Accepted::Accepted | Accepted::Gone) => {}
            Err(error) => {
                tracing::error!(mount = self.mount.id, %error, "a reply was not given");
            }
        }
    }
}
