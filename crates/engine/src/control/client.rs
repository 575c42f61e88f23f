//! The command line's end of the control socket.

use std::io::{BufRead, BufReader, IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

use super::SOCKET_NAME;
use super::protocol::{EngineStatus, MountReply, MountRequest, Reply, Request};

/// How long the engine may take to begin a mount.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// How long the engine may take to tell its state: one that hangs is to be seen soon.
const STATUS_WITHIN: Duration = Duration::from_secs(2);

/// Why a call on the control socket failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No engine listens, or the connection broke.
    #[error("the engine's control socket: {0}")]
    Io(#[from] std::io::Error),
    /// The engine closed the connection without an answer: it is winding down or died.
    #[error("the engine went away before it answered")]
    Gone,
    /// The answer is not one this version knows.
    #[error("the engine's answer is not understood: {0}")]
    Malformed(#[from] serde_json::Error),
    /// The engine refused; the text says why.
    #[error("the engine refused: {0}")]
    Refused(String),
    /// The engine answered another question than the one asked.
    #[error("the engine gave an answer of another kind")]
    WrongKind,
}

/// A connection to an engine's control socket.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
}

impl Client {
    /// Connects to the engine of the instance whose run directory is `run_dir`.
    ///
    /// # Errors
    /// [`ClientError::Io`] when nothing listens there.
    pub fn connect(run_dir: &Path) -> Result<Self, ClientError> {
        let stream = UnixStream::connect(run_dir.join(SOCKET_NAME))?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        stream.set_write_timeout(Some(ANSWER_WITHIN))?;
        Ok(Self { stream })
    }

    /// Hands `fuse` (an open `/dev/fuse`, mounted or about to be) to the engine. When this returns
    /// the engine serves it and, where it has a keeper, the keeper holds a copy (H22).
    ///
    /// # Errors
    /// See [`ClientError`]; [`ClientError::Refused`] when the engine cannot take it.
    pub fn mount(
        &mut self,
        request: &MountRequest,
        fuse: OwnedFd,
    ) -> Result<MountReply, ClientError> {
        match self.ask(&Request::Mount(request.clone()), Some(fuse))? {
            Reply::Mounted(reply) => Ok(reply),
            Reply::Refused { reason } => Err(ClientError::Refused(reason)),
            Reply::Status(_) | Reply::Forgotten => Err(ClientError::WrongKind),
        }
    }

    /// Tells the engine that the descriptor of `mount_id` will not be mounted: it and its keeper let
    /// go of it.
    ///
    /// # Errors
    /// See [`ClientError`]; [`ClientError::Refused`] when there is no such mount, or it is mounted.
    pub fn forget(&mut self, mount_id: u64) -> Result<(), ClientError> {
        match self.ask(&Request::Forget { mount_id }, None)? {
            Reply::Forgotten => Ok(()),
            Reply::Refused { reason } => Err(ClientError::Refused(reason)),
            Reply::Mounted(_) | Reply::Status(_) => Err(ClientError::WrongKind),
        }
    }

    /// Asks for the engine's state.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn status(&mut self) -> Result<EngineStatus, ClientError> {
        self.stream.set_read_timeout(Some(STATUS_WITHIN))?;
        match self.ask(&Request::Status, None)? {
            Reply::Status(status) => Ok(*status),
            Reply::Refused { reason } => Err(ClientError::Refused(reason)),
            Reply::Mounted(_) | Reply::Forgotten => Err(ClientError::WrongKind),
        }
    }

    fn ask(&mut self, request: &Request, fd: Option<OwnedFd>) -> Result<Reply, ClientError> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        let sent = match &fd {
            Some(fd) => self.send_with(&line, fd)?,
            None => 0,
        };
        self.stream.write_all(&line[sent..])?;
        let mut answer = String::new();
        BufReader::new(&self.stream).read_line(&mut answer)?;
        if answer.is_empty() {
            return Err(ClientError::Gone);
        }
        Ok(serde_json::from_str(&answer)?)
    }

    /// Sends the start of `line` with `fd` attached; returns how many bytes went.
    fn send_with(&self, line: &[u8], fd: &OwnedFd) -> Result<usize, ClientError> {
        let fds = [fd.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        ancillary.push(SendAncillaryMessage::ScmRights(&fds));
        let sent = rustix::net::sendmsg(
            &self.stream,
            &[IoSlice::new(line)],
            &mut ancillary,
            SendFlags::NOSIGNAL,
        )
        .map_err(std::io::Error::from)?;
        Ok(sent)
    }
}
