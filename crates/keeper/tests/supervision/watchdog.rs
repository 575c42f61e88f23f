//! Silence is noticed, and only true silence.

use holdfast_keeper::Role;
use holdfast_keeper::status::ProcessState;
use libtest_mimic::{Failed, Trial};
use rustix::process::{Signal, kill_process};

use crate::harness::{Keeper, exists, signal};
use crate::keeper_process::RoleSpec;

pub fn trials() -> Vec<Trial> {
    vec![
        Trial::test("a_stopped_process_is_killed_and_replaced", stopped),
        Trial::test("h19_a_freeze_of_all_kills_nobody", freeze_of_all),
        Trial::test(
            "h05_a_killed_process_that_does_not_die_is_not_waited_for",
            undead,
        ),
        Trial::test("a_process_that_never_becomes_ready_has_longer", never_ready),
    ]
}

fn watched(watchdog_ms: u64) -> Keeper {
    let mut role = RoleSpec::new(Role::Daemon, "breathing");
    role.watchdog_ms = Some(watchdog_ms);
    Keeper::start(vec![role])
}

fn stopped() -> Result<(), Failed> {
    let keeper = watched(2000);
    for n in 0..2 {
        let slot = keeper.until_slot(0, "a ready daemon", |slot| {
            slot.state == ProcessState::Ready
        });
        assert_eq!(slot.restarts, n);
        assert_eq!(
            keeper.seen().pop().expect("it lives").watchdog_us,
            Some(2_000_000)
        );
        signal(slot.pid.expect("ready"), Signal::STOP);
        let next = keeper.until_slot(0, "its successor", |slot| slot.restarts == n + 1);
        assert_eq!(next.restarts_by_cause.watchdog, n + 1);
        assert_eq!(
            next.restarts_by_cause.signal.len(),
            0,
            "counted once, as what it was"
        );
    }
    Ok(())
}

/// The keeper and its child stand still for three times the limit, and the child wakes later than the keeper. That the
/// child is unharmed is judged after it was heard again for longer than the limit, by ticks that did count.
fn freeze_of_all() -> Result<(), Failed> {
    let keeper = watched(2000);
    let slot = keeper.until_slot(0, "a ready daemon", |slot| {
        slot.state == ProcessState::Ready
    });
    let pid = slot.pid.expect("ready");
    signal(pid, Signal::STOP);
    kill_process(keeper.pid(), Signal::STOP)?;
    std::thread::sleep(std::time::Duration::from_secs(6));
    kill_process(keeper.pid(), Signal::CONT)?;
    std::thread::sleep(std::time::Duration::from_millis(300));
    signal(pid, Signal::CONT);
    let later = keeper.until_slot(0, "time goes by", |now| now.age_ms >= slot.age_ms + 10_000);
    assert_eq!((later.pid, later.restarts), (slot.pid, 0));
    Ok(())
}

fn never_ready() -> Result<(), Failed> {
    let mut role = RoleSpec::new(Role::Daemon, "never_ready");
    role.watchdog_ms = Some(100);
    let keeper = Keeper::start(vec![role]);
    let slot = keeper.until_slot(0, "ten times the watchdog's limit", |slot| {
        slot.age_ms >= 1000
    });
    assert_eq!((slot.restarts, slot.state), (0, ProcessState::Starting));
    Ok(())
}

/// A thread whose tracer does not collect it holds up the death of its whole process, as one stuck in the kernel does: the
/// pidfd does not fire.
fn undead() -> Result<(), Failed> {
    let mut role = RoleSpec::new(Role::Engine, "silent_with_a_thread");
    role.watchdog_ms = Some(1000);
    let keeper = Keeper::start(vec![role]);
    let slot = keeper.until_slot(0, "a ready engine", |slot| {
        slot.state == ProcessState::Ready
    });
    let pid = slot.pid.expect("ready");
    let thread = other_thread(pid)?;
    trace(thread)?;
    let next = keeper.until_slot(0, "a successor", |slot| {
        slot.restarts == 1 && slot.pid.is_some()
    });
    assert_ne!(next.pid, Some(pid));
    assert_eq!(next.restarts_by_cause.watchdog, 1);
    assert_eq!(keeper.status().lingering, [pid]);
    collect(thread)?;
    keeper.until("it is reaped at last", || {
        keeper.status().lingering.is_empty().then_some(())
    });
    assert!(!exists(pid));
    Ok(())
}

fn other_thread(pid: u32) -> Result<libc::pid_t, Failed> {
    for entry in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let name = entry?.file_name();
        let thread: libc::pid_t = name.to_str().ok_or("digits")?.parse()?;
        if thread.unsigned_abs() != pid {
            return Ok(thread);
        }
    }
    Err("the process has one thread only".into())
}

/// ptrace(2) is bound to the calling thread; a test runs on one.
fn trace(thread: libc::pid_t) -> std::io::Result<()> {
    // SAFETY: PTRACE_SEIZE takes a thread id and options by value and reads no memory.
    match unsafe { libc::ptrace(libc::PTRACE_SEIZE, thread, 0, 0) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

fn collect(thread: libc::pid_t) -> std::io::Result<()> {
    let mut status = 0;
    // SAFETY: the pointer is to a live integer; the thread is this thread's tracee, and dead, so that the call returns.
    match unsafe { libc::waitpid(thread, &raw mut status, libc::__WALL) } {
        collected if collected == thread => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}
