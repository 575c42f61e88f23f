//! The end leaves no process and no file.

use std::time::Duration;

use holdfast_keeper::Role;
use holdfast_keeper::status::{ProcessState, QueryError, query};
use libtest_mimic::{Failed, Trial};
use rustix::process::{Signal, kill_process};

use crate::harness::{Keeper, exists, signal};
use crate::keeper_process::RoleSpec;

pub fn trials() -> Vec<Trial> {
    vec![
        Trial::test("the_engines_farewell_winds_all_down", farewell),
        Trial::test(
            "an_engine_that_exits_without_farewell_is_replaced",
            exit_without_farewell,
        ),
        Trial::test("sigterm_ends_the_engine_then_the_daemons", terminated),
        Trial::test(
            "sigint_does_as_sigterm_and_h18_sighup_does_nothing",
            other_signals,
        ),
        Trial::test("a_process_deaf_to_sigterm_is_killed", deaf),
        Trial::test(
            "h24_a_second_keeper_is_refused_and_a_dead_ones_leftovers_are_taken_over",
            second_keeper,
        ),
    ]
}

fn all_ready(keeper: &Keeper) -> Vec<u32> {
    let ready = keeper.until("all are ready", || {
        Some(keeper.status().processes)
            .filter(|all| all.iter().all(|slot| slot.state == ProcessState::Ready))
    });
    ready.iter().map(|slot| slot.pid.expect("ready")).collect()
}

#[track_caller]
fn assert_nothing_left(keeper: &Keeper, pids: &[u32]) {
    assert!(matches!(
        query(&keeper.run_dir()),
        Err(QueryError::NotRunning)
    ));
    assert_eq!(
        std::fs::read_dir(keeper.run_dir())
            .expect("the directory stays")
            .count(),
        0
    );
    for seen in keeper.seen() {
        assert!(!exists(seen.pid), "{} is left", seen.behaviour);
    }
    assert!(pids.iter().all(|pid| !exists(*pid)));
}

fn instance(engine: &str, daemon: &str) -> Vec<RoleSpec> {
    let mut daemons = RoleSpec::new(Role::Daemon, daemon);
    daemons.count = 2;
    vec![RoleSpec::new(Role::Engine, engine), daemons]
}

fn farewell() -> Result<(), Failed> {
    let mut keeper = Keeper::start(instance("farewell", "ready"));
    let pids = all_ready(&keeper);
    // An engine that was killed said no farewell.
    signal(pids[0], Signal::KILL);
    keeper.until_slot(0, "a successor", |slot| {
        slot.restarts == 1 && slot.state == ProcessState::Ready
    });
    std::fs::write(keeper.dir().join("leave"), "")?;
    assert_eq!(keeper.wait().code(), Some(10), "{}", keeper.log());
    assert_nothing_left(&keeper, &pids);
    Ok(())
}

fn exit_without_farewell() -> Result<(), Failed> {
    let keeper = Keeper::start(instance("exit_0_without_farewell", "ready"));
    all_ready(&keeper);
    std::fs::write(keeper.dir().join("leave"), "")?;
    let slot = keeper.until_slot(0, "a successor", |slot| slot.restarts == 1);
    assert_eq!(slot.restarts_by_cause.exit.get(&0), Some(&1));
    Ok(())
}

fn terminated() -> Result<(), Failed> {
    let mut keeper = Keeper::start(instance("ready", "ready"));
    let pids = all_ready(&keeper);
    kill_process(keeper.pid(), Signal::TERM)?;
    assert_eq!(keeper.wait().code(), Some(11), "{}", keeper.log());
    assert_nothing_left(&keeper, &pids);
    assert_eq!(
        keeper.seen().len(),
        3,
        "nobody was replaced on the way down"
    );
    let ends: Vec<String> = keeper
        .log()
        .lines()
        .filter(|line| line.contains("ended"))
        .map(str::to_owned)
        .collect();
    assert!(
        ends[0].contains("Engine") && ends[1].contains("Daemon") && ends[2].contains("Daemon"),
        "{ends:?}"
    );
    Ok(())
}

fn other_signals() -> Result<(), Failed> {
    let mut keeper = Keeper::start(instance("ready", "ready"));
    let pids = all_ready(&keeper);
    kill_process(keeper.pid(), Signal::HUP)?;
    keeper.until("the signal is noticed", || {
        keeper.log().contains("SIGHUP").then_some(())
    });
    assert_eq!(all_ready(&keeper), pids);
    kill_process(keeper.pid(), Signal::INT)?;
    assert_eq!(keeper.wait().code(), Some(11), "{}", keeper.log());
    assert_nothing_left(&keeper, &pids);
    Ok(())
}

fn deaf() -> Result<(), Failed> {
    let mut keeper = Keeper::start_with_grace(instance("deaf", "deaf"), Duration::from_millis(200));
    let pids = all_ready(&keeper);
    kill_process(keeper.pid(), Signal::TERM)?;
    assert_eq!(keeper.wait().code(), Some(11), "{}", keeper.log());
    assert_nothing_left(&keeper, &pids);
    Ok(())
}

fn second_keeper() -> Result<(), Failed> {
    let mut first = Keeper::start(instance("ready", "ready"));
    let pids = all_ready(&first);
    let refused = first.restart_beside();
    assert_eq!(refused.wait_with_output()?.status.code(), Some(12));
    assert_eq!(all_ready(&first), pids, "the first is untouched");
    first.kill_keeper();
    assert_eq!(
        std::fs::read_dir(first.run_dir())?.count(),
        2,
        "a killed keeper leaves its sockets"
    );
    first.replace();
    let successors = all_ready(&first);
    assert!(successors.iter().all(|pid| !pids.contains(pid)));
    pids.iter().for_each(|pid| signal(*pid, Signal::KILL));
    first.forget_orphans();
    kill_process(first.pid(), Signal::TERM)?;
    assert_eq!(first.wait().code(), Some(11), "{}", first.log());
    first.until("PID 1 reaps the orphans", || {
        pids.iter().all(|pid| !exists(*pid)).then_some(())
    });
    assert_nothing_left(&first, &successors);
    Ok(())
}
