//! The server's side of [`crate::status`].
//!
//! Invariants: never blocks the keeper on a client; at most [`CLIENTS_MAX`] clients have an answer outstanding; a peer that
//! is neither this user nor root gets nothing.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use rustix::fs::{AtFlags, CWD, Mode, chmodat};
use rustix::net::sockopt::socket_peercred;
use rustix::process::geteuid;

/// Clients whose answer did not fit into the socket at once.
const CLIENTS_MAX: usize = 64;

/// The listening socket; its file goes with it.
#[derive(Debug)]
pub(crate) struct StatusSocket {
    listener: UnixListener,
    path: PathBuf,
    clients: Vec<(u32, Client)>,
    next_client: u32,
}

/// A client with the part of the answer that it has not taken yet.
#[derive(Debug)]
struct Client {
    stream: UnixStream,
    answer: Vec<u8>,
    sent_bytes: usize,
}

/// A client that has to be waited for: its number and what becomes writable.
pub(crate) struct Slow<'a> {
    pub(crate) number: u32,
    pub(crate) descriptor: BorrowedFd<'a>,
}

impl StatusSocket {
    /// Listens at an unused path, mode 0600.
    ///
    /// # Errors
    /// What bind(2), listen(2), chmod(2) say.
    pub(crate) fn listen(path: PathBuf) -> io::Result<StatusSocket> {
        let listener = UnixListener::bind(&path)?;
        listener.set_nonblocking(true)?;
        let socket = StatusSocket {
            listener,
            path,
            clients: Vec::new(),
            next_client: 0,
        };
        chmodat(CWD, &socket.path, Mode::RUSR | Mode::WUSR, AtFlags::empty())?;
        Ok(socket)
    }

    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// Takes the next client that may ask. `None`: nobody is waiting.
    pub(crate) fn accept(&self) -> Option<UnixStream> {
        loop {
            // Any error but "interrupted" means that there is nothing to be had now; epoll tells when there is again.
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return None,
            };
            if may_ask(&stream) && stream.set_nonblocking(true).is_ok() {
                return Some(stream);
            }
        }
    }

    /// Sends an answer; what does not fit now is kept, and the client is returned to be waited for.
    pub(crate) fn answer(&mut self, stream: UnixStream, answer: Vec<u8>) -> Option<Slow<'_>> {
        let mut client = Client {
            stream,
            answer,
            sent_bytes: 0,
        };
        if client.push() || self.clients.len() >= CLIENTS_MAX {
            return None;
        }
        let number = self.next_client;
        self.next_client = self.next_client.wrapping_add(1);
        self.clients.push((number, client));
        self.clients.last().map(|(number, client)| Slow {
            number: *number,
            descriptor: client.stream.as_fd(),
        })
    }

    /// A slow client is writable or gone.
    pub(crate) fn writable(&mut self, number: u32) {
        self.clients
            .retain_mut(|(known, client)| *known != number || !client.push());
    }
}

fn may_ask(stream: &UnixStream) -> bool {
    let allowed = |uid: rustix::process::Uid| uid == geteuid() || uid.is_root();
    socket_peercred(stream).is_ok_and(|peer| allowed(peer.uid))
}

impl Client {
    /// Sends as much as fits; true if the client needs nothing more (all sent, or gone).
    fn push(&mut self) -> bool {
        while let Some(rest) = self
            .answer
            .get(self.sent_bytes..)
            .filter(|rest| !rest.is_empty())
        {
            match self.stream.write(rest) {
                Ok(sent_bytes) => self.sent_bytes += sent_bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
            }
        }
        true
    }
}

impl Drop for StatusSocket {
    fn drop(&mut self) {
        // Best effort: the next keeper removes what is left.
        let _ = std::fs::remove_file(&self.path);
    }
}
