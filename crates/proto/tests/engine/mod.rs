//! The least engine that can drive a daemon: one session, one request at a time, checked at every step.

use holdfast_proto::command::{BindMode, Command, LeaseCommand, OpenAnswer};
use holdfast_proto::key::CookieKey;
use holdfast_proto::message::{Body, Message, OPEN_FLAG_EXTENSION, Open, OpenExtension};
use holdfast_proto::{ByteRange, Errno, MessageId, WireObjectId};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown,
    SocketAddrUnix, SocketFlags, SocketType,
};
use std::fs::File;
use std::io::{IoSlice, Seek};
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

/// Generous: only a daemon that is stuck ever meets it.
const DEADLINE: Timespec = Timespec {
    tv_sec: 60,
    tv_nsec: 0,
};

/// An engine's end, with a daemon that was started for it and is ended with it.
pub struct Engine {
    directory: tempfile::TempDir,
    device: OwnedFd,
    daemon: Daemon,
    next_id: u32,
}

struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        // Already over after `finish`; after a failed test it must not outlive it.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An object that the daemon has opened.
#[derive(Debug)]
pub struct Opened {
    pub object_id: WireObjectId,
    pub lease: OwnedFd,
    /// The engine's own, readable descriptor of the data file.
    pub data: File,
    pub size: u64,
    pub validator: Vec<u8>,
}

impl Opened {
    /// Everything that is in the data file.
    pub fn bytes(&self) -> Vec<u8> {
        let mut file = self.data.try_clone().unwrap();
        file.rewind().unwrap();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut file, &mut bytes).unwrap();
        bytes
    }
}

impl Engine {
    /// Starts the daemon of the example on an empty directory, and takes its first commands.
    pub fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("root")).unwrap();
        let address = directory.path().join("device.sock");
        let listener = seqpacket();
        rustix::net::bind(&listener, &SocketAddrUnix::new(&address).unwrap()).unwrap();
        rustix::net::listen(&listener, 1).unwrap();
        let daemon = Daemon(spawn(&address, &directory.path().join("root")));
        wait_readable(listener.as_fd());
        let device = rustix::net::accept_with(&listener, SocketFlags::CLOEXEC).unwrap();
        let mut engine = Self {
            directory,
            device,
            daemon,
            next_id: 0,
        };
        assert_eq!(engine.command(), Command::Bind(BindMode::OnDemand));
        engine.expect_credit();
        engine
    }

    /// The directory that the daemon serves.
    pub fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    /// Hangs up; the daemon must end by itself.
    pub fn finish(self) {
        let Self {
            directory,
            device,
            mut daemon,
            ..
        } = self;
        drop(device);
        let pid = rustix::process::Pid::from_child(&daemon.0);
        let death = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
        wait_readable(death.as_fd());
        let status = daemon.0.wait().unwrap();
        assert_eq!(
            status.code(),
            Some(1),
            "the daemon says that the engine is gone"
        );
        directory.close().unwrap();
    }

    /// Sends a message with the next number.
    pub fn send(&mut self, object_id: WireObjectId, body: Body<'_>) -> MessageId {
        self.send_with(object_id, body, &[])
    }

    fn send_with(
        &mut self,
        object_id: WireObjectId,
        body: Body<'_>,
        fds: &[BorrowedFd<'_>],
    ) -> MessageId {
        let msg_id = MessageId(self.next_id);
        self.next_id += 1;
        let mut packet = Vec::new();
        Message {
            msg_id,
            object_id,
            body,
        }
        .encode(&mut packet)
        .unwrap();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        assert!(fds.is_empty() || ancillary.push(SendAncillaryMessage::ScmRights(fds)));
        let sent = rustix::net::sendmsg(
            &self.device,
            &[IoSlice::new(&packet)],
            &mut ancillary,
            SendFlags::NOSIGNAL,
        );
        assert_eq!(sent, Ok(packet.len()));
        msg_id
    }

    fn send_open(
        &mut self,
        key: &CookieKey,
        known: (Option<u64>, &[u8]),
        fds: &[BorrowedFd<'_>],
    ) -> WireObjectId {
        let object_id = WireObjectId(self.next_id + 1);
        let extension = OpenExtension {
            expected_size: known.0,
            validator: known.1,
        };
        let cookie_key = key.encode();
        let open = Open {
            volume_key: b"dir:/served",
            cookie_key: &cookie_key,
            fd: 0,
            flags: OPEN_FLAG_EXTENSION,
            extension: Some(extension),
        };
        self.send_with(object_id, Body::Open(open), fds);
        object_id
    }

    /// Sends an OPEN whose descriptors got lost.
    pub fn send_open_without_descriptors(&mut self, key: &CookieKey) {
        self.send_open(key, (None, b""), &[]);
    }

    /// The next command on the device.
    pub fn command(&mut self) -> Command {
        Command::parse(&receive(self.device.as_fd()).expect("the daemon hung up")).unwrap()
    }

    /// The daemon is idle again.
    pub fn expect_credit(&mut self) {
        assert!(matches!(self.command(), Command::Credit(credits) if credits.get() == 1));
    }

    /// The answer to the last message, which was an OPEN, and the credit that follows it.
    pub fn copen(&mut self) -> Result<OpenAnswer, Errno> {
        let Command::Copen { msg_id, answer } = self.command() else {
            panic!("no copen")
        };
        assert_eq!(msg_id, MessageId(self.next_id - 1));
        self.expect_credit();
        answer
    }

    fn try_open(&mut self, key: &CookieKey, known: (Option<u64>, &[u8])) -> Result<Opened, Errno> {
        let data = tempfile::NamedTempFile::new_in(self.directory.path()).unwrap();
        let write_only = File::options().write(true).open(data.path()).unwrap();
        let (lease, theirs) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        let object_id = self.send_open(key, known, &[write_only.as_fd(), theirs.as_fd()]);
        drop((theirs, write_only));
        match self.copen() {
            Ok(OpenAnswer { size, validator }) => {
                let validator = validator.expect("a validator");
                Ok(Opened {
                    object_id,
                    lease,
                    data: data.into_file(),
                    size,
                    validator,
                })
            }
            Err(errno) => {
                assert!(is_hung_up(&lease), "a refused object's lease is closed");
                Err(errno)
            }
        }
    }

    /// Opens an object of which so much is known.
    pub fn open(&mut self, key: &CookieKey, size: Option<u64>, validator: &[u8]) -> Opened {
        self.try_open(key, (size, validator)).unwrap()
    }

    /// The error with which an OPEN is refused.
    pub fn open_refused(&mut self, key: &CookieKey) -> Errno {
        self.open_refused_at(key, b"")
    }

    /// The error with which a reopen of this version is refused.
    pub fn open_refused_at(&mut self, key: &CookieKey, validator: &[u8]) -> Errno {
        self.try_open(key, (None, validator)).unwrap_err()
    }

    /// Has a range read: what was told present on the way, or the error.
    pub fn read(&mut self, opened: &Opened, range: ByteRange) -> Result<Vec<ByteRange>, Errno> {
        let request = self.send(opened.object_id, Body::Read(range));
        let mut present = Vec::new();
        loop {
            let text = receive(opened.lease.as_fd()).expect("the daemon hung up");
            match LeaseCommand::parse(&text).unwrap() {
                LeaseCommand::Present(range) => present.push(range),
                LeaseCommand::Cread { msg_id, answer } => {
                    assert_eq!(msg_id, request);
                    self.expect_credit();
                    return answer.map(|()| present);
                }
            }
        }
    }

    /// Opens an object, reads all of it and closes it.
    pub fn open_and_read(&mut self, key: &CookieKey) -> Vec<u8> {
        let opened = self.open(key, None, b"");
        let whole = ByteRange::whole(opened.size).unwrap().align_outward();
        self.read(&opened, whole).unwrap();
        let bytes = opened.bytes();
        assert_eq!(bytes.len() as u64, opened.size);
        self.close(opened);
        bytes
    }

    /// Closes an object; the daemon must close its lease.
    pub fn close(&mut self, opened: Opened) {
        self.send(opened.object_id, Body::Close);
        assert!(is_hung_up(&opened.lease));
    }
}

/// Ends this side of a lease in such a way that the other side can still be watched.
pub fn shut_down_writing(lease: &OwnedFd) {
    rustix::net::shutdown(lease, Shutdown::Write).unwrap();
}

/// Waits for what comes next on a lease, and tells whether it is its end.
pub fn is_hung_up(lease: &OwnedFd) -> bool {
    receive(lease.as_fd()).is_none()
}

fn seqpacket() -> OwnedFd {
    rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .unwrap()
}

fn spawn(address: &Path, root: &Path) -> Child {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/daemon.py");
    let mut command = std::process::Command::new("python3");
    command
        .arg(example)
        .arg("--socket")
        .arg(address)
        .arg("--root")
        .arg(root);
    command
        .stdin(Stdio::null())
        .spawn()
        .expect("python3 is needed by this test")
}

fn wait_readable(fd: BorrowedFd<'_>) {
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    let ready = rustix::io::retry_on_intr(|| poll(&mut fds, Some(&DEADLINE))).unwrap();
    assert_eq!(ready, 1, "the daemon is silent");
}

/// The next packet; `None` at the end.
fn receive(fd: BorrowedFd<'_>) -> Option<Vec<u8>> {
    wait_readable(fd);
    let mut packet = vec![0; 8192];
    // A peer that closed with packets unread resets the connection, which is an end too.
    let (received, _) = match rustix::net::recv(fd, &mut packet[..], RecvFlags::empty()) {
        Err(rustix::io::Errno::CONNRESET) => return None,
        other => other.unwrap(),
    };
    packet.truncate(received);
    (received > 0).then_some(packet)
}
