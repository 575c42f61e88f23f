//! An HTTP/1.1 origin for tests, benches and the demo: a directory tree on loopback.
//!
//! Like a plain web server it has directory indexes ([`IndexStyle`]), redirects `dir` to `dir/`, answers single ranges,
//! conditional requests and HEAD, and can ask for credentials. Unlike one it counts what it serves ([`Stats`]) and misbehaves
//! on demand ([`Faults`]).
//!
//! Invariants:
//! * It listens on 127.0.0.1 only.
//! * A path is bytes: percent-decoded once, at the edge, and never interpreted as text. A path cannot leave the root
//!   (openat2 with `RESOLVE_BENEATH`).
//! * Dropping the [`Origin`] ends its threads and closes all its sockets.
//!
//! Names that are not UTF-8 can be fetched by percent-encoding and are right in the HTML indexes (their `href` is
//! percent-encoded). The JSON index writes the raw bytes, as nginx does, which is not valid JSON: clients that need such names
//! use a manifest, served as an [`OriginConfig::extra_files`] entry.

mod auth;
mod body;
mod conditional;
mod faults;
mod handler;
mod index;
mod misfortune;
mod path;
mod range;
mod reply;
mod resource;
mod server;
mod stats;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;

pub use auth::Auth;
pub use faults::{Fault, FaultId, FaultRule, Faults, Scope};
pub use path::encode_path;
pub use stats::{PathStats, Stats};

/// What a request for a directory (a path that ends in `/`) answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexStyle {
    /// nginx `autoindex on; autoindex_format json;`: exact sizes, times to the second.
    NginxJson,
    /// nginx `autoindex on; autoindex_exact_size on;`: HTML, long names cut in the text but whole in `href`.
    NginxHtml,
    /// Apache mod_autoindex with `FancyIndexing HTMLTable`: HTML, sizes rounded to two digits.
    ApacheHtml,
    /// No index: 403, as a server without autoindex. The tree is known from a manifest, or by paths only.
    Disabled,
}

/// Which entity tags files carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EtagStyle {
    /// `"…"`, made of the modification time (ns), size and inode number.
    Strong,
    /// The same, as `W/"…"`; never matches `If-Match` or `If-Range` (RFC 9110, section 8.8.3.2).
    Weak,
    /// No `ETag` header.
    Absent,
}

/// How an [`Origin`] is set up; what cannot be changed while it runs.
#[derive(Debug, Clone)]
pub struct OriginConfig {
    /// The directory served at `/`. Symbolic links inside are followed as long as they stay inside.
    pub root: PathBuf,
    /// TCP port on 127.0.0.1; 0 picks a free one.
    pub port: u16,
    /// Answer to requests for directories.
    pub index: IndexStyle,
    /// Credentials to ask for.
    pub auth: Auth,
    /// Entity tags.
    pub etag: EtagStyle,
    /// Whether `Last-Modified` is sent (and time conditions are evaluated).
    pub last_modified: bool,
    /// Whether `Range` is honoured; when not, every GET answers 200 with the whole file.
    pub ranges: bool,
    /// Whether HEAD is allowed; when not, it answers 405.
    pub head: bool,
    /// Files that are served from memory besides the tree, by decoded path without leading slash. Not in indexes; they win
    /// over a file of the tree with the same path.
    pub extra_files: BTreeMap<Vec<u8>, Bytes>,
    /// Threads that serve.
    pub threads: usize,
    /// Seed of the random numbers behind [`FaultRule::probability`].
    pub seed: u64,
}

impl OriginConfig {
    /// The defaults for serving `root`: free port, JSON index, strong entity tags, ranges, no credentials, two threads.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            port: 0,
            index: IndexStyle::NginxJson,
            auth: Auth::None,
            etag: EtagStyle::Strong,
            last_modified: true,
            ranges: true,
            head: true,
            extra_files: BTreeMap::new(),
            threads: 2,
            seed: 0,
        }
    }
}

/// Why an [`Origin`] could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The root is not a directory that can be opened.
    #[error("cannot open the origin's root {}", root.display())]
    Root {
        /// The root asked for.
        root: PathBuf,
        /// What openat said.
        source: rustix::io::Errno,
    },
    /// The port cannot be had on 127.0.0.1.
    #[error("cannot listen on 127.0.0.1:{port}")]
    Listen {
        /// The port asked for.
        port: u16,
        /// What bind or listen said.
        source: std::io::Error,
    },
    /// No thread or event loop to be had.
    #[error("cannot start the origin's threads")]
    Threads(#[source] std::io::Error),
}

/// A running origin; it stops when dropped.
#[derive(Debug)]
pub struct Origin {
    addr: SocketAddr,
    stats: Arc<Stats>,
    faults: Arc<Faults>,
    commands: server::Commands,
    thread: Option<JoinHandle<()>>,
}

impl Origin {
    /// Starts serving on threads of its own; returns when the socket listens. May be called inside or outside of an async
    /// runtime.
    ///
    /// # Errors
    /// [`StartError::Root`] when the root cannot be opened as a directory, [`StartError::Listen`] when the port is taken,
    /// [`StartError::Threads`] when the machine has no more threads or descriptors for the event loop.
    pub fn start(config: OriginConfig) -> Result<Self, StartError> {
        let stats = Arc::new(Stats::default());
        let faults = Arc::new(Faults::new(config.seed));
        let root = resource::Root::open(&config.root).map_err(|source| StartError::Root {
            root: config.root.clone(),
            source,
        })?;
        let handler = handler::Handler::new(
            config.clone(),
            root,
            Arc::clone(&stats),
            Arc::clone(&faults),
        );
        let started = server::start(&config, handler)?;
        Ok(Self {
            addr: started.addr,
            stats,
            faults,
            commands: started.commands,
            thread: Some(started.thread),
        })
    }

    /// The address it listens on.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The URL of the root, with a slash at its end: `http://127.0.0.1:PORT/`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/", self.addr)
    }

    /// The URL of a path relative to the root (raw bytes, no leading slash), percent-encoded.
    #[must_use]
    pub fn url_of(&self, path: &[u8]) -> String {
        format!("http://{}/{}", self.addr, encode_path(path))
    }

    /// What was served so far.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The switchboard of faults.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Closes the listening socket and all connections: from now on clients get ECONNREFUSED. The port stays reserved.
    /// Returns when it is so; does nothing when it was already.
    pub fn refuse_connections(&self) {
        self.commands.set_listening(false);
    }

    /// Listens again on the same port after [`Origin::refuse_connections`]. Returns when it is so.
    pub fn accept_connections(&self) {
        self.commands.set_listening(true);
    }

    /// Closes all open connections, and goes on listening. Returns when they are closed.
    pub fn drop_connections(&self) {
        self.commands.drop_connections();
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.commands.stop();
        if let Some(thread) = self.thread.take() {
            // A panic of the server's thread was already printed by the panic hook; a destructor has nobody to tell.
            let _ = thread.join();
        }
    }
}
