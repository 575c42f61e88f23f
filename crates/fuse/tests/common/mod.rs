//! What the tests against the real kernel share: a guarded mount in a temp dir, and a small file system whose every
//! number decodes without state, so that any process can go on serving it.
//!
//! Whoever reads for long is a process of its own: a process that both holds the device and waits for it cannot die when
//! the test is killed.
#![allow(dead_code, reason = "each test binary uses its part")]

pub mod child;
pub mod pattern;
pub mod reader;

use std::convert::Infallible;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use holdfast_fuse::mount::{self, ConnectionId, MountGuard, MountOptions};
use holdfast_fuse::{Connection, HandshakeOptions, Negotiated, ReceiveBuffer};

/// Why tests that mount cannot run here; printed, so that a skipped test is seen.
pub fn cannot_mount(test: &str) -> bool {
    let reason = if !rustix::process::geteuid().is_root() {
        "needs root for mount(2)"
    } else if mount::open_device().is_err() {
        "needs /dev/fuse"
    } else {
        return false;
    };
    eprintln!("SKIPPED {test}: {reason}");
    true
}

/// Longer than any test needs on a slow machine. Then the connection is aborted, and whoever waits fails.
const DEADLINE: Duration = Duration::from_secs(300);

/// Aborts the connection when its thread panics, so that nobody waits for a server that is no more.
pub struct AbortOnPanic(pub ConnectionId);

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = mount::abort(self.0);
        }
    }
}

/// A mount of our own; unmounted and aborted on drop, before its directory is removed.
pub struct Mounted {
    pub connection: Connection,
    pub negotiated: Negotiated,
    pub guard: MountGuard,
    dir: tempfile::TempDir,
    /// Its drop ends the thread that watches the deadline.
    _alive: Sender<Infallible>,
}

impl Mounted {
    /// Mounts and shakes hands; nobody serves yet.
    pub fn new(options: &HandshakeOptions) -> Self {
        let dir = tempfile::tempdir().expect("a temp dir");
        let device = mount::open_device().expect("/dev/fuse");
        mount::mount_direct(dir.path(), &device, &MountOptions::new("holdfast-test"))
            .expect("mount(2)");
        let guard = MountGuard::new(dir.path()).expect("a mount");
        let alive = abort_at_deadline(guard.connection_id());
        let connection = Connection::new(device);
        let mut buffer = ReceiveBuffer::new().expect("a buffer");
        let negotiated = connection
            .handshake(&mut buffer, options, |_| Ok::<_, Infallible>(()))
            .expect("a handshake");
        Self {
            connection,
            negotiated,
            guard,
            dir,
            _alive: alive,
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn device(&self) -> OwnedFd {
        self.connection.device().try_clone_to_owned().expect("dup")
    }
}

fn abort_at_deadline(id: ConnectionId) -> Sender<Infallible> {
    let (alive, ended) = channel();
    std::thread::spawn(move || match ended.recv_timeout(DEADLINE) {
        Err(RecvTimeoutError::Timeout) => mount::abort(id).expect("abort"),
        Err(RecvTimeoutError::Disconnected) => {}
    });
    alive
}
