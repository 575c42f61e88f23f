//! Counters of what an origin served.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of one path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PathStats {
    /// Requests of any method, whatever they were answered.
    pub requests: u64,
    /// HEAD requests among them.
    pub head_requests: u64,
    /// Bytes of response bodies handed to the connection (indexes and error texts too).
    pub body_bytes: u64,
}

/// Counters of an origin since its start or the last [`Stats::reset`]. Cheap to read at any time.
#[derive(Debug, Default)]
pub struct Stats {
    connections: AtomicU64,
    requests: AtomicU64,
    body_bytes: AtomicU64,
    paths: Mutex<HashMap<Vec<u8>, PathStats>>,
}

impl Stats {
    /// Connections accepted.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Requests of any method, whatever they were answered.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Bytes of response bodies handed to connections. A client that hangs up early was sent at most this many.
    #[must_use]
    pub fn body_bytes(&self) -> u64 {
        self.body_bytes.load(Ordering::Relaxed)
    }

    /// The counters of one path: decoded bytes relative to the root, without leading slash, a directory's with the slash at its
    /// end as asked for (the root is `""`).
    ///
    /// # Panics
    /// When a thread of the origin panicked while it counted.
    #[must_use]
    pub fn path(&self, path: &[u8]) -> PathStats {
        self.paths
            .lock()
            .expect("counting does not panic")
            .get(path)
            .copied()
            .unwrap_or_default()
    }

    /// All paths that were asked for, with their counters, in no order.
    ///
    /// # Panics
    /// When a thread of the origin panicked while it counted.
    #[must_use]
    pub fn paths(&self) -> Vec<(Vec<u8>, PathStats)> {
        let paths = self.paths.lock().expect("counting does not panic");
        paths
            .iter()
            .map(|(path, stats)| (path.clone(), *stats))
            .collect()
    }

    /// Sets every counter to zero.
    ///
    /// # Panics
    /// When a thread of the origin panicked while it counted.
    pub fn reset(&self) {
        self.paths.lock().expect("counting does not panic").clear();
        self.connections.store(0, Ordering::Relaxed);
        self.requests.store(0, Ordering::Relaxed);
        self.body_bytes.store(0, Ordering::Relaxed);
    }

    pub(super) fn count_connection(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_request(&self, path: &[u8], head: bool) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.update(path, |stats| {
            stats.requests += 1;
            stats.head_requests += u64::from(head);
        });
    }

    pub(super) fn count_body(&self, path: &[u8], bytes: u64) {
        self.body_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.update(path, |stats| stats.body_bytes += bytes);
    }

    fn update(&self, path: &[u8], change: impl FnOnce(&mut PathStats)) {
        let mut paths = self.paths.lock().expect("counting does not panic");
        match paths.get_mut(path) {
            Some(stats) => change(stats),
            None => change(paths.entry(path.to_vec()).or_default()),
        }
    }
}
