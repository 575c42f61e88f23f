//! Puts one instance's status together from those who know: its record, its keeper, its engine.

use crate::adapter::engine::{self, EngineStatus};
use crate::adapter::keeper;
use crate::instance::Instance;
use crate::instance::probe::{self, Life};
use crate::status::document::{
    InstanceStatus, Mount, Objects, PathText, Readers, Requests, Session, State,
};

/// The status of one instance. Whoever does not answer leaves a gap, and `state` says who that is.
pub fn instance(instance: &Instance) -> InstanceStatus {
    let run_dir = instance.run_dir();
    let life = probe::life(&run_dir);
    let engine = match life {
        Life::Whole | Life::KeeperDown => engine::status(&run_dir).ok(),
        Life::EngineDown | Life::Dead => None,
    };
    let mut status = known_without_processes(instance, state(life, engine.is_some()));
    if let Life::Whole | Life::EngineDown = life
        && let Ok(keeper) = keeper::status(&run_dir)
    {
        status.processes = keeper::processes(&keeper);
        status.stored_descriptors = keeper::stored_descriptors(&keeper);
    }
    if let Some(engine) = engine {
        add_engine(&mut status, engine);
    }
    status
}

/// An engine that listens but does not answer is down as far as anybody can tell.
fn state(life: Life, engine_answers: bool) -> State {
    match (life, engine_answers) {
        (Life::Whole, true) => State::Running,
        (Life::Whole, false) | (Life::EngineDown, _) => State::EngineDown,
        (Life::KeeperDown, _) => State::KeeperDown,
        (Life::Dead, _) => State::Dead,
    }
}

fn known_without_processes(instance: &Instance, state: State) -> InstanceStatus {
    let record = instance.read_record();
    let cache_dir = record
        .as_ref()
        .map(|record| PathText::new(&record.cache_dir));
    InstanceStatus {
        id: instance.id.as_str().to_owned(),
        cache_dir_bytes: cache_dir.as_ref().and_then(|path| path.bytes.clone()),
        cache_dir: cache_dir.map(|path| path.text),
        run_dir: instance.run_dir().to_string_lossy().into_owned(),
        log: record.map(|record| PathText::new(&record.log).text),
        state,
        processes: Vec::new(),
        mounts: None,
        objects: None,
        cached_bytes: None,
        allocated_bytes: None,
        requests: None,
        readers: None,
        failovers: None,
        sessions: None,
        stored_descriptors: Vec::new(),
    }
}

fn add_engine(status: &mut InstanceStatus, engine: EngineStatus) {
    let EngineStatus {
        mounts,
        objects,
        cached_bytes,
        allocated_bytes,
        requests,
        readers,
        failovers,
        sessions,
        ..
    } = engine;
    let mount = |mount: holdfast_engine::control::protocol::MountStatus| {
        let dir = PathText::new(&mount.dir.0);
        Mount {
            id: mount.id,
            source: mount.source,
            dir: dir.text,
            dir_bytes: dir.bytes,
            recovery: mount.recovery,
            nodes: mount.nodes,
        }
    };
    status.mounts = Some(mounts.into_iter().map(mount).collect());
    status.objects = Some(Objects {
        close: objects.close,
        open: objects.open,
        reopening: objects.reopening,
        dropping: objects.dropping,
    });
    status.cached_bytes = Some(cached_bytes);
    status.allocated_bytes = Some(allocated_bytes);
    status.requests = Some(Requests {
        waiting: requests.waiting,
        in_flight: requests.in_flight,
        replayed: requests.replayed,
    });
    status.readers = Some(Readers {
        blocked: readers.blocked,
        oldest_ms: readers.oldest_ms,
    });
    status.failovers = Some(failovers);
    let session = |session: holdfast_engine::control::protocol::SessionStatus| Session {
        pid: session.pid,
        leases: session.leases,
    };
    status.sessions = Some(sessions.into_iter().map(session).collect());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::Record;
    use std::path::Path;

    #[test]
    fn leftovers_are_shown_as_dead() {
        let root = tempfile::tempdir().unwrap();
        let place = Instance::of_cache_dir(root.path(), Path::new("/c")).unwrap();
        place.create_run_dir().unwrap();
        place
            .write_record(&Record {
                cache_dir: b"/c\xff".to_vec(),
                log: b"/l".to_vec(),
            })
            .unwrap();
        let status = instance(&place);
        assert_eq!(status.state, State::Dead);
        assert_eq!(status.cache_dir.as_deref(), Some("/c\u{fffd}"));
        assert_eq!(status.cache_dir_bytes.as_deref(), Some(&b"/c\xff"[..]));
        assert_eq!(status.mounts, None);
    }

    #[test]
    fn a_listening_engine_that_does_not_answer_counts_as_down() {
        assert_eq!(state(Life::Whole, true), State::Running);
        assert_eq!(state(Life::Whole, false), State::EngineDown);
        assert_eq!(state(Life::KeeperDown, true), State::KeeperDown);
    }
}
