//! The engine's end of the control socket.

use std::io::{self, BufRead, BufReader, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

use crate::engine::Engine;
use crate::mounting::Mounts;
use crate::status;

use super::protocol::{MountReply, Reply, Request};

/// A caller that says nothing is given up after this.
const CALLER_WITHIN: Duration = Duration::from_secs(10);
/// The longest request that is read.
const REQUEST_BYTES_MAX: u64 = 1 << 20;

/// Answers callers one after the other, for ever.
pub(crate) fn run(engine: &Arc<Engine>, mounts: &Arc<Mounts>, listener: &UnixListener) {
    for stream in listener.incoming() {
        let answered = stream.and_then(|stream| answer(engine, mounts, &stream));
        if let Err(error) = answered {
            tracing::debug!(%error, "a caller on the control socket went away");
        }
    }
}

fn answer(engine: &Arc<Engine>, mounts: &Arc<Mounts>, stream: &UnixStream) -> io::Result<()> {
    let caller = rustix::net::sockopt::socket_peercred(stream)?;
    if caller.uid != rustix::process::geteuid() && !caller.uid.is_root() {
        tracing::warn!(
            uid = caller.uid.as_raw(),
            "a stranger on the control socket is refused"
        );
        return Ok(());
    }
    stream.set_read_timeout(Some(CALLER_WITHIN))?;
    stream.set_write_timeout(Some(CALLER_WITHIN))?;
    let (line, descriptor) = receive_line(stream)?;
    let reply = match serde_json::from_slice(&line) {
        Ok(request) => carry_out(engine, mounts, request, descriptor),
        Err(error) => Reply::Refused {
            reason: format!("the request is not understood: {error}"),
        },
    };
    let mut text = serde_json::to_vec(&reply)?;
    text.push(b'\n');
    let mut stream = stream;
    stream.write_all(&text)
}

fn carry_out(
    engine: &Arc<Engine>,
    mounts: &Arc<Mounts>,
    request: Request,
    descriptor: Option<OwnedFd>,
) -> Reply {
    match (request, descriptor) {
        (Request::Status, _) => Reply::Status(Box::new(status::report(engine, mounts))),
        (Request::Forget { mount_id }, _) => match mounts.forget(mount_id) {
            Ok(()) => Reply::Forgotten,
            Err(error) => Reply::Refused {
                reason: error.to_string(),
            },
        },
        (Request::Mount(_), None) => Reply::Refused {
            reason: "a mount request without a descriptor".to_owned(),
        },
        (Request::Mount(request), Some(fuse)) => match mounts.begin(engine, request, fuse) {
            Ok(mount_id) => Reply::Mounted(MountReply { mount_id }),
            Err(error) => Reply::Refused {
                reason: error.to_string(),
            },
        },
    }
}

/// Reads a line; its first byte may carry a descriptor.
fn receive_line(stream: &UnixStream) -> io::Result<(Vec<u8>, Option<OwnedFd>)> {
    let mut line = vec![0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::net::recvmsg(
        stream,
        &mut [IoSliceMut::new(&mut line)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    line.truncate(received.bytes);
    let descriptor = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut rights) => rights.next(),
        _ => None,
    });
    if !line.ends_with(b"\n") {
        let rest = io::Read::take(stream, REQUEST_BYTES_MAX);
        BufReader::new(rest).read_until(b'\n', &mut line)?;
    }
    Ok((line, descriptor))
}
