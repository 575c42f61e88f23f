//! A session: one daemon's connection, and the leases it holds.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use holdfast_core::{LeaseId, SessionId};

use crate::objects::CachedObject;

use super::socket::Peer;

/// How far a session has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// It has not said `bind ondemand`.
    Unbound,
    /// It may be handed requests.
    Bound,
}

/// One daemon's connection.
#[derive(Debug)]
pub struct Session {
    /// The core's number.
    pub id: SessionId,
    /// The connection.
    pub socket: OwnedFd,
    /// The process behind it.
    pub peer: Peer,
    /// How far it has come.
    pub binding: Binding,
    /// Commands received so far: the number of the next one.
    pub commands: u32,
    /// Numbers of its socket and its process in the event loop.
    pub tokens: [u64; 2],
    /// The leases handed to it.
    pub leases: HashMap<LeaseId, Lease>,
}

/// Our end of an object's descriptor.
#[derive(Debug)]
pub struct Lease {
    /// Where `cread` and `present` arrive; its hang-up is the close of the descriptor.
    pub socket: OwnedFd,
    /// Its number in the event loop.
    pub token: u64,
    /// The object.
    pub object: Arc<CachedObject>,
}
