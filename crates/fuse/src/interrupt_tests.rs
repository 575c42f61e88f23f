//! Threads as /proc shows them, and what becomes of them.

use super::*;

/// A status with these hexadecimal sets; the rest as a sleeping thread has it.
fn status(pending: &str, shared: &str, blocked: &str, ignored: &str, caught: &str) -> String {
    format!(
        "Name:\ta SigPnd: b\nState:\tD (disk sleep)\nTracerPid:\t0\nSigQ:\t0/1\nSigPnd:\t{pending}\nShdPnd:\t{shared}\n\
         SigBlk:\t{blocked}\nSigIgn:\t{ignored}\nSigCgt:\t{caught}\nCapInh:\t0\n"
    )
}

fn fate(text: &str) -> ReaderFate {
    ThreadStatus::parse(text).expect("a status").fate()
}

const NONE: &str = "0000000000000000";
const SIGKILL_BIT: &str = "0000000000000100";
const SIGQUIT_BIT: &str = "0000000000000004";
const SIGALRM_BIT: &str = "0000000000002000";

#[test]
fn h10_a_pending_sigkill_is_fatal_in_either_set() {
    assert_eq!(
        fate(&status(SIGKILL_BIT, NONE, NONE, NONE, NONE)),
        ReaderFate::Dying
    );
    assert_eq!(
        fate(&status(NONE, SIGKILL_BIT, NONE, NONE, NONE)),
        ReaderFate::Dying
    );
}

#[test]
fn h10_a_handled_blocked_or_ignored_signal_is_not() {
    assert_eq!(
        fate(&status(SIGALRM_BIT, NONE, NONE, NONE, SIGALRM_BIT)),
        ReaderFate::Alive
    );
    assert_eq!(
        fate(&status(NONE, SIGQUIT_BIT, SIGQUIT_BIT, NONE, NONE)),
        ReaderFate::Alive
    );
    assert_eq!(
        fate(&status(NONE, SIGQUIT_BIT, NONE, SIGQUIT_BIT, NONE)),
        ReaderFate::Alive
    );
    assert_eq!(
        fate(&status(NONE, NONE, NONE, NONE, NONE)),
        ReaderFate::Alive
    );
}

#[test]
fn h10_a_core_dumping_default_is_fatal_and_a_stop_is_not() {
    assert_eq!(
        fate(&status(NONE, SIGQUIT_BIT, NONE, NONE, NONE)),
        ReaderFate::Dying
    );
    for harmless in [17_u32, 18, 19, 20, 21, 22, 23, 28] {
        let set = format!("{:016x}", 1_u64 << (harmless - 1));
        assert_eq!(
            fate(&status(NONE, &set, NONE, NONE, NONE)),
            ReaderFate::Alive,
            "{harmless}"
        );
    }
}

#[test]
fn a_traced_thread_dies_of_sigkill_only() {
    let traced = |text: String| fate(&text.replace("TracerPid:\t0", "TracerPid:\t7"));
    assert_eq!(
        traced(status(NONE, SIGQUIT_BIT, NONE, NONE, NONE)),
        ReaderFate::Alive
    );
    assert_eq!(
        traced(status(NONE, SIGKILL_BIT, NONE, NONE, NONE)),
        ReaderFate::Dying
    );
}

#[test]
fn a_zombie_is_gone_and_a_strange_text_is_no_status() {
    let zombie = status(NONE, NONE, NONE, NONE, NONE).replace("D (disk sleep)", "Z (zombie)");
    assert_eq!(fate(&zombie), ReaderFate::Gone);
    assert_eq!(ThreadStatus::parse("State:\tS\n"), None);
    assert_eq!(ThreadStatus::parse(""), None);
}

#[test]
fn live_and_dead_threads_are_told_apart() {
    let this_thread = rustix::thread::gettid()
        .as_raw_nonzero()
        .get()
        .unsigned_abs();
    assert_eq!(fatal_signal_pending(this_thread), ReaderFate::Alive);
    assert_eq!(fatal_signal_pending(0), ReaderFate::Unknown);
    let mut child = std::process::Command::new("true").spawn().expect("true");
    let tid = child.id();
    child.wait().expect("wait");
    // Reaped; its number is not given out again at once.
    assert_eq!(fatal_signal_pending(tid), ReaderFate::Gone);
}
