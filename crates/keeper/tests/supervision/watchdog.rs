//! Silence is noticed, and only true silence.

use holdfast_keeper::Role;
use holdfast_keeper::status::ProcessState;
use libtest_mimic::{Failed, Trial};
use rustix::process::{Signal, kill_process};

use crate::harness::{Keeper, signal};
use crate::keeper_process::RoleSpec;

pub fn trials() -> Vec<Trial> {
    vec![
        Trial::test("a_stopped_process_is_killed_and_replaced", stopped),
        Trial::test("h19_a_freeze_of_all_kills_nobody", freeze_of_all),
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
