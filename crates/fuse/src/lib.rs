//! A FUSE session that outlives its process.
//!
//! This crate is transport only: it receives requests from `/dev/fuse`, parses them into types, sends typed
//! replies, and mounts. What a nodeid means is the business of its caller.
//!
//! What it does that other FUSE libraries do not:
//!
//! * A live `/dev/fuse` descriptor can be **taken over** by another process without INIT
//!   ([`Connection::take_over`]), and what the dead predecessor had read and not answered is asked for again
//!   ([`Connection::notify_resend`]).
//! * Every byte exchanged with the kernel lies in **resident** memory ([`buffers`]), so that a SIGKILL in the
//!   middle of a copy does not turn a reader's request into EIO.
//! * Replies are asynchronous: any thread may answer any request at any time.
//!
//! # Invariants
//! * One queue: all threads share one [`Connection`] (or a dup of its descriptor), never a clone made by
//!   `FUSE_DEV_IOC_CLONE`, whose requests would be aborted when its last holder dies.
//! * What INIT agreed on is stored by the caller *before* the INIT reply is sent ([`handshake`]).
//! * A reply to READ has the full length, or ends at the true end of the file ([`reply::ReadSpan`]).
//!
//! Implements: the kernel's `include/uapi/linux/fuse.h` up to protocol 7.45, `fs/fuse/dev.c`, fuse(4).
#![deny(unsafe_code)]

mod abi;
mod arguments;
// The only unsafe code: mapping and locking memory, argued there block by block.
#[allow(unsafe_code)]
pub mod buffers;
pub mod connection;
pub mod dirent;
pub mod handshake;
pub mod interrupt;
pub mod mount;
pub mod opcode;
pub mod operation;
pub mod reply;
pub mod request;

pub use buffers::{BufferError, ReceiveBuffer, ReplyBuffer, ResidentBytes};
pub use connection::{Accepted, Connection, NotifyError, ReceiveError, Received, ReplyError};
pub use dirent::{Dirent, DirentWriter, Pushed};
pub use handshake::{HandshakeError, HandshakeOptions, InitFlags, Negotiated};
pub use interrupt::{ReaderFate, fatal_signal_pending};
pub use opcode::Opcode;
pub use operation::{FileHandle, Forget, Forgets, InitRequest, Operation};
pub use reply::{Attributes, EntryReply, FileKind, OpenFlags, ReadSpan, StatfsReply, Timestamp};
pub use request::{NodeId, Request, RequestError, RequestId, Unique};
/// The errno type of this crate's replies and errors.
pub use rustix::io::Errno;
