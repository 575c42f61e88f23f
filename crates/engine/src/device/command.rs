//! What daemons say, and what becomes of it.

use std::sync::Arc;

use holdfast_core::{LeaseId, SessionId};
use holdfast_proto::command::{BindMode, Command, CommandError, LeaseCommand, OpenAnswer};
use holdfast_proto::{Errno, MessageId};
use holdfast_store::MarkError;

use crate::engine::{Engine, reader_errno};
use crate::objects::CachedObject;

use super::session::{Binding, Session};

/// Carries out one command of a session.
///
/// # Errors
/// The errno that the kernel's write(2) would give; `REJECTED` tells the daemon.
pub(crate) fn on_device(engine: &Engine, session: &mut Session, text: &[u8]) -> Result<(), Errno> {
    let parsed = Command::parse(text);
    let needs_on_demand = match &parsed {
        Ok(command) => command.needs_on_demand(),
        Err(error) => error.needs_on_demand(),
    };
    if needs_on_demand && session.binding == Binding::Unbound {
        return Err(Errno::EOPNOTSUPP);
    }
    let command = match parsed {
        Ok(command) => command,
        Err(error) => return Err(malformed(engine, session.id, &error)),
    };
    match command {
        Command::Bind(mode) => bind(session, mode),
        Command::Copen { msg_id, answer } => copen(engine, session.id, msg_id, answer),
        Command::Restore => {
            engine.with_hub(|hub| hub.core.restore(hub.now(), session.id));
            Ok(())
        }
        Command::Credit(credits) => {
            engine.with_hub(|hub| hub.core.grant_credits(hub.now(), session.id, credits.get()));
            Ok(())
        }
        // The engine's cache is set up by its own command line.
        Command::Cull(_)
        | Command::InUse(_)
        | Command::Dir(_)
        | Command::Tag(_)
        | Command::SecurityContext(_)
        | Command::Limit { .. }
        | Command::Debug(_) => Err(Errno::EOPNOTSUPP),
    }
}

/// Carries out one command on a lease.
///
/// # Errors
/// As [`on_device`].
pub(crate) fn on_lease(
    engine: &Engine,
    lease: LeaseId,
    object: &Arc<CachedObject>,
    text: &[u8],
) -> Result<(), Errno> {
    match LeaseCommand::parse(text).map_err(|error| error.errno())? {
        LeaseCommand::Present(range) => {
            let size = object.stored.size().ok_or(Errno::EINVAL)?;
            let blocks = range.complete_blocks(size).ok_or(Errno::EINVAL)?;
            object.stored.mark_present(blocks).map_err(|error| {
                tracing::error!(object = object.label(), %range, %error, "announced and not believed");
                error.errno()
            })?;
            let known = engine.with_hub(|hub| hub.core.present(hub.now(), lease, blocks));
            known.map(drop).map_err(|_| Errno::EINVAL)
        }
        LeaseCommand::Cread { msg_id, answer } => cread(engine, lease, object, msg_id, answer),
    }
}

fn bind(session: &mut Session, mode: BindMode) -> Result<(), Errno> {
    match (mode, session.binding) {
        (BindMode::OnDemand, Binding::Unbound) => {
            session.binding = Binding::Bound;
            Ok(())
        }
        (BindMode::OnDemand | BindMode::Cache, Binding::Bound) => Err(Errno::EBUSY),
        // A cache without daemons' help is not what this device is for.
        (BindMode::Cache, Binding::Unbound) => Err(Errno::EOPNOTSUPP),
    }
}

/// A malformed answer to a pending OPEN fails that OPEN, as in the kernel.
fn malformed(engine: &Engine, session: SessionId, error: &CommandError) -> Errno {
    tracing::warn!(%error, "a malformed command of a daemon");
    let CommandError::CopenAnswer { msg_id, .. } = error else {
        return error.errno();
    };
    let failed = engine.with_hub(|hub| {
        let now = hub.now();
        hub.core.copen(now, session, *msg_id, Err(error.errno()))
    });
    failed.map_or(Errno::EINVAL, |_| error.errno())
}

fn copen(
    engine: &Engine,
    session: SessionId,
    msg_id: MessageId,
    answer: Result<OpenAnswer, Errno>,
) -> Result<(), Errno> {
    let object = {
        let hub = engine.hub();
        let (id, _) = hub
            .core
            .open_request(session, msg_id)
            .ok_or(Errno::EINVAL)?;
        hub.object(id).cloned().ok_or(Errno::EINVAL)?
    };
    let size = match answer.map(|answer| accept(&object, &answer)) {
        Err(errno) | Ok(Err(OpenRefusal::Error(errno))) => {
            tracing::warn!(object = object.label(), %errno, "a daemon could not open");
            Err(errno)
        }
        Ok(Err(OpenRefusal::AnotherVersion)) => {
            let known = engine.with_hub(|hub| {
                let now = hub.now();
                hub.core.copen_of_another_version(now, session, msg_id)
            });
            return known.map(drop).map_err(|_| Errno::EINVAL);
        }
        Ok(Ok(size_bytes)) => Ok(size_bytes),
    };
    engine
        .with_hub(|hub| hub.core.copen(hub.now(), session, msg_id, size))
        .map(drop)
        .map_err(|_| Errno::EINVAL)
}

/// Why a positive answer to an OPEN is not taken.
enum OpenRefusal {
    /// The daemon is mistaken, or the origin has changed and the daemon did not see that it had.
    AnotherVersion,
    /// The cache cannot take it.
    Error(Errno),
}

/// Holds the answer to an OPEN against what is known of the object; the first answer is what is
/// known from then on (H04).
fn accept(object: &CachedObject, answer: &OpenAnswer) -> Result<u64, OpenRefusal> {
    let validator = answer.validator.as_deref();
    let Some(known) = object.stored.size() else {
        let validator = validator.unwrap_or_default();
        let taken = object.stored.set_size(answer.size, validator);
        return taken.map(|()| answer.size).map_err(|error| {
            tracing::error!(object = object.label(), %error, "the cache cannot take it");
            OpenRefusal::Error(reader_errno(error.errno()))
        });
    };
    let said = answer.size;
    let other_validator =
        validator.is_some_and(|said| said != object.stored.validator().as_slice());
    if known != said || other_validator {
        tracing::error!(
            object = object.label(),
            known,
            said,
            other_validator,
            "a daemon opened another version than is cached"
        );
        return Err(OpenRefusal::AnotherVersion);
    }
    Ok(said)
}

fn cread(
    engine: &Engine,
    lease: LeaseId,
    object: &Arc<CachedObject>,
    msg_id: MessageId,
    answer: Result<(), Errno>,
) -> Result<(), Errno> {
    let (_, range) = engine
        .hub()
        .core
        .read_request(lease, msg_id)
        .ok_or(Errno::EINVAL)?;
    // The file is marked before the core hears of it: what it reports present is present.
    let answer = answer.and_then(|()| {
        object.stored.mark_present(range).map_err(|error| {
            tracing::error!(object = object.label(), %range, %error, "answered and not believed");
            match error {
                // Said to be written, and not there.
                MarkError::Hole { .. } => Errno::EIO,
                MarkError::SizeUnknown | MarkError::NotBlocks(_) | MarkError::Record(_) => {
                    error.errno()
                }
            }
        })
    });
    if let Err(errno) = answer {
        tracing::warn!(object = object.label(), %range, %errno, "a daemon could not read");
    }
    engine
        .with_hub(|hub| hub.core.cread(hub.now(), lease, msg_id, answer))
        .map(drop)
        .map_err(|_| Errno::EINVAL)
}
