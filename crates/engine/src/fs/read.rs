//! READ.

use holdfast_fuse::{NodeId, ReadSpan, ReplyBuffer};
use holdfast_proto::key::CookieKey;
use holdfast_proto::{ByteRange, Errno};

use crate::engine::Engine;
use crate::hub::Need;
use crate::mount::Mount;
use crate::namespace::metadata::Failure;
use crate::namespace::node::{Node, NodeKind};

use super::outcome::{Outcome, answered};
use super::waiting::Waiting;

/// Answers a READ from the cache, or says which bytes it needs.
pub fn read(
    engine: &Engine,
    waiting: &Waiting,
    node: NodeId,
    (offset, size): (u64, u32),
    failure: Option<&Failure>,
    buffer: &mut ReplyBuffer,
) -> Outcome {
    let mount = &*waiting.mount;
    let Some(node) = mount.nodes.get(node) else {
        return Outcome::Failed(Errno::ESTALE);
    };
    let NodeKind::File {
        size: file_size_bytes,
        ..
    } = node.kind
    else {
        return Outcome::Failed(Errno::EISDIR);
    };
    if let Some(failure) = failure {
        return refuse(engine, mount, &node, failure.errno);
    }
    let span = ReadSpan {
        offset,
        size,
        file_size_bytes,
    };
    let len_bytes = span.reply_len_bytes();
    let Some(range) = ByteRange::new(offset, len_bytes as u64) else {
        return answered(
            mount
                .connection
                .reply_read(waiting.unique, span, buffer.filled(0)),
        );
    };
    let object = match engine.data_object(mount, &node) {
        Ok(object) => object,
        Err(errno) => return Outcome::Failed(errno),
    };
    let outcome = if object.stored.is_present(range) {
        match object
            .stored
            .read_at(&mut buffer.bytes_mut()[..len_bytes], offset)
        {
            Ok(read) if read == len_bytes => answered(mount.connection.reply_read(
                waiting.unique,
                span,
                buffer.filled(len_bytes),
            )),
            Ok(read) => {
                tracing::error!(
                    object = object.label(),
                    offset,
                    len_bytes,
                    read,
                    "the cache gave too few bytes"
                );
                Outcome::Failed(Errno::EIO)
            }
            Err(error) => {
                // The store has marked them absent: they are fetched again.
                tracing::warn!(object = object.label(), %error, "cached bytes are damaged and are fetched anew");
                Outcome::Wait(Need::Bytes(object.clone(), range))
            }
        }
    } else if !engine.cache.has_room(range.len).unwrap_or(true) {
        tracing::error!(object = object.label(), "the cache's disk is full");
        return Outcome::Failed(Errno::ENOSPC);
    } else {
        Outcome::Wait(Need::Bytes(object.clone(), range))
    };
    if waiting.attempts == 0 {
        let ahead = object
            .read_ahead
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .on_read(range, file_size_bytes);
        if let Some(ahead) = ahead {
            return outcome.and_prefetch(object, ahead);
        }
    }
    outcome
}

/// The bytes cannot be had. A version that is gone is said so once, by name, and the kernel is made
/// to look the name up again at the next open.
fn refuse(engine: &Engine, mount: &Mount, node: &Node, errno: Errno) -> Outcome {
    if errno == Errno::ESTALE && !node.is_superseded() {
        node.supersede();
        let path = node.path.clone();
        tracing::error!(source = %mount.volume, ?path, "the origin has another version; readers of the old one get ESTALE where it was not cached");
        engine
            .metadata
            .distrust(&mount.volume, &CookieKey::Entry { path });
    }
    Outcome::Failed(errno)
}
