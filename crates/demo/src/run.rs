//! The run: sample, origin, then passes until the time is over; then everything is taken away again.
//!
//! Time is counted while the mount is being read; mounting, and ending an instance between two passes, costs none of it. Each pass has an
//! instance and a cache of its own, so that it starts cold. The first pass is always read to its end, so that every byte is compared.
//!
//! Invariant: whatever way the run ends (done, failed, signal, panic), readers are stopped first, then the mount goes, then the
//! processes, then the files; each by its owner's drop, in this order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::RngExt as _;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::config::{DemoConfig, DemoError, Show};
use crate::instance::{Instance, Program, is_holdfast};
use crate::killer::{Killer, Schedule, Victims};
use crate::kills::KillLog;
use crate::origin::{IndexStyle, Origin, OriginConfig};
use crate::readers::{PassConfig, Readers};
use crate::sample::Sample;
use crate::score::Score;
use crate::summary::{StallPercentiles, Summary};
use crate::view::{Moment, Style, View};
use crate::workspace::Workspace;

/// Between two looks at everything.
const TICK: Duration = Duration::from_millis(20);
/// Readers of which not one gets anything for so long are taken to hang for ever.
const HANG_DEADLINE: Duration = Duration::from_secs(60);
/// How long readers have to end their present read when a pass is over.
const STOP_DEADLINE: Duration = Duration::from_secs(15);
/// Where in the origin the sample is.
const SAMPLE_URL_PATH: &[u8] = b"sample/";

/// The parts of a run that all passes use. Dropped in this order.
struct Run {
    view: View,
    origin: Origin,
    sample: Arc<Sample>,
    score: Arc<Score>,
    program: Program,
    workspace: Workspace,
    config: DemoConfig,
    interrupted: Arc<AtomicBool>,
    reading_time: Duration,
    passes_started: u64,
    passes_complete: u64,
    seed: u64,
}

/// Why a pass ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PassEnd {
    Complete,
    TimeOver,
    Interrupted,
    Hang,
}

/// Makes a run; returns when it is over and everything is taken away. Says on standard output what it does, as
/// [`DemoConfig::show`] says; the summary is for the caller to print.
///
/// SIGINT, SIGTERM and SIGHUP end it early, with cleanup; their handlers stay installed in this process.
///
/// # Errors
/// See [`DemoError`]; everything is taken away also then.
pub fn run(config: DemoConfig) -> Result<Summary, DemoError> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted))
            .map_err(DemoError::Threads)?;
    }
    let seed = config
        .seed
        .unwrap_or_else(|| u64::from(rand::rng().random::<u32>()));
    let schedule = match config.kills_per_second {
        0.0 => None,
        rate => Some(Schedule::new(rate, seed).ok_or(DemoError::Rate(rate))?),
    };
    let mut run = prepare(config, seed, interrupted)?;
    let outcome = run.passes(schedule);
    let summary = run.summary();
    if !summary.succeeded() && !summary.interrupted {
        run.say_log_tail();
    }
    let Run {
        view,
        origin,
        workspace,
        ..
    } = run;
    drop(view);
    drop(origin);
    let removed = workspace.remove().map_err(DemoError::Workspace);
    outcome.and(removed).map(|()| summary)
}

fn prepare(config: DemoConfig, seed: u64, interrupted: Arc<AtomicBool>) -> Result<Run, DemoError> {
    let binary = config
        .holdfast_binary
        .clone()
        .map_or_else(std::env::current_exe, Ok)
        .map_err(DemoError::Binary)?;
    let workspace = Workspace::create(config.temp_dir.as_deref()).map_err(DemoError::Workspace)?;
    let mut view = View::new(match config.show {
        Show::Auto => Style::Auto,
        Show::Lines => Style::Lines,
        Show::Nothing => Style::Nothing,
    });
    view.say(&format!(
        "seed {seed}; working in {}",
        workspace.path().display()
    ));
    let sample = Sample::plan(seed, config.total_bytes);
    let bytes_mib = crate::summary::mib(sample.total_bytes());
    view.say(&format!(
        "writing {bytes_mib:.0} MiB of sample data in {} files",
        sample.files.len()
    ));
    let proceed = || !interrupted.load(Ordering::SeqCst);
    sample
        .write(&workspace.sample(), proceed)
        .map_err(|error| unless_interrupted(&interrupted, DemoError::Sample(error)))?;
    let (run_root, log) = (workspace.run_root(), workspace.log());
    let program = Program {
        binary,
        run_root,
        log,
        daemons: config.daemons,
        interrupted: Arc::clone(&interrupted),
    };
    program
        .write_manifest(&workspace.sample())
        .map_err(|error| unless_interrupted(&interrupted, error.into()))?;
    // Only the manifest can tell links and names that are not UTF-8.
    let origin = Origin::start(OriginConfig {
        index: IndexStyle::Disabled,
        ..OriginConfig::new(workspace.served())
    })?;
    Ok(Run {
        view,
        origin,
        sample: Arc::new(sample),
        score: Arc::new(Score::new()),
        program,
        workspace,
        config,
        interrupted,
        reading_time: Duration::ZERO,
        passes_started: 0,
        passes_complete: 0,
        seed,
    })
}

/// After an interruption, what failed did so because of it.
fn unless_interrupted(interrupted: &AtomicBool, error: DemoError) -> DemoError {
    if interrupted.load(Ordering::SeqCst) {
        DemoError::Interrupted
    } else {
        error
    }
}

impl Run {
    fn passes(&mut self, mut schedule: Option<Schedule>) -> Result<(), DemoError> {
        loop {
            let number = self.passes_started;
            self.passes_started += 1;
            self.show("mounting", 0.0);
            let url = self.origin.url_of(SAMPLE_URL_PATH);
            let instance = match self.program.start(&self.workspace, &url, number) {
                Ok(instance) => instance,
                Err(_) if self.interrupted() => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let end = self.pass(&instance, &mut schedule)?;
            self.show("unmounting", 0.0);
            if let Err(error) = instance.end() {
                self.score
                    .describe(format!("the instance did not end well: {error}"));
                return Ok(());
            }
            match end {
                PassEnd::Complete if self.time_over() => return Ok(()),
                PassEnd::Complete if self.interrupted() => return Ok(()),
                PassEnd::Complete => {}
                PassEnd::TimeOver | PassEnd::Interrupted | PassEnd::Hang => return Ok(()),
            }
        }
    }

    /// Reads everything once, or until the time is over, while the killer kills.
    fn pass(
        &mut self,
        instance: &Instance,
        schedule: &mut Option<Schedule>,
    ) -> Result<PassEnd, DemoError> {
        let base = self.reading_time;
        let started = Instant::now();
        let config = PassConfig {
            sample: Arc::clone(&self.sample),
            source: self.workspace.sample(),
            mount: instance.mount(),
            threads_per_kind: self.config.threads_per_kind,
            seed: self.seed.wrapping_add(self.passes_started),
            binary: self.program.binary.clone(),
        };
        let mut readers =
            Readers::start(config, Arc::clone(&self.score)).map_err(DemoError::Threads)?;
        let killer = match schedule.take() {
            None => None,
            Some(schedule) => {
                let killer = Killer::start(
                    schedule,
                    base,
                    self.victims(),
                    SharedLog(Arc::clone(&self.score)),
                );
                Some(killer.map_err(DemoError::Threads)?)
            }
        };
        let end = self.watch(&readers, base, started);
        *schedule = killer.and_then(Killer::stop);
        let mut joined = if end == PassEnd::Hang {
            readers.join(Duration::ZERO)
        } else {
            readers.join(STOP_DEADLINE)
        };
        if let Err(hanging) = joined {
            self.score.read_failed(format!(
                "{hanging} in a read, without getting anything for too long"
            ));
            // Ends the FUSE connection, and with it their reads.
            self.program.kill_all();
            joined = readers.join(STOP_DEADLINE);
        }
        if let Err(hanging) = joined {
            self.score
                .describe(format!("{hanging}, though the mount has ended"));
        }
        if readers.complete() {
            self.passes_complete += 1;
        }
        Ok(end)
    }

    fn watch(&mut self, readers: &Readers, base: Duration, started: Instant) -> PassEnd {
        let mut pulse = (self.score.pulse(), Instant::now());
        loop {
            self.reading_time = base + started.elapsed();
            if self.interrupted() {
                return PassEnd::Interrupted;
            }
            if readers.finished() {
                return PassEnd::Complete;
            }
            // The first pass must be whole.
            if self.time_over() && self.passes_complete > 0 {
                return PassEnd::TimeOver;
            }
            if pulse.0 != self.score.pulse() {
                pulse = (self.score.pulse(), Instant::now());
            } else if pulse.1.elapsed() > HANG_DEADLINE {
                return PassEnd::Hang;
            }
            self.show("reading", readers.progress());
            std::thread::sleep(TICK);
        }
    }

    fn victims(&self) -> Victims {
        let program = self.program.clone();
        Victims {
            find: Box::new(move || program.daemons()),
            is_right: is_holdfast,
        }
    }

    fn show(&mut self, phase: &str, pass_progress: f64) {
        let moment = Moment {
            phase: phase.to_owned(),
            reading_time: self.reading_time,
            wanted_time: self.wanted_time(),
            pass: self.passes_started,
            pass_progress,
        };
        self.view.update(&moment, &self.score);
    }

    /// The log goes with the workspace: what it ends with may be all that tells why.
    fn say_log_tail(&mut self) {
        const LINES: usize = 20;
        let log = std::fs::read(&self.program.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        for line in &lines[lines.len().saturating_sub(LINES)..] {
            self.view.say(&format!("log: {line}"));
        }
    }

    fn wanted_time(&self) -> Duration {
        Duration::from_secs(self.config.seconds)
    }

    fn time_over(&self) -> bool {
        self.reading_time >= self.wanted_time()
    }

    fn interrupted(&self) -> bool {
        self.interrupted.load(Ordering::SeqCst)
    }

    fn summary(&self) -> Summary {
        Summary {
            seed: self.seed,
            sample_bytes: self.sample.total_bytes(),
            sample_files: u64::try_from(self.sample.files.len())
                .expect("a count in memory fits into 64 bits"),
            passes_complete: self.passes_complete,
            bytes_read: self.score.bytes_read(),
            reads: self.score.reads(),
            kills: self.score.kills.real(),
            kills_wanted: self.config.kills_per_second > 0.0,
            failed_reads: self.score.failed_reads(),
            differing_bytes: self.score.differing_bytes(),
            stall_per_kill: StallPercentiles::of_ns(self.score.kills.stalls_ns()),
            read_latency: StallPercentiles::of_histogram(&self.score.latencies()),
            reading_time: self.reading_time,
            failures: self.score.described(),
            interrupted: self.interrupted(),
        }
    }
}

/// The log of kills within a score that others write, too.
struct SharedLog(Arc<Score>);

impl AsRef<KillLog> for SharedLog {
    fn as_ref(&self) -> &KillLog {
        &self.0.kills
    }
}
