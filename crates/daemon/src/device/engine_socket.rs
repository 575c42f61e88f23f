//! The engine's device socket: a `SOCK_SEQPACKET` connection, one packet one message, descriptors by `SCM_RIGHTS`.
//!
//! Invariants: the socket is non-blocking, so a slow engine never holds a thread; a descriptor that arrives is owned
//! at once (close-on-exec), so none leaks whatever the message turns out to be.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use async_trait::async_trait;
use holdfast_proto::command::{BindMode, Command, LeaseCommand, OpenAnswer};
use holdfast_proto::key::CookieKey;
use holdfast_proto::message::{Body, Message, Open};
use holdfast_proto::{ByteRange, Errno, MessageId};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno as OsErrno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendFlags,
    SocketAddrUnix, SocketFlags, SocketType,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::{Delivery, Device, DeviceError, Lease, OpenRequest};

/// Largest message, in bytes.
const MESSAGE_BYTES_MAX: usize = 16 * 1024;
/// Room for descriptors in one message; an engine sends two.
const DESCRIPTORS_MAX: usize = 8;

/// A session with the engine.
#[derive(Debug)]
pub struct EngineSocket {
    socket: AsyncFd<OwnedFd>,
}

impl EngineSocket {
    /// Connects to `device_socket`, binds, and grants `credits` requests. Must run inside a tokio runtime.
    ///
    /// # Errors
    /// [`DeviceError::Os`] when the socket is not there, refuses, or the system call fails; [`DeviceError::Closed`]
    /// when the engine hangs up at once.
    pub async fn connect(
        device_socket: &Path,
        credits: std::num::NonZeroU32,
    ) -> Result<EngineSocket, DeviceError> {
        let os = |operation| move |errno| DeviceError::Os { operation, errno };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
                .map_err(os("socket"))?;
        let address = SocketAddrUnix::new(device_socket).map_err(os("socket address"))?;
        // A Unix connect is done or fails at once: EAGAIN means a full backlog, which the caller's back-off handles.
        rustix::net::connect(&socket, &address).map_err(os("connect"))?;
        EngineSocket::start(socket, credits).await
    }

    /// Starts a session on a connected socket: `bind ondemand`, then the credits.
    ///
    /// # Errors
    /// As [`EngineSocket::connect`].
    pub async fn start(
        socket: OwnedFd,
        credits: std::num::NonZeroU32,
    ) -> Result<EngineSocket, DeviceError> {
        let os = |operation| move |errno| DeviceError::Os { operation, errno };
        rustix::io::ioctl_fionbio(&socket, true).map_err(os("FIONBIO"))?;
        let socket = watched(socket, Interest::READABLE | Interest::WRITABLE)?;
        let session = EngineSocket { socket };
        session.command(&Command::Bind(BindMode::OnDemand)).await?;
        session.command(&Command::Credit(credits)).await?;
        Ok(session)
    }

    async fn command(&self, command: &Command) -> Result<(), DeviceError> {
        let bytes = command.encode();
        self.socket
            .async_io(Interest::WRITABLE, |socket| {
                send(socket.as_fd(), &bytes).map_err(Into::into)
            })
            .await
            .map_err(|e| from_io("send a command", &e))
    }
}

#[async_trait]
impl Device for EngineSocket {
    async fn next(&self) -> Result<Delivery, DeviceError> {
        let packet = self
            .socket
            .async_io(Interest::READABLE, |socket| {
                receive(socket.as_fd()).map_err(Into::into)
            })
            .await
            .map_err(|e| from_io("receive", &e))?;
        packet.into_delivery()
    }

    async fn copen(
        &self,
        msg_id: MessageId,
        answer: Result<OpenAnswer, Errno>,
    ) -> Result<(), DeviceError> {
        self.command(&Command::Copen { msg_id, answer }).await
    }

    async fn credit(&self) -> Result<(), DeviceError> {
        self.command(&Command::Credit(std::num::NonZeroU32::MIN))
            .await
    }
}

/// One received packet with the descriptors that came along.
struct Packet {
    bytes: Vec<u8>,
    descriptors: Vec<OwnedFd>,
    truncated: bool,
}

impl Packet {
    fn into_delivery(self) -> Result<Delivery, DeviceError> {
        if self.bytes.is_empty() {
            return Err(DeviceError::Closed);
        }
        if self.truncated {
            return Err(DeviceError::Malformed(
                "longer than a message may be".into(),
            ));
        }
        let message =
            Message::parse(&self.bytes).map_err(|e| DeviceError::Malformed(e.to_string()))?;
        Ok(match message.body {
            Body::Open(open) => {
                open_delivery(message.msg_id, message.object_id, &open, self.descriptors)
            }
            Body::Close => Delivery::Close(message.object_id),
            Body::Read(range) => Delivery::Read {
                msg_id: message.msg_id,
                object_id: message.object_id,
                range,
            },
            Body::Rejected(errno) => Delivery::Rejected {
                command: message.msg_id.0,
                errno,
            },
        })
    }
}

fn open_delivery(
    msg_id: MessageId,
    object_id: holdfast_proto::WireObjectId,
    open: &Open<'_>,
    descriptors: Vec<OwnedFd>,
) -> Delivery {
    let mut descriptors = descriptors.into_iter();
    // MSG_CTRUNC shows as missing descriptors; a partial set is closed by its drop.
    let (Some(data), Some(lease)) = (descriptors.next(), descriptors.next()) else {
        return Delivery::OpenWithoutDescriptors(msg_id);
    };
    let (expected_size, validator) = match &open.extension {
        Some(extension) => (extension.expected_size, extension.validator.to_vec()),
        None => (None, Vec::new()),
    };
    Delivery::Open(OpenRequest {
        msg_id,
        object_id,
        volume_key: open.volume_key.to_vec(),
        cookie_key: CookieKey::parse(open.cookie_key),
        expected_size,
        validator,
        lease: Box::new(SocketLease { data, lease }),
    })
}

/// The pair of descriptors of one open object.
#[derive(Debug)]
struct SocketLease {
    data: OwnedFd,
    lease: OwnedFd,
}

impl SocketLease {
    async fn command(&self, command: &LeaseCommand) -> Result<(), DeviceError> {
        let text = command.to_string();
        match send(self.lease.as_fd(), text.as_bytes()) {
            Err(OsErrno::AGAIN) => {}
            Err(errno) => return Err(from_os("send on a lease", errno)),
            Ok(()) => return Ok(()),
        }
        // The engine is behind. Registered with epoll only now: a thousand idle leases then cost no registrations.
        // The duplicate is closed right after, so it does not delay the hang-up.
        let duplicate = rustix::io::fcntl_dupfd_cloexec(&self.lease, 0)
            .map_err(|errno| from_os("dup", errno))?;
        let lease = watched(duplicate, Interest::WRITABLE)?;
        lease
            .async_io(Interest::WRITABLE, |lease| {
                send(lease.as_fd(), text.as_bytes()).map_err(Into::into)
            })
            .await
            .map_err(|e| from_io("send on a lease", &e))
    }
}

#[async_trait]
impl Lease for SocketLease {
    fn data(&self) -> BorrowedFd<'_> {
        self.data.as_fd()
    }

    fn is_hung_up(&self) -> bool {
        let mut poll = [PollFd::new(&self.lease, PollFlags::empty())];
        let ready = rustix::event::poll(&mut poll, Some(&rustix::time::Timespec::default()));
        ready.is_ok()
            && poll[0]
                .revents()
                .intersects(PollFlags::HUP | PollFlags::ERR)
    }

    async fn present(&self, range: ByteRange) -> Result<(), DeviceError> {
        self.command(&LeaseCommand::Present(range)).await
    }

    async fn complete(
        &self,
        msg_id: MessageId,
        answer: Result<(), Errno>,
    ) -> Result<(), DeviceError> {
        self.command(&LeaseCommand::Cread { msg_id, answer }).await
    }
}

/// Registers a descriptor with the runtime's epoll.
#[expect(
    unsafe_code,
    reason = "tokio asks for a promise about the descriptor that OwnedFd keeps"
)]
fn watched(descriptor: OwnedFd, interest: Interest) -> Result<AsyncFd<OwnedFd>, DeviceError> {
    // SAFETY: `register_with_interest` wants a valid descriptor that stays open and the same while the AsyncFd lives.
    // An OwnedFd is valid and open by its type's promise; it moves into the AsyncFd, which closes it only when dropped,
    // after deregistration; and this module never takes it by `get_mut` to put another in its place.
    unsafe { AsyncFd::register_with_interest(descriptor, interest) }
        .map_err(|e| from_io("epoll", &e.into()))
}

/// Sends one packet. DONTWAIT because the engine's end decides about its own blocking mode, not ours.
fn send(socket: BorrowedFd<'_>, bytes: &[u8]) -> Result<(), OsErrno> {
    let sent = rustix::io::retry_on_intr(|| {
        rustix::net::send(socket, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
    })?;
    assert_eq!(sent, bytes.len(), "a SEQPACKET send is whole or fails");
    Ok(())
}

fn receive(socket: BorrowedFd<'_>) -> Result<Packet, OsErrno> {
    let mut bytes = vec![0_u8; MESSAGE_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let received = rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(
            socket,
            &mut [std::io::IoSliceMut::new(&mut bytes)],
            &mut ancillary,
            flags,
        )
    })?;
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    bytes.truncate(received.bytes);
    Ok(Packet {
        bytes,
        descriptors,
        truncated: received.flags.contains(ReturnFlags::TRUNC),
    })
}

fn from_io(operation: &'static str, error: &std::io::Error) -> DeviceError {
    from_os(
        operation,
        OsErrno::from_io_error(error).unwrap_or(OsErrno::IO),
    )
}

fn from_os(operation: &'static str, errno: OsErrno) -> DeviceError {
    match errno {
        OsErrno::PIPE | OsErrno::CONNRESET | OsErrno::NOTCONN => DeviceError::Closed,
        errno => DeviceError::Os { operation, errno },
    }
}
