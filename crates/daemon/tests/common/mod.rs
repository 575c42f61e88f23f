//! A fake engine: the other end of the device socket, one request at a time, every answer checked.

use std::fs::File;
use std::io::{IoSlice, Read, Seek, SeekFrom};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

use holdfast_daemon::{DaemonConfig, VolumeConfig};
use holdfast_proto::command::{BindMode, Command, LeaseCommand, OpenAnswer};
use holdfast_proto::key::{CookieKey, RelativePath};
use holdfast_proto::listing::{Entry, Listing};
use holdfast_proto::message::{Body, Message, Open, OpenExtension};
use holdfast_proto::{BLOCK_BYTES, ByteRange, Errno, MessageId, WireObjectId};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType,
};

/// Longest wait for an answer.
const DEADLINE: Duration = Duration::from_secs(60);

pub struct FakeEngine {
    run_dir: Option<tempfile::TempDir>,
    listener: OwnedFd,
    session: Option<OwnedFd>,
    daemon: Option<JoinHandle<()>>,
    pub credits: u32,
    next_msg_id: u32,
}

/// An object that the daemon has opened.
#[derive(Debug)]
pub struct Opened {
    pub id: WireObjectId,
    pub size: u64,
    pub validator: Vec<u8>,
    pub data: File,
    pub lease: OwnedFd,
}

impl FakeEngine {
    /// Starts a daemon of `workers` and takes its session.
    pub fn start(workers: usize) -> FakeEngine {
        let run_dir = tempfile::tempdir().unwrap();
        let listener = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        rustix::net::bind(
            &listener,
            &SocketAddrUnix::new(run_dir.path().join("device.sock")).unwrap(),
        )
        .unwrap();
        rustix::net::listen(&listener, 8).unwrap();
        let config = DaemonConfig {
            workers,
            ..DaemonConfig::new(run_dir.path().to_owned())
        };
        let daemon = std::thread::spawn(move || holdfast_daemon::run(config).unwrap());
        let mut engine = FakeEngine {
            run_dir: Some(run_dir),
            listener,
            session: None,
            daemon: Some(daemon),
            credits: 0,
            next_msg_id: 0,
        };
        engine.accept();
        engine
    }

    pub fn run_dir(&self) -> &Path {
        self.run_dir.as_ref().unwrap().path()
    }

    pub fn configure(&self, config: &VolumeConfig) {
        config.write(self.run_dir()).unwrap();
    }

    /// Takes the daemon's next session.
    pub fn accept(&mut self) {
        self.session = None;
        let session = rustix::net::accept(&self.listener).unwrap();
        rustix::net::sockopt::set_socket_timeout(
            &session,
            rustix::net::sockopt::Timeout::Recv,
            Some(DEADLINE),
        )
        .unwrap();
        self.session = Some(session);
        assert_eq!(self.command(), Command::Bind(BindMode::OnDemand));
        let Command::Credit(credits) = self.command() else {
            panic!("no credit")
        };
        self.credits = credits.get();
    }

    fn command(&self) -> Command {
        let packet = receive(self.session.as_ref().unwrap());
        Command::parse(&packet).unwrap()
    }

    pub fn credit(&mut self) {
        assert_eq!(self.command(), Command::Credit(std::num::NonZeroU32::MIN));
        self.credits += 1;
    }

    fn send(
        &mut self,
        body: Body<'_>,
        object_id: WireObjectId,
        descriptors: &[OwnedFd],
    ) -> MessageId {
        let msg_id = MessageId(self.next_msg_id);
        self.next_msg_id += 1;
        let mut packet = Vec::new();
        Message {
            msg_id,
            object_id,
            body,
        }
        .encode(&mut packet)
        .unwrap();
        let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !borrowed.is_empty() {
            assert!(ancillary.push(SendAncillaryMessage::ScmRights(&borrowed)));
        }
        let session = self.session.as_ref().unwrap();
        rustix::net::sendmsg(
            session,
            &[IoSlice::new(&packet)],
            &mut ancillary,
            SendFlags::NOSIGNAL,
        )
        .unwrap();
        msg_id
    }

    fn send_open(
        &mut self,
        volume: &str,
        key: &CookieKey,
        size: Option<u64>,
        validator: &[u8],
        with_descriptors: bool,
    ) -> (MessageId, WireObjectId, File, OwnedFd) {
        let data = tempfile::NamedTempFile::new().unwrap();
        let writer = File::options().write(true).open(data.path()).unwrap();
        let (ours, theirs) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        rustix::net::sockopt::set_socket_timeout(
            &ours,
            rustix::net::sockopt::Timeout::Recv,
            Some(DEADLINE),
        )
        .unwrap();
        let id = WireObjectId(self.next_msg_id + 1000);
        let cookie_key = key.encode();
        let open = Open {
            volume_key: volume.as_bytes(),
            cookie_key: &cookie_key,
            fd: 0,
            flags: 1,
            extension: Some(OpenExtension {
                expected_size: size,
                validator,
            }),
        };
        let descriptors = if with_descriptors {
            vec![writer.into(), theirs]
        } else {
            Vec::new()
        };
        let msg_id = self.send(Body::Open(open), id, &descriptors);
        self.credits -= 1;
        (msg_id, id, data.into_file(), ours)
    }

    fn answer(&mut self, msg_id: MessageId) -> Result<OpenAnswer, Errno> {
        let Command::Copen {
            msg_id: answered,
            answer,
        } = self.command()
        else {
            panic!("no copen")
        };
        assert_eq!(answered, msg_id);
        self.credit();
        answer
    }

    pub fn open(
        &mut self,
        volume: &str,
        key: &CookieKey,
        size: Option<u64>,
        validator: &[u8],
    ) -> Result<Opened, Errno> {
        let (msg_id, id, data, lease) = self.send_open(volume, key, size, validator, true);
        self.answer(msg_id).map(|answer| Opened {
            id,
            size: answer.size,
            validator: answer.validator.unwrap(),
            data,
            lease,
        })
    }

    pub fn open_without_descriptors(
        &mut self,
        volume: &str,
        key: &CookieKey,
    ) -> Result<OpenAnswer, Errno> {
        let (msg_id, ..) = self.send_open(volume, key, None, b"", false);
        self.answer(msg_id)
    }

    /// Sends a READ and does not wait for it.
    pub fn send_read(&mut self, object: &Opened, range: ByteRange) -> MessageId {
        self.credits -= 1;
        self.send(Body::Read(range), object.id, &[])
    }

    /// Waits for the answer to a READ; what `present` said.
    pub fn await_read(
        &mut self,
        object: &Opened,
        msg_id: MessageId,
    ) -> (Result<(), Errno>, Vec<ByteRange>) {
        let mut told = Vec::new();
        let answer = loop {
            match LeaseCommand::parse(&receive(&object.lease)).unwrap() {
                LeaseCommand::Present(range) => {
                    assert!(range.offset % BLOCK_BYTES == 0, "{range:?}");
                    assert!(
                        range.len % BLOCK_BYTES == 0 || range.end() == object.size,
                        "{range:?}"
                    );
                    told.push(range);
                }
                LeaseCommand::Cread {
                    msg_id: answered,
                    answer,
                } => {
                    assert_eq!(answered, msg_id);
                    break answer;
                }
            }
        };
        self.credit();
        (answer, told)
    }

    /// READ of `len` bytes from `offset`, which must be block-aligned; the object's bytes in that range.
    pub fn read(&mut self, object: &mut Opened, offset: u64, len: u64) -> Result<Vec<u8>, Errno> {
        let msg_id = self.send_read(object, ByteRange::new(offset, len).unwrap());
        self.await_read(object, msg_id).0?;
        assert!(
            object.data.metadata().unwrap().len() <= object.size,
            "written beyond the object's end"
        );
        let mut bytes = vec![0; usize::try_from(len.min(object.size - offset)).unwrap()];
        object.data.seek(SeekFrom::Start(offset)).unwrap();
        object.data.read_exact(&mut bytes).unwrap();
        Ok(bytes)
    }

    pub fn close(&mut self, object: &Opened) {
        self.send(Body::Close, object.id, &[]);
    }

    /// Opens and reads a whole object in READs of `read_len` bytes.
    pub fn whole(
        &mut self,
        volume: &str,
        key: &CookieKey,
        size: Option<u64>,
        validator: &[u8],
        read_len: u64,
    ) -> Result<Vec<u8>, Errno> {
        let mut object = self.open(volume, key, size, validator)?;
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < object.size {
            bytes.extend(self.read(&mut object, bytes.len() as u64, read_len)?);
        }
        self.close(&object);
        Ok(bytes)
    }

    /// The entry of one path; `None` when the daemon says that there is none.
    pub fn entry(&mut self, volume: &str, path: &[u8]) -> Result<Option<Entry>, Errno> {
        let document = self.whole(
            volume,
            &CookieKey::Entry {
                path: RelativePath::new(path).unwrap(),
            },
            None,
            b"",
            1 << 20,
        )?;
        let listing = Listing::parse(&document).unwrap();
        if listing.is_negative() {
            return Ok(None);
        }
        assert_eq!(listing.len(), 1);
        Ok(listing.iter().next().map(|entry| entry.to_entry()))
    }

    /// The entries of one directory.
    pub fn list(&mut self, volume: &str, path: &[u8]) -> Result<Vec<Entry>, Errno> {
        let document = self.whole(
            volume,
            &CookieKey::Listing {
                path: RelativePath::new(path).unwrap(),
            },
            None,
            b"",
            1 << 20,
        )?;
        Ok(Listing::parse(&document)
            .unwrap()
            .iter()
            .map(|entry| entry.to_entry())
            .collect())
    }

    /// The content of a file in the version that its entry names.
    pub fn content(&mut self, volume: &str, path: &[u8]) -> Result<Vec<u8>, Errno> {
        let entry = self.entry(volume, path)?.ok_or(Errno::ENOENT)?;
        self.version(volume, path, &entry)
    }

    /// The content of a file in the version of `entry`.
    pub fn version(&mut self, volume: &str, path: &[u8], entry: &Entry) -> Result<Vec<u8>, Errno> {
        self.whole(
            volume,
            &data_key(path, entry),
            entry.size,
            &entry.validator,
            1 << 20,
        )
    }
}

pub fn data_key(path: &[u8], entry: &Entry) -> CookieKey {
    CookieKey::Data {
        path: RelativePath::new(path).unwrap(),
        validator: entry.validator.clone(),
    }
}

fn receive(socket: &OwnedFd) -> Vec<u8> {
    let mut packet = vec![0; 8192];
    let (count, _) = rustix::net::recv(socket, packet.as_mut_slice(), RecvFlags::empty())
        .expect("an answer before the deadline");
    assert_ne!(count, 0, "the daemon hung up");
    packet.truncate(count);
    packet
}

impl Drop for FakeEngine {
    fn drop(&mut self) {
        // First the run directory, then the session: the daemon ends instead of connecting again.
        self.run_dir = None;
        self.session = None;
        let ended = self.daemon.take().unwrap().join();
        if !std::thread::panicking() {
            ended.unwrap();
        }
    }
}
