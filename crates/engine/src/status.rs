//! What the engine tells of itself.

use crate::control::EngineStatus;
use crate::control::protocol::{MountStatus, ObjectCounts, ReaderCounts, RequestCounts};
use crate::engine::Engine;
use crate::mount::Mount;
use crate::mounting::Mounts;

/// The state of this engine now.
pub(crate) fn report(engine: &Engine, mounts: &Mounts) -> EngineStatus {
    let usage = engine.cache.usage();
    let mut status = EngineStatus {
        mounts: mounts.all().iter().map(|mount| of_mount(mount)).collect(),
        cached_bytes: usage.present_bytes,
        allocated_bytes: usage.allocated_bytes,
        failovers: engine.failovers.report(),
        sessions: engine.sessions.report(),
        ..EngineStatus::default()
    };
    status.mounts.sort_by_key(|mount| mount.id);
    let hub = engine.hub();
    let objects = hub.core.object_counts();
    status.objects = ObjectCounts {
        close: objects.close as u64,
        open: objects.open as u64,
        reopening: objects.reopening as u64,
        dropping: objects.dropping as u64,
    };
    status.requests = RequestCounts {
        waiting: hub.core.requests_new() as u64,
        in_flight: hub.core.requests_in_flight() as u64,
        replayed: hub.core.counters().requests_replayed,
    };
    let oldest = hub.core.oldest_waiting_since();
    status.readers = ReaderCounts {
        blocked: hub.core.waiting_readers() as u64,
        oldest_ms: oldest.map_or(0, |since| {
            u64::try_from(hub.now().saturating_sub(since).as_millis()).unwrap_or(u64::MAX)
        }),
    };
    status
}

fn of_mount(mount: &Mount) -> MountStatus {
    let recovery = match mount.negotiated() {
        Some(negotiated) if negotiated.has_resend() => "resend",
        Some(_) => "none",
        None => "not mounted yet",
    };
    MountStatus {
        id: mount.id,
        source: mount.request.source.clone(),
        dir: mount.request.dir.clone(),
        recovery: recovery.to_owned(),
        nodes: mount.nodes.len() as u64,
    }
}
