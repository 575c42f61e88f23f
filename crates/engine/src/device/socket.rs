//! System calls on the device's sockets.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType,
};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Daemons that may wait to be accepted.
const BACKLOG: i32 = 128;

/// A listening SEQPACKET socket at `path`; what a dead engine left there is replaced.
///
/// # Errors
/// The system's.
pub fn listen(path: &Path) -> io::Result<OwnedFd> {
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// The next waiting connection, if there is one.
///
/// # Errors
/// The system's.
pub fn accept(listener: impl AsFd) -> io::Result<Option<OwnedFd>> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    match rustix::net::accept_with(listener, flags) {
        Ok(socket) => Ok(Some(socket)),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::CONNABORTED) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The two ends of a lease: ours and the daemon's.
///
/// # Errors
/// The system's, EMFILE above all.
pub fn lease_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let pair = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    rustix::io::ioctl_fionbio(&pair.0, true)?;
    Ok(pair)
}

/// What a receive found.
#[derive(Debug, PartialEq, Eq)]
pub enum Packet {
    /// This many bytes.
    Bytes(usize),
    /// Nothing now.
    Empty,
    /// The other end is closed, and everything it sent has been read.
    HungUp,
}

/// Receives one packet.
///
/// A packet longer than `buffer` is cut; callers give a byte more than the longest valid one.
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> Packet {
    loop {
        match rustix::net::recv(&socket, &mut *buffer, RecvFlags::DONTWAIT) {
            Ok((0, _)) => return Packet::HungUp,
            Ok((len, _)) => return Packet::Bytes(len.min(buffer.len())),
            Err(rustix::io::Errno::AGAIN) => return Packet::Empty,
            Err(rustix::io::Errno::INTR) => {}
            // ECONNRESET: the other end closed with packets of ours unread.
            Err(_) => return Packet::HungUp,
        }
    }
}

/// Sends one packet with descriptors, whole or not at all.
///
/// # Errors
/// The system's: EAGAIN when the socket is full, ETOOMANYREFS when too many descriptors are under
/// way, EPIPE when nobody listens.
pub fn send(socket: impl AsFd, packet: &[u8], descriptors: &[OwnedFd]) -> rustix::io::Result<()> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !borrowed.is_empty() {
        let pushed = ancillary.push(SendAncillaryMessage::ScmRights(&borrowed));
        assert!(pushed, "there is room for two descriptors");
    }
    let sent = rustix::net::sendmsg(socket, &[IoSlice::new(packet)], &mut ancillary, flags)?;
    assert_eq!(sent, packet.len(), "SEQPACKET sends whole packets");
    Ok(())
}

/// The process at the other end.
#[derive(Debug)]
pub struct Peer {
    /// Its number.
    pub pid: Pid,
    /// Readable when it is dead.
    pub pidfd: OwnedFd,
}

/// Why a connection was refused.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// Its process cannot be found.
    #[error("the peer's process: {0}")]
    Process(#[from] io::Error),
    /// It runs as somebody else.
    #[error("the peer runs as user {uid}, not as user {ours} or root")]
    Foreign {
        /// The peer's user.
        uid: u32,
        /// Ours.
        ours: u32,
    },
    /// We could not end it, so nothing it holds could ever be given to another (H06).
    #[error("no right to end process {pid}, and without it its objects could never be handed over")]
    Untouchable {
        /// The process.
        pid: i32,
    },
}

/// Who is at the other end of `socket`; only who may be believed, and can be killed.
///
/// # Errors
/// See [`PeerError`].
pub fn peer(socket: impl AsFd) -> Result<Peer, PeerError> {
    let credentials = rustix::net::sockopt::socket_peercred(socket).map_err(io::Error::from)?;
    let ours = rustix::process::geteuid();
    if credentials.uid != ours && !credentials.uid.is_root() {
        return Err(PeerError::Foreign {
            uid: credentials.uid.as_raw(),
            ours: ours.as_raw(),
        });
    }
    let pid = credentials.pid;
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(io::Error::from)?;
    rustix::process::test_kill_process(pid).map_err(|_| PeerError::Untouchable {
        pid: pid.as_raw_nonzero().get(),
    })?;
    Ok(Peer { pid, pidfd })
}

/// Whether the process is dead or on its way there: a dying process closes its descriptors a while
/// before its pidfd says so (`PF_EXITING`, field 9 of proc_pid_stat(5)). For reports only.
pub fn is_dying(peer: &Peer) -> bool {
    const PF_EXITING: u64 = 0x4;
    let path = format!("/proc/{}/stat", peer.pid.as_raw_nonzero());
    let Ok(stat) = std::fs::read_to_string(path) else {
        return true;
    };
    // The command's name, in parentheses, may hold anything.
    let flags = stat
        .rsplit_once(") ")
        .and_then(|(_, fields)| fields.split(' ').nth(6)?.parse::<u64>().ok());
    flags.is_none_or(|flags| flags & PF_EXITING != 0)
}

/// Queues SIGKILL: from here on the process executes no instruction of its own (H05).
pub fn kill(peer: &Peer) {
    // ESRCH: dead already, which is what is wanted.
    let _ = pidfd_send_signal(&peer.pidfd, Signal::KILL);
}
