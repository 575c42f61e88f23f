//! Readers of three kinds, each over every file of the sample: sequential read(2), pread(2) at random places, mmap(2).
//!
//! Each kind takes the files in an order of its own, and drops what it has read from the page cache of the mount, so that most reads
//! reach Holdfast, and part of them the origin.
//!
//! Invariant: a file counts as compared by a kind only when each of its bytes was compared and its end was where it should be.

mod compare;
mod mapped;
mod mapped_child;
mod names;
mod random;
mod sequential;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::sample::Sample;
use crate::score::Score;

pub use mapped_child::{MmapReaderError, mmap_reader_main};

/// A way to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Sequential,
    Random,
    Mapped,
}

const KINDS: [Kind; 3] = [Kind::Sequential, Kind::Random, Kind::Mapped];

/// One reading of everything.
#[derive(Debug, Clone)]
pub(crate) struct PassConfig {
    pub sample: Arc<Sample>,
    /// The sample on disk.
    pub source: PathBuf,
    /// The mount of it.
    pub mount: PathBuf,
    pub threads_per_kind: usize,
    /// Of orders and random places.
    pub seed: u64,
    /// Has the hidden command of the mapping reader.
    pub binary: PathBuf,
}

/// What the threads of a pass share.
struct Shared {
    config: PassConfig,
    score: Arc<Score>,
    stop: AtomicBool,
    compared: AtomicUsize,
    mappers: mapped::Registry,
}

/// How reading a file ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FileEnd {
    /// All of it was compared.
    Compared,
    /// A read failed, and was counted.
    Failed,
    /// The pass is being stopped.
    Stopped,
}

/// The order in which one kind takes the files.
struct Queue {
    order: Vec<usize>,
    next: AtomicUsize,
}

/// The threads of a pass.
pub(crate) struct Readers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// Comparisons that make the pass complete.
    wanted: usize,
}

/// Readers that did not come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} readers hang")]
pub(crate) struct Hanging(pub usize);

impl Readers {
    /// Starts all threads.
    pub fn start(config: PassConfig, score: Arc<Score>) -> std::io::Result<Self> {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(config.seed);
        let files = config.sample.files.len();
        let threads_per_kind = config.threads_per_kind.max(1);
        let (stop, compared) = (AtomicBool::new(false), AtomicUsize::new(0));
        let shared = Arc::new(Shared {
            config,
            score,
            stop,
            compared,
            mappers: mapped::Registry::default(),
        });
        // The names count as one more file.
        let mut readers = Self {
            shared,
            threads: Vec::new(),
            wanted: files * KINDS.len() + 1,
        };
        let shared = Arc::clone(&readers.shared);
        readers.spawn("names", move || shared.conclude(names::check(&shared)))?;
        for kind in KINDS {
            let mut order: Vec<usize> = (0..files).collect();
            order.shuffle(&mut random);
            let queue = Arc::new(Queue {
                order,
                next: AtomicUsize::new(0),
            });
            for _ in 0..threads_per_kind {
                let (queue, shared, seed) = (
                    Arc::clone(&queue),
                    Arc::clone(&readers.shared),
                    random.random(),
                );
                readers.spawn(kind.name(), move || shared.read_all(kind, &queue, seed))?;
            }
        }
        Ok(readers)
    }

    fn spawn(&mut self, name: &str, body: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
        self.threads.push(
            std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(body)?,
        );
        Ok(())
    }

    /// Whether all threads have ended.
    pub fn finished(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Share of the pass that is done, 0.0..=1.0.
    pub fn progress(&self) -> f64 {
        self.shared.compared.load(Ordering::Relaxed) as f64 / self.wanted as f64
    }

    /// Whether every kind has compared every byte of every file, and all names.
    pub fn complete(&self) -> bool {
        self.shared.compared.load(Ordering::Relaxed) == self.wanted
    }

    /// Asks all threads to end after their present read.
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.mappers.kill_all();
    }

    /// Stops, and waits for the threads. Those that panicked are told to the score.
    ///
    /// # Errors
    /// [`Hanging`] when some have not ended by the deadline; call again when what holds them up was removed.
    pub fn join(&mut self, deadline: Duration) -> Result<(), Hanging> {
        self.stop();
        let started = Instant::now();
        while !self.finished() && started.elapsed() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        let (ended, hanging): (Vec<_>, Vec<_>) =
            self.threads.drain(..).partition(JoinHandle::is_finished);
        self.threads = hanging;
        for thread in ended {
            let name = thread.thread().name().unwrap_or("reader").to_owned();
            if thread.join().is_err() {
                self.shared
                    .score
                    .describe(format!("a thread of the demo panicked: {name}"));
            }
        }
        if self.threads.is_empty() {
            Ok(())
        } else {
            Err(Hanging(self.threads.len()))
        }
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        // Threads that still hang see it when the mount is ended.
        self.stop();
    }
}

impl Shared {
    fn read_all(&self, kind: Kind, queue: &Queue, seed: u64) {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut mapper = mapped::Mapper::default();
        while let Some(number) = queue.take() {
            let file = &self.config.sample.files[number];
            let end = match kind {
                Kind::Sequential => sequential::compare(self, file),
                Kind::Random => random::compare(self, file, &mut random),
                Kind::Mapped => mapper.compare(self, file),
            };
            self.conclude(end);
            if end == FileEnd::Stopped {
                return;
            }
        }
    }

    fn conclude(&self, end: FileEnd) {
        match end {
            FileEnd::Compared => {
                self.compared.fetch_add(1, Ordering::Relaxed);
                self.score.file_compared();
            }
            FileEnd::Failed | FileEnd::Stopped => {}
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Counts a failure, unless it comes from the demo's own stopping; then it is none.
    fn failed(&self, kind: Kind, path: &std::path::Path, what: &dyn std::fmt::Display) -> FileEnd {
        if self.stopped() {
            return FileEnd::Stopped;
        }
        self.score
            .read_failed(format!("{} reader of {path:?}: {what}", kind.name()));
        FileEnd::Failed
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Sequential => "sequential",
            Self::Random => "random",
            Self::Mapped => "mmap",
        }
    }
}

impl Queue {
    fn take(&self) -> Option<usize> {
        self.order
            .get(self.next.fetch_add(1, Ordering::Relaxed))
            .copied()
    }
}

/// Locks what holds no half-done change.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
