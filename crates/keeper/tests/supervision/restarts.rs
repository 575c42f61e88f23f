//! Whoever dies is replaced, without end.

use std::collections::HashSet;

use holdfast_keeper::Role;
use holdfast_keeper::status::ProcessState;
use libtest_mimic::{Failed, Trial};
use rustix::process::Signal;

use crate::child::monotonic_ns;
use crate::harness::{Keeper, is_zombie, signal};
use crate::keeper_process::RoleSpec;

pub fn trials() -> Vec<Trial> {
    vec![
        Trial::test(
            "h18_two_hundred_kills_are_two_hundred_successors",
            two_hundred_kills,
        ),
        Trial::test(
            "a_program_that_dies_at_start_is_tried_for_ever",
            dies_at_start,
        ),
        Trial::test(
            "a_program_that_cannot_be_executed_is_tried_for_ever",
            cannot_be_executed,
        ),
        Trial::test("all_killed_at_once_all_come_back", all_at_once),
        Trial::test(
            "h18_children_have_their_own_session_and_h19_no_core_dumps",
            surroundings,
        ),
        Trial::test("children_outlive_a_killed_keeper", outlive_the_keeper),
    ]
}

fn two_hundred_kills() -> Result<(), Failed> {
    let keeper = Keeper::start(vec![
        RoleSpec::new(Role::Engine, "ready"),
        RoleSpec::new(Role::Daemon, "ready"),
    ]);
    let mut starts_ns = Vec::new();
    for n in 0..200 {
        let daemon = keeper.until_slot(1, "a ready daemon", |slot| {
            slot.state == ProcessState::Ready
        });
        assert_eq!(daemon.restarts, n);
        let pid = daemon.pid.expect("a process that is ready");
        let killed_ns = monotonic_ns();
        signal(pid, Signal::KILL);
        let successor = keeper.until("a successor", || {
            keeper
                .seen()
                .into_iter()
                .rev()
                .find(|seen| seen.monotonic_ns > killed_ns)
        });
        starts_ns.push(successor.monotonic_ns - killed_ns);
        assert!(
            !is_zombie(pid),
            "the dead process was reaped before its successor started"
        );
    }
    let slot = keeper.until_slot(1, "the last successor", |slot| slot.restarts == 200);
    assert_eq!(slot.restarts_by_cause.signal.get(&9), Some(&200));
    let lives: HashSet<(u32, u64)> = keeper
        .seen()
        .into_iter()
        .map(|seen| (seen.pid, seen.monotonic_ns))
        .collect();
    assert!(
        lives.len() >= 201,
        "the engine and 200 daemons at least were seen alive, not {}",
        lives.len()
    );
    assert_eq!(
        keeper.status().processes[0].restarts,
        0,
        "the engine was left alone"
    );
    starts_ns.sort_unstable();
    println!(
        "kill to the successor's main: median {} us, worst {} us",
        starts_ns[100] / 1000,
        starts_ns[199] / 1000
    );
    Ok(())
}

fn dies_at_start() -> Result<(), Failed> {
    let keeper = Keeper::start(vec![RoleSpec::new(Role::Daemon, "exit_at_start")]);
    let lives = keeper.until("six lives", || {
        Some(keeper.seen()).filter(|seen| seen.len() >= 6)
    });
    for (n, pair) in lives.windows(2).take(5).enumerate() {
        let distance_ms = (pair[1].monotonic_ns - pair[0].monotonic_ns) / 1_000_000;
        // Only a lower bound: the policy's own test knows the exact delays.
        assert!(
            distance_ms >= 95 << n,
            "life {n} was followed after {distance_ms} ms"
        );
    }
    let slot = keeper.until_slot(0, "the count", |slot| slot.restarts >= 6);
    assert!(
        slot.restarts_by_cause
            .exit
            .get(&3)
            .is_some_and(|count| *count >= 6),
        "{slot:?}"
    );
    Ok(())
}

fn cannot_be_executed() -> Result<(), Failed> {
    let mut role = RoleSpec::new(Role::Daemon, "ready");
    role.program = Some("/nonexistent/program".into());
    let keeper = Keeper::start(vec![role]);
    let slot = keeper.until_slot(0, "three failures", |slot| slot.restarts >= 3);
    assert!(
        slot.restarts_by_cause.exit.contains_key(&203),
        "systemd's EXIT_EXEC: {slot:?}"
    );
    Ok(())
}

fn all_at_once() -> Result<(), Failed> {
    let mut daemons = RoleSpec::new(Role::Daemon, "ready");
    daemons.count = 3;
    let keeper = Keeper::start(vec![daemons, RoleSpec::new(Role::Engine, "ready")]);
    for _ in 0..20 {
        let ready = keeper.until("all are ready", || {
            Some(keeper.status().processes)
                .filter(|all| all.iter().all(|slot| slot.state == ProcessState::Ready))
        });
        assert_eq!(ready.len(), 4);
        assert_eq!(
            ready[0].role,
            Role::Engine,
            "the engine comes first whatever the order of the configuration"
        );
        ready
            .iter()
            .for_each(|slot| signal(slot.pid.expect("ready"), Signal::KILL));
        for (index, before) in ready.iter().enumerate() {
            keeper.until_slot(index, "a successor", |slot| {
                slot.restarts == before.restarts + 1
            });
        }
    }
    Ok(())
}

fn surroundings() -> Result<(), Failed> {
    let keeper = Keeper::start(vec![RoleSpec::new(Role::Daemon, "ready")]);
    let seen = keeper.until("the first life", || keeper.seen().pop());
    assert_eq!(seen.session, seen.pid as i32);
    assert_eq!(seen.core_limit, Some(0));
    assert_eq!(seen.descriptor_limit.0, seen.descriptor_limit.1);
    assert_eq!((seen.blocked, seen.ignored), (0, 0));
    assert_eq!(
        seen.others,
        Vec::<String>::new(),
        "nothing of the keeper's leaks"
    );
    assert_eq!(
        (seen.listen_pid, seen.watchdog_pid, seen.watchdog_us),
        (None, None, None)
    );
    Ok(())
}

fn outlive_the_keeper() -> Result<(), Failed> {
    let mut keeper = Keeper::start(vec![RoleSpec::new(Role::Engine, "ready")]);
    let engine = keeper.until_slot(0, "a ready engine", |slot| {
        slot.state == ProcessState::Ready
    });
    keeper.kill_keeper();
    signal(engine.pid.expect("ready"), Signal::CONT);
    let state = std::fs::read_to_string(format!("/proc/{}/status", engine.pid.expect("ready")))?;
    assert!(state.contains("State:\tS"), "{state}");
    Ok(())
}
