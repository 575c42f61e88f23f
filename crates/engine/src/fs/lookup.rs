//! LOOKUP.

use holdfast_fuse::{Accepted, NodeId};
use holdfast_proto::Errno;

use crate::engine::Engine;
use crate::namespace::metadata::Failure;
use crate::namespace::resolve::{Resolved, resolve};

use super::attributes;
use super::outcome::{Outcome, answered};
use super::waiting::Waiting;

/// Answers a LOOKUP, or says what it needs.
pub fn lookup(
    engine: &Engine,
    waiting: &Waiting,
    parent: NodeId,
    name: &[u8],
    failure: Option<&Failure>,
) -> Outcome {
    let mount = &*waiting.mount;
    let Some(parent) = mount.nodes.get(parent) else {
        return Outcome::Failed(Errno::ESTALE);
    };
    match resolve(engine, mount, &parent.path, name, failure) {
        Resolved::Wait(need) => Outcome::Wait(need),
        Resolved::Refused(errno) => Outcome::Failed(errno),
        Resolved::Absent { valid } => {
            answered(mount.connection.reply_negative_entry(waiting.unique, valid))
        }
        Resolved::Entry { path, entry, valid } => {
            let nodes = match mount.nodes.look_up(&[(path, entry)]) {
                Ok(nodes) => nodes,
                Err(error) => {
                    tracing::error!(%error, "the journal of nodes cannot be written");
                    return Outcome::Failed(Errno::EIO);
                }
            };
            let Some(node) = nodes.into_iter().flatten().next() else {
                return Outcome::Failed(Errno::EIO);
            };
            // An entry was asked for anew before this if the version was in doubt.
            node.reinstate();
            let reply = attributes::entry(mount, &node, valid);
            let sent = mount.connection.reply_entry(waiting.unique, &reply);
            if sent != Ok(Accepted::Accepted) {
                mount.nodes.forget(node.id, 1);
            }
            answered(sent)
        }
    }
}
