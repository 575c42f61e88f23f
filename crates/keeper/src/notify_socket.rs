//! The notification socket: datagrams with the sender's credentials and, at times, descriptors.
//!
//! Invariants: a descriptor that arrived is either handed on inside a [`Datagram`] or closed here; a message whose
//! descriptors did not all arrive (`MSG_CTRUNC`, hazard H16) is dropped whole, as systemd does, because which of them are
//! missing cannot be known. Who sent a message is what the kernel says, never what the text says.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, chmodat};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SocketAddrUnix, SocketFlags, SocketType, UCred, bind, recvmsg, socket_with, sockopt,
};

/// Longest message, bytes (systemd's `NOTIFY_BUFFER_MAX`).
const MESSAGE_BYTES_MAX: usize = 4096;
/// Most descriptors in one message (`SCM_MAX_FD`, `include/net/scm.h`).
pub(crate) const DESCRIPTORS_PER_MESSAGE_MAX: usize = 253;

/// The bound socket; its file goes with it.
#[derive(Debug)]
pub(crate) struct NotifySocket {
    socket: OwnedFd,
    path: PathBuf,
}

/// One message.
#[derive(Debug)]
pub(crate) struct Datagram {
    /// Who sent it.
    pub(crate) sender: UCred,
    pub(crate) text: Vec<u8>,
    pub(crate) descriptors: Vec<OwnedFd>,
}

/// What a read of the socket gave.
#[derive(Debug)]
pub(crate) enum Received {
    Datagram(Datagram),
    /// A message that cannot be used and is gone, with its descriptors closed.
    Refused(Refusal),
    /// Nothing is waiting.
    Empty,
}

/// Why a message was dropped before anybody looked at its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error(
        "its descriptors did not all arrive (limit of open files reached, or too many at once)"
    )]
    DescriptorsLost,
    #[error("it is longer than 4096 bytes")]
    TooLong,
    #[error("the kernel named no sender")]
    Anonymous,
}

impl NotifySocket {
    /// Binds the socket at an unused path, mode 0600.
    ///
    /// # Errors
    /// What socket(2), setsockopt(2), bind(2) or chmod(2) say.
    pub(crate) fn bind(path: PathBuf) -> Result<NotifySocket, Errno> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
        // Before bind: no message may arrive without its sender's credentials.
        sockopt::set_socket_passcred(&socket, true)?;
        bind(&socket, &SocketAddrUnix::new(&path)?)?;
        let bound = NotifySocket { socket, path };
        chmodat(CWD, &bound.path, Mode::RUSR | Mode::WUSR, AtFlags::empty())?;
        Ok(bound)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Takes the next message.
    ///
    /// # Errors
    /// What recvmsg(2) says, other than that nothing is waiting.
    pub(crate) fn receive(&self) -> Result<Received, Errno> {
        // One byte more than allowed: with MSG_TRUNC alone a too long message and a full one look the same to callers.
        let mut text = vec![0; MESSAGE_BYTES_MAX + 1];
        let mut space = [MaybeUninit::uninit();
            rustix::cmsg_space!(ScmRights(DESCRIPTORS_PER_MESSAGE_MAX), ScmCredentials(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let message = match recvmsg(
            &self.socket,
            &mut [IoSliceMut::new(&mut text)],
            &mut control,
            flags,
        ) {
            Ok(message) => message,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(Received::Empty),
            Err(errno) => return Err(errno),
        };
        let (sender, descriptors) = take_control(&mut control);
        if message.flags.contains(ReturnFlags::CTRUNC) {
            return Ok(Received::Refused(Refusal::DescriptorsLost));
        }
        if message.bytes > MESSAGE_BYTES_MAX {
            return Ok(Received::Refused(Refusal::TooLong));
        }
        text.truncate(message.bytes);
        Ok(match sender {
            Some(sender) => Received::Datagram(Datagram {
                sender,
                text,
                descriptors,
            }),
            None => Received::Refused(Refusal::Anonymous),
        })
    }
}

fn take_control(control: &mut RecvAncillaryBuffer<'_>) -> (Option<UCred>, Vec<OwnedFd>) {
    let mut sender = None;
    let mut descriptors = Vec::new();
    for message in control.drain() {
        match message {
            RecvAncillaryMessage::ScmRights(received) => descriptors.extend(received),
            RecvAncillaryMessage::ScmCredentials(credentials) => sender = Some(credentials),
            // The enum is rustix's and open; other kinds are not asked for on this socket.
            _ => {}
        }
    }
    (sender, descriptors)
}

impl Drop for NotifySocket {
    fn drop(&mut self) {
        // Best effort: the next keeper removes what is left.
        let _ = std::fs::remove_file(&self.path);
    }
}
