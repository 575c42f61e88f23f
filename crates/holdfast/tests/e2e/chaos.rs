//! What the tests of failures share: readers that are processes of their own, a killer that counts real
//! deaths, and a keeper that is frozen so that nobody is restarted.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::support::{Site, end, eventually, noise};

/// No reader is given up before this.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// How a reader ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It read everything; the checksum in hexadecimal.
    Sum(String),
    /// It saw an error; what it printed.
    Failed(String),
    /// It was still waiting when patience ended.
    Blocked,
}

/// A `sha256sum` of one file, as a process of its own.
pub struct Reader {
    child: Child,
}

impl Reader {
    /// Starts to read `path`.
    pub fn start(path: &Path) -> Self {
        let child = Command::new("sha256sum")
            .arg(path)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("sha256sum starts");
        Self { child }
    }

    /// Whether it has not ended yet.
    pub fn is_reading(&mut self) -> bool {
        self.child.try_wait().expect("a child of ours").is_none()
    }

    /// Waits for its end; a reader that is still blocked after `patience` is killed.
    pub fn outcome(mut self, patience: Duration) -> Outcome {
        let began = Instant::now();
        while self.is_reading() {
            if began.elapsed() > patience {
                return Outcome::Blocked;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let status = self.child.wait().expect("a child of ours");
        let (mut out, mut errors) = (String::new(), String::new());
        let pipes = (self.child.stdout.take(), self.child.stderr.take());
        if let (Some(mut stdout), Some(mut stderr)) = pipes {
            stdout.read_to_string(&mut out).expect("text");
            stderr.read_to_string(&mut errors).expect("text");
        }
        match out.split_whitespace().next() {
            Some(sum) if status.success() => Outcome::Sum(sum.to_owned()),
            _ => Outcome::Failed(errors),
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.child.kill();
        // Bounded: on a hung mount even a killed reader may stay, and must not take the test with it.
        for _ in 0..200 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Reads all `paths` at the same time.
pub fn outcomes(paths: &[PathBuf], patience: Duration) -> Vec<Outcome> {
    let readers: Vec<Reader> = paths.iter().map(|path| Reader::start(path)).collect();
    let began = Instant::now();
    readers
        .into_iter()
        .map(|reader| reader.outcome(patience.saturating_sub(began.elapsed())))
        .collect()
}

/// Files `0`..`count` of `bytes` noise each in `dir`.
pub fn write_files(dir: &Path, count: usize, bytes: usize) -> Vec<String> {
    std::fs::create_dir_all(dir).expect("a directory");
    let names: Vec<String> = (0..count).map(|number| number.to_string()).collect();
    for (seed, name) in (0..).zip(&names) {
        std::fs::write(dir.join(name), noise(seed, bytes)).expect("a file");
    }
    names
}

/// Paths of `names` in `dir`.
pub fn paths_in(dir: &Path, names: &[String]) -> Vec<PathBuf> {
    names.iter().map(|name| dir.join(name)).collect()
}

/// What was seen while processes were killed.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every reader got the right bytes, through this many deaths and that many rounds of reading.
    Unnoticed {
        /// Processes that were seen to die.
        deaths: u64,
        /// Times that all files were read cold.
        rounds: u64,
    },
    /// A reader saw something.
    Noticed {
        /// What the first of them saw.
        outcome: Outcome,
        /// Processes that were seen to die until then.
        deaths: u64,
    },
}

/// A run of cold reads while every process of some roles is killed again and again.
pub struct Ordeal<'a> {
    /// Where.
    pub site: &'a Site,
    /// Whose processes are killed.
    pub roles: &'a [&'a str],
    /// How many deaths it takes.
    pub deaths: u64,
    /// The longest pause between two strokes; each is random below it.
    pub pause_max: Duration,
    /// How long a reader may take.
    pub patience: Duration,
}

/// Rounds of cold reading before an ordeal is given up: a killer that kills nobody must not read for ever.
const ROUNDS_MAX: u64 = 1000;

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Ordeal<'_> {
    /// Reads the files `names` of the source's directory `base` under a fresh name in every round, so that
    /// nothing is cached, until enough processes have died.
    pub fn run(&self, names: &[String]) -> Verdict {
        let expected = outcomes(&paths_in(&self.site.source().join("base"), names), PATIENCE);
        assert!(expected.iter().all(|sum| matches!(sum, Outcome::Sum(_))));
        let (stop, deaths) = (AtomicBool::new(false), AtomicU64::new(0));
        std::thread::scope(|scope| {
            let _stop = StopOnDrop(&stop);
            scope.spawn(|| self.kill(&stop, &deaths));
            for round in 0..ROUNDS_MAX {
                if let Some(outcome) = self.round(round, names, &expected) {
                    let deaths = deaths.load(Ordering::Relaxed);
                    return Verdict::Noticed { outcome, deaths };
                }
                let deaths = deaths.load(Ordering::Relaxed);
                if deaths >= self.deaths {
                    let rounds = round + 1;
                    return Verdict::Unnoticed { deaths, rounds };
                }
            }
            panic!(
                "{} deaths in {ROUNDS_MAX} rounds",
                deaths.load(Ordering::Relaxed)
            );
        })
    }

    /// Reads everything once, cold; the first outcome that is not as expected.
    fn round(&self, round: u64, names: &[String], expected: &[Outcome]) -> Option<Outcome> {
        let name = format!("round-{round}");
        let dir = self.site.source().join(&name);
        std::fs::create_dir(&dir).expect("a directory");
        for file in names {
            std::fs::hard_link(self.site.source().join("base").join(file), dir.join(file))
                .expect("a link");
        }
        let mounted = self.site.mount_point().join(&name);
        let seen = outcomes(&paths_in(&mounted, names), self.patience);
        assert_eq!(seen.len(), expected.len());
        let mut pairs = seen.into_iter().zip(expected);
        pairs.find_map(|(seen, expected)| (seen != *expected).then_some(seen))
    }

    fn kill(&self, stop: &AtomicBool, deaths: &AtomicU64) {
        let pauses = noise(7, 4096);
        for byte in pauses.iter().cycle() {
            std::thread::sleep(self.pause_max.mul_f64(f64::from(*byte) / 255.0));
            let pids: Vec<Pid> = self
                .roles
                .iter()
                .flat_map(|role| self.site.pids(role))
                .collect();
            if stop.load(Ordering::Relaxed) {
                return;
            }
            for pid in pids {
                deaths.fetch_add(u64::from(end(pid)), Ordering::Relaxed);
            }
        }
    }
}

/// How often the keeper filled places of `role` again: its own count of deaths.
pub fn restarts(site: &Site, role: &str) -> u64 {
    let instances = site.instances();
    let processes = instances[0]["processes"].as_array().expect("processes");
    processes
        .iter()
        .filter(|process| process["role"] == role)
        .filter_map(|process| process["restarts"].as_u64())
        .sum()
}

/// A keeper that is stopped until this is dropped: what dies meanwhile stays dead.
pub struct FrozenKeeper {
    pidfd: std::os::fd::OwnedFd,
}

impl FrozenKeeper {
    /// Stops the site's keeper and ends its daemons.
    pub fn without_daemons(site: &Site) -> Self {
        let keeper = site.pids("keeper");
        let daemons = site.pids("daemon");
        assert_eq!((keeper.len(), daemons.is_empty()), (1, false));
        let pidfd = pidfd_open(keeper[0], PidfdFlags::empty()).expect("the keeper lives");
        pidfd_send_signal(&pidfd, Signal::STOP).expect("a process of ours");
        let frozen = Self { pidfd };
        let stat = format!("/proc/{}/stat", keeper[0].as_raw_nonzero());
        eventually("the keeper is stopped", || {
            let stat = std::fs::read_to_string(&stat).unwrap_or_default();
            stat.contains(") T ")
        });
        for pid in daemons {
            // One that died in between was not restarted, or it was before we looked.
            end(pid);
        }
        frozen
    }
}

impl Drop for FrozenKeeper {
    fn drop(&mut self) {
        let _ = pidfd_send_signal(&self.pidfd, Signal::CONT);
    }
}

/// What the engine says of itself, asked directly: `holdfast status` would wait for a frozen keeper.
pub fn engine_status(site: &Site) -> serde_json::Value {
    let path = site.run_dir().join("control.sock");
    let mut stream = UnixStream::connect(path).expect("the engine listens");
    stream
        .write_all(b"{\"op\":\"status\"}\n")
        .expect("a question");
    let mut answer = String::new();
    BufReader::new(stream)
        .read_line(&mut answer)
        .expect("an answer");
    serde_json::from_str(&answer).expect("JSON")
}
