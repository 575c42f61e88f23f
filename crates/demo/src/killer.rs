//! Kills processes at random moments, and counts only deaths that were seen.
//!
//! Time is cut into slots of one mean interval; each slot has one kill at a random moment. So the moments are random and the rate is
//! exact: `seconds × rate` kills. A kill that finds nobody alive is made up for as soon as somebody is.
//!
//! Invariants: signals go through a pidfd opened before the process was identified, so never to a reused pid (pidfd_open(2)); a process
//! is never signalled twice; the thread ends only after every announced death was seen or found not to be one.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rand::{RngExt as _, SeedableRng as _};
use rand_xoshiro::Xoshiro256PlusPlus;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::kills::{KillIndex, KillLog};

/// Between two questions for victims.
const SEARCH_INTERVAL: Duration = Duration::from_millis(15);
/// The longest sleep, so that a stop is soon seen.
const TICK: Duration = Duration::from_millis(10);
/// A killed process that has not ended by then is counted as not dead.
const DEATH_DEADLINE: Duration = Duration::from_secs(30);

/// Finds who may be killed: pids of live processes, in any order. May say none. A pid is rechecked by the second function.
pub struct Victims {
    /// Lists pids.
    pub find: Box<dyn FnMut() -> Vec<Pid> + Send>,
    /// Tells whether the process that now has this pid is of the right kind; asked with a pidfd of it open.
    pub is_right: fn(Pid) -> bool,
}

/// When to kill, in time spent reading; goes on from one [`Killer`] to the next.
#[derive(Debug)]
pub struct Schedule {
    random: Xoshiro256PlusPlus,
    interval: Duration,
    /// Start of the slot that has the next kill.
    slot_start: Duration,
    /// Moment of the next kill.
    due: Duration,
}

impl Schedule {
    /// A schedule of `rate_per_second` kills, with the random moments and choices of `seed`; `None` for a rate that is not
    /// positive and finite.
    #[must_use]
    pub fn new(rate_per_second: f64, seed: u64) -> Option<Self> {
        let interval = Duration::try_from_secs_f64(rate_per_second.recip())
            .ok()
            .filter(|interval| !interval.is_zero())?;
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let due = interval.mul_f64(random.random());
        Some(Self {
            random,
            interval,
            slot_start: Duration::ZERO,
            due,
        })
    }

    fn advance(&mut self) {
        self.slot_start += self.interval;
        self.due = self.slot_start + self.interval.mul_f64(self.random.random());
    }
}

/// A thread that kills until it is stopped.
#[derive(Debug)]
pub struct Killer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Schedule>>,
}

struct Quarry {
    pid: Pid,
    pidfd: OwnedFd,
}

struct Dying {
    /// Not reused before its death was seen, or soon after.
    pid: Pid,
    pidfd: OwnedFd,
    kill: KillIndex,
    since: Instant,
}

struct Hunt<L> {
    log: L,
    victims: Victims,
    living: Vec<Quarry>,
    dying: Vec<Dying>,
    searched: Option<Instant>,
    /// The most that were ever alive at once: with fewer, a search is worth it.
    most: usize,
}

impl Killer {
    /// Starts killing. `base` is the time spent reading before now.
    ///
    /// # Errors
    /// When the system has no more threads.
    pub fn start<L>(
        schedule: Schedule,
        base: Duration,
        victims: Victims,
        log: L,
    ) -> std::io::Result<Self>
    where
        L: AsRef<KillLog> + Send + 'static,
    {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let hunt = Hunt {
            log,
            victims,
            living: Vec::new(),
            dying: Vec::new(),
            searched: None,
            most: 1,
        };
        let body = move || hunt.run(schedule, base, &stopped);
        let thread = std::thread::Builder::new()
            .name("killer".into())
            .spawn(body)?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }

    /// Stops and waits for the deaths of the last kills; gives the schedule back, or `None` when the thread panicked.
    #[must_use]
    pub fn stop(mut self) -> Option<Schedule> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().and_then(|thread| thread.join().ok())
    }
}

impl Drop for Killer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its panic was printed; a destructor has nobody to tell.
            let _ = thread.join();
        }
    }
}

impl<L: AsRef<KillLog>> Hunt<L> {
    fn run(mut self, mut schedule: Schedule, base: Duration, stop: &AtomicBool) -> Schedule {
        let started = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            self.bury();
            self.search_if_needed();
            let now = base + started.elapsed();
            if now < schedule.due {
                std::thread::sleep((schedule.due - now).min(TICK));
            } else if self.kill_one(&mut schedule.random) {
                schedule.advance();
            } else {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        while !self.dying.is_empty() {
            self.bury();
            std::thread::sleep(Duration::from_millis(1));
        }
        schedule
    }

    fn search_if_needed(&mut self) {
        self.living.retain(|quarry| !has_ended(&quarry.pidfd));
        let due = self
            .searched
            .is_none_or(|at| at.elapsed() >= SEARCH_INTERVAL);
        if self.living.len() >= self.most || !due {
            return;
        }
        for pid in (self.victims.find)() {
            if self.living.iter().all(|quarry| quarry.pid != pid)
                && let Some(pidfd) = self.open(pid)
            {
                self.living.push(Quarry { pid, pidfd });
            }
        }
        self.most = self.most.max(self.living.len());
        self.searched = Some(Instant::now());
    }

    /// The pidfd of a process of the right kind that is alive and not already dying by our hand.
    fn open(&self, pid: Pid) -> Option<OwnedFd> {
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        // In this order: the process still lives after it was identified, so it was the one that the pidfd names.
        let right = (self.victims.is_right)(pid) && !has_ended(&pidfd);
        (right && self.dying.iter().all(|dying| dying.pid != pid)).then_some(pidfd)
    }

    fn kill_one(&mut self, random: &mut Xoshiro256PlusPlus) -> bool {
        if self.living.is_empty() {
            return false;
        }
        let Quarry { pid, pidfd } = self
            .living
            .swap_remove(random.random_range(0..self.living.len()));
        if has_ended(&pidfd) {
            return false;
        }
        let kill = self.log.as_ref().announce();
        if pidfd_send_signal(&pidfd, Signal::KILL).is_err() {
            self.log.as_ref().settle(kill, false);
            return false;
        }
        self.dying.push(Dying {
            pid,
            pidfd,
            kill,
            since: Instant::now(),
        });
        true
    }

    fn bury(&mut self) {
        let log = &self.log;
        self.dying.retain(|dying| {
            let ended = has_ended(&dying.pidfd);
            if ended || dying.since.elapsed() > DEATH_DEADLINE {
                log.as_ref().settle(dying.kill, ended);
                return false;
            }
            true
        });
    }
}

/// Whether the process is a zombie or gone: its pidfd is readable then (pidfd_open(2)).
pub(crate) fn has_ended(pidfd: &OwnedFd) -> bool {
    let mut polled = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    matches!(rustix::io::retry_on_intr(|| poll(&mut polled, Some(&now))), Ok(count) if count > 0)
}
