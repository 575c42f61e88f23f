//! One try of a request: answered, failed, or put to sleep.

use std::sync::Arc;

use holdfast_fuse::ReplyBuffer;
use holdfast_proto::Errno;

use crate::engine::Engine;
use crate::namespace::metadata::Failure;

use super::outcome::{Outcome, to_system};
use super::waiting::{Job, Waiting};
use super::{directory, lookup, read};

/// A request is tried this often before it fails: each try follows news that it can be answered,
/// so that this is reached only by a cache that loses what it was just given.
const ATTEMPTS_MAX: u32 = 64;

/// Tries `waiting`; `went` is how its last wait ended.
pub(crate) fn perform(
    engine: &Engine,
    mut waiting: Box<Waiting>,
    went: Result<(), Errno>,
    buffer: &mut ReplyBuffer,
) {
    let failure = went.err().and_then(|errno| {
        let object = Arc::clone(waiting.need.as_ref()?.object());
        Some(Failure { object, errno })
    });
    let outcome = attempt(engine, &waiting, failure.as_ref(), buffer);
    waiting.attempts += 1;
    conclude(engine, waiting, outcome);
}

fn attempt(
    engine: &Engine,
    waiting: &Waiting,
    failure: Option<&Failure>,
    buffer: &mut ReplyBuffer,
) -> Outcome {
    if waiting.attempts >= ATTEMPTS_MAX {
        tracing::error!(job = ?waiting.job, "given up after {ATTEMPTS_MAX} tries");
        return Outcome::Failed(Errno::EIO);
    }
    match &waiting.job {
        Job::Lookup { parent, name } => lookup::lookup(engine, waiting, *parent, name, failure),
        Job::Read { node, offset, size } => {
            read::read(engine, waiting, *node, (*offset, *size), failure, buffer)
        }
        Job::ReadDirectory {
            node,
            offset,
            size,
            style,
        } => {
            let place = directory::Place {
                node: *node,
                offset: *offset,
                size: *size,
                style: *style,
            };
            directory::read_directory(engine, waiting, place, failure, buffer)
        }
    }
}

fn conclude(engine: &Engine, waiting: Box<Waiting>, outcome: Outcome) {
    match outcome {
        Outcome::Answered => {}
        Outcome::Failed(errno) => fail(&waiting, errno),
        Outcome::Wait(need) => engine.wait(waiting, need),
        Outcome::AndPrefetch(first, object, range) => {
            conclude(engine, waiting, *first);
            engine.prefetch(&object, range);
        }
    }
}

/// Answers with an error.
pub fn fail(waiting: &Waiting, errno: Errno) {
    let errno = to_system(errno);
    if let Err(error) = waiting.mount.connection.reply_error(waiting.unique, errno) {
        tracing::error!(%error, "an error could not be told");
    }
}
