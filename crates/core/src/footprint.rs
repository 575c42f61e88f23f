//! What the records cost. At most 200 bytes for an idle object, and for a waiting read.

use core::mem::size_of;

use holdfast_proto::{ByteRange, MessageId, WireObjectId};

use crate::lease::Lease;
use crate::moment::Moment;
use crate::object::Object;
use crate::request::Request;
use crate::waiter::Waiter;
use crate::{LeaseId, ObjectId, ReaderId};

#[test]
fn an_idle_object_costs_at_most_200_bytes() {
    let closed = size_of::<(ObjectId, Object)>();
    let lease = size_of::<(WireObjectId, Lease)>() + size_of::<LeaseId>();
    let idle_entry = size_of::<(u64, ObjectId)>();
    assert!(closed <= 128, "{closed}");
    assert!(
        closed + lease + idle_entry <= 200,
        "{closed} + {lease} + {idle_entry}"
    );
}

#[test]
fn a_waiting_read_costs_at_most_200_bytes() {
    let waiter = size_of::<(ReaderId, Waiter)>() + size_of::<(Moment, ReaderId)>();
    let piece = size_of::<(ReaderId, ByteRange)>() + size_of::<(ObjectId, u64, ReaderId)>();
    let request = size_of::<(MessageId, Request)>();
    let read = size_of::<(ObjectId, u64, u64, MessageId)>() + size_of::<MessageId>();
    assert!(
        waiter + piece <= 100,
        "{waiter} + {piece}: one that joins a READ"
    );
    let all = waiter + piece + request + read;
    assert!(
        all <= 200,
        "{waiter} + {piece} + {request} + {read} = {all}"
    );
}
