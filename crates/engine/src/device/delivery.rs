//! Hands requests to daemons.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use holdfast_core::{Delivery, DeliveryBody, DeliveryRetry, LeaseId};
use holdfast_proto::message::{Body, Message, OPEN_FLAG_EXTENSION, Open, OpenExtension};
use holdfast_proto::{Errno, WireObjectId};

use crate::engine::Engine;
use crate::objects::CachedObject;

use super::session::Session;
use super::socket;

/// A lease that was just handed to a daemon: our end of it.
pub(crate) struct NewLease {
    /// The core's number.
    pub id: LeaseId,
    /// Our end.
    pub socket: OwnedFd,
    /// The object.
    pub object: Arc<CachedObject>,
}

/// How a round of deliveries to one session ended.
pub(crate) enum Round {
    /// There is nothing more for it now.
    Done,
    /// Its socket is full: go on when it is writable.
    Full,
}

/// Hands `session` all it can take; new leases go to `leases`.
pub(crate) fn deliver(engine: &Engine, session: &Session, leases: &mut Vec<NewLease>) -> Round {
    loop {
        let next = engine.with_hub(|hub| {
            let delivery = hub.core.next_delivery(hub.now(), session.id)?;
            let object = hub.object(delivery.object).cloned();
            Some((delivery, object))
        });
        let Some((delivery, object)) = next else {
            return Round::Done;
        };
        match hand_out(session, &delivery, object) {
            Ok(lease) => leases.extend(lease),
            Err(Refusal::Retry(retry)) => {
                engine.with_hub(|hub| {
                    let now = hub.now();
                    hub.core
                        .delivery_failed(now, session.id, delivery.msg_id, retry);
                });
                if retry == DeliveryRetry::WhenWritable {
                    return Round::Full;
                }
            }
            Err(Refusal::Never(errno)) => refuse(engine, session, &delivery, errno),
        }
    }
}

/// As if the daemon had refused the OPEN, whose credit it never saw.
fn refuse(engine: &Engine, session: &Session, delivery: &Delivery, errno: Errno) {
    engine.with_hub(|hub| {
        let now = hub.now();
        hub.core.grant_credits(now, session.id, 1);
        let refused = hub.core.copen(now, session.id, delivery.msg_id, Err(errno));
        assert!(
            refused.is_ok(),
            "only an OPEN just handed out has keys that may be too long"
        );
    });
}

/// Why a request was not handed out.
enum Refusal {
    /// It can be, later.
    Retry(DeliveryRetry),
    /// It cannot be said on the wire.
    Never(Errno),
}

fn hand_out(
    session: &Session,
    delivery: &Delivery,
    object: Option<Arc<CachedObject>>,
) -> Result<Option<NewLease>, Refusal> {
    let plain = |lease: LeaseId, body| {
        let packet = encode(delivery, lease.wire(), body)?;
        send(session, &packet, &[]).map(|()| None)
    };
    match (delivery.body, object) {
        (DeliveryBody::Read { lease, range }, _) => plain(lease, Body::Read(range)),
        (DeliveryBody::Close { lease }, _) => plain(lease, Body::Close),
        (DeliveryBody::Open { lease }, Some(object)) => open(session, delivery, lease, object),
        (DeliveryBody::Open { .. }, None) => {
            unreachable!("an object lives as long as its OPEN request")
        }
    }
}

fn open(
    session: &Session,
    delivery: &Delivery,
    lease: LeaseId,
    object: Arc<CachedObject>,
) -> Result<Option<NewLease>, Refusal> {
    let cookie_key = object.cookie.encode();
    let validator = object.stored.validator();
    let body = Body::Open(Open {
        volume_key: object.volume.as_bytes(),
        cookie_key: &cookie_key,
        fd: 0,
        flags: OPEN_FLAG_EXTENSION,
        extension: Some(OpenExtension {
            expected_size: object.stored.size(),
            validator: &validator,
        }),
    });
    let packet = encode(delivery, lease.wire(), body)?;
    let later = |what: &str, error: &dyn std::fmt::Display| {
        tracing::warn!(object = object.label(), %error, "{what}; tried again");
        Refusal::Retry(DeliveryRetry::AfterBackoff)
    };
    let data = object
        .stored
        .writer()
        .map_err(|error| later("the object's file cannot be opened for a daemon", &error))?;
    let (ours, theirs) =
        socket::lease_pair().map_err(|error| later("no descriptors for a lease", &error))?;
    send(session, &packet, &[data, theirs])?;
    Ok(Some(NewLease {
        id: lease,
        socket: ours,
        object,
    }))
}

fn encode(
    delivery: &Delivery,
    object_id: WireObjectId,
    body: Body<'_>,
) -> Result<Vec<u8>, Refusal> {
    let mut packet = Vec::new();
    let message = Message {
        msg_id: delivery.msg_id,
        object_id,
        body,
    };
    message.encode(&mut packet).map_err(|error| {
        tracing::error!(%error, "a request that cannot be said");
        Refusal::Never(Errno::ENAMETOOLONG)
    })?;
    Ok(packet)
}

fn send(session: &Session, packet: &[u8], descriptors: &[OwnedFd]) -> Result<(), Refusal> {
    use rustix::io::Errno as System;
    socket::send(&session.socket, packet, descriptors).map_err(|error| {
        Refusal::Retry(match error {
            // A socket whose other end is closed is found so by the event loop, which ends the
            // session; until then nothing more is handed to it.
            System::AGAIN | System::PIPE | System::CONNRESET | System::NOTCONN => {
                DeliveryRetry::WhenWritable
            }
            // Too many descriptors under way, or no memory.
            _ => DeliveryRetry::AfterBackoff,
        })
    })
}

/// Tells the daemon that its command number `command` failed.
pub(crate) fn reject(session: &Session, command: u32, errno: Errno) {
    let message = Message {
        msg_id: holdfast_proto::MessageId(command),
        object_id: WireObjectId::NO_OBJECT,
        body: Body::Rejected(errno),
    };
    let mut packet = Vec::new();
    message
        .encode(&mut packet)
        .expect("REJECTED has a fixed size");
    // A daemon that does not read is not told; it can see the rest of the protocol go on.
    let _ = socket::send(&session.socket, &packet, &[]);
}
