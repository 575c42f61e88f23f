//! The killer against processes that exist to be killed.

use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use holdfast_demo::KillLog;
use holdfast_demo::killer::{Killer, Schedule, Victims};
use rustix::process::Pid;

/// Sleeping processes that are replaced when dead; all ended when dropped.
#[derive(Default)]
struct Crowd(Arc<Mutex<Vec<Child>>>);

impl Crowd {
    fn of(count: usize) -> Self {
        let crowd = Self::default();
        for _ in 0..count {
            crowd.0.lock().unwrap().push(sleeper());
        }
        crowd
    }

    /// Number of ended processes, which are replaced.
    fn bury_and_replace(&self) -> u64 {
        let mut ended = 0;
        for child in self.0.lock().unwrap().iter_mut() {
            if child.try_wait().unwrap().is_some() {
                ended += 1;
                *child = sleeper();
            }
        }
        ended
    }

    fn victims(&self, is_right: fn(Pid) -> bool) -> Victims {
        let children = Arc::clone(&self.0);
        let find = move || {
            children
                .lock()
                .unwrap()
                .iter()
                .map(Pid::from_child)
                .collect()
        };
        Victims {
            find: Box::new(find),
            is_right,
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for child in self.0.lock().unwrap().iter_mut() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

fn sleeper() -> Child {
    Command::new("sleep")
        .arg("1000")
        .stdin(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn each_counted_kill_is_a_death() {
    let crowd = Crowd::of(2);
    let log = Arc::new(KillLog::default());
    let schedule = Schedule::new(200.0, 1).unwrap();
    let killer = Killer::start(
        schedule,
        Duration::ZERO,
        crowd.victims(|_| true),
        Arc::clone(&log),
    )
    .unwrap();
    let started = Instant::now();
    let mut deaths = 0;
    while deaths < 50 {
        assert!(
            started.elapsed() < Duration::from_secs(120),
            "only {deaths} deaths"
        );
        deaths += crowd.bury_and_replace();
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(killer.stop().is_some());
    deaths += crowd.bury_and_replace();
    assert_eq!(log.real(), deaths);
}

#[test]
fn nobody_of_the_wrong_kind_is_killed() {
    let crowd = Crowd::of(2);
    let log = Arc::new(KillLog::default());
    let schedule = Schedule::new(1000.0, 1).unwrap();
    let killer = Killer::start(
        schedule,
        Duration::ZERO,
        crowd.victims(|_| false),
        Arc::clone(&log),
    )
    .unwrap();
    std::thread::sleep(Duration::from_millis(200));
    assert!(killer.stop().is_some());
    assert_eq!((log.real(), crowd.bury_and_replace()), (0, 0));
}

#[test]
fn processes_that_are_dead_already_do_not_count() {
    let mut gone = sleeper();
    gone.kill().unwrap();
    let pid = Pid::from_child(&gone);
    let log = Arc::new(KillLog::default());
    // First a zombie, then nobody.
    for _ in 0..2 {
        let victims = Victims {
            find: Box::new(move || vec![pid]),
            is_right: |_| true,
        };
        let killer = Killer::start(
            Schedule::new(1000.0, 1).unwrap(),
            Duration::ZERO,
            victims,
            Arc::clone(&log),
        )
        .unwrap();
        std::thread::sleep(Duration::from_millis(100));
        assert!(killer.stop().is_some());
        assert_eq!(log.real(), 0);
        gone.wait().unwrap();
    }
}

#[test]
fn rates_that_cannot_be_made_are_refused() {
    for rate in [-1.0, f64::NAN, f64::NEG_INFINITY, 1e12] {
        assert!(Schedule::new(rate, 1).is_none(), "{rate}");
    }
}
