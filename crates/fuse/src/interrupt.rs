//! What an INTERRUPT means: is the reader about to die, or does it only handle a signal?
//!
//! The kernel sends INTERRUPT for *every* signal that reaches a thread which waits for a request. To answer the request
//! with EINTR is right only when the signal is fatal: a program whose handlers have SA_RESTART (and each Go program: its
//! runtime signals itself all the time) does not expect read(2) to fail. Never to answer leaves a killed reader in state
//! D. So: look at the thread; EINTR when a fatal signal is pending; otherwise look again about every 50 ms for as long
//! as the request waits.
//!
//! Fatal is SIGKILL (the kernel makes it pending for every thread of a process that an unblocked, unhandled,
//! terminating signal hit), and a signal that is pending, not blocked, not ignored, not caught, and whose default action
//! ends the process: the core-dumping ones are not turned into SIGKILL before the thread takes them.
//!
//! Invariant: when in doubt, never [`ReaderFate::Dying`].
//!
//! Implements: proc_pid_status(5), signal(7), `complete_signal` in the kernel's `kernel/signal.c`,
//! `request_wait_answer` in `fs/fuse/dev.c`.

use std::fs;

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

const SIGKILL: u32 = 9;

/// Signals whose default action does not end a process: SIGCHLD, SIGCONT, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, SIGURG,
/// SIGWINCH (signal(7), numbers of all architectures but Alpha, MIPS, PA-RISC, SPARC).
const HARMLESS_BY_DEFAULT: SignalSet = SignalSet::of(&[17, 18, 19, 20, 21, 22, 23, 28]);

/// What becomes of a thread that waits for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReaderFate {
    /// A fatal signal is pending: answer EINTR.
    Dying,
    /// There is no such thread any more: nobody waits, answer EINTR.
    Gone,
    /// It lives and will go on: do not answer; look again.
    Alive,
    /// It cannot be seen (no number in our PID namespace, `hidepid`): do not answer; look again.
    Unknown,
}

/// A set of signals, as /proc shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct SignalSet(u64);

impl SignalSet {
    const EMPTY: SignalSet = SignalSet(0);

    const fn of(signals: &[u32]) -> Self {
        let mut bits = 0;
        let mut at = 0;
        while at < signals.len() {
            bits |= 1 << (signals[at] - 1);
            at += 1;
        }
        Self(bits)
    }

    const fn has(self, signal: u32) -> bool {
        self.0 & (1 << (signal - 1)) != 0
    }

    const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// The lines of /proc/TID/status that matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ThreadStatus {
    state: u8,
    tracer: u32,
    pending: SignalSet,
    blocked: SignalSet,
    ignored: SignalSet,
    caught: SignalSet,
}

/// What becomes of thread `tid` (as in [`crate::Request::pid`]).
#[must_use]
pub fn fatal_signal_pending(tid: u32) -> ReaderFate {
    let Some(pid) = i32::try_from(tid).ok().and_then(Pid::from_raw) else {
        return ReaderFate::Unknown;
    };
    match fs::read_to_string(format!("/proc/{tid}/status")) {
        Ok(text) => ThreadStatus::parse(&text).map_or(ReaderFate::Unknown, ThreadStatus::fate),
        // It is not shown: is it gone, or hidden from us? (kill(2) takes thread ids too.)
        Err(_) => match test_kill_process(pid) {
            Err(Errno::SRCH) => ReaderFate::Gone,
            Ok(()) | Err(_) => ReaderFate::Unknown,
        },
    }
}

impl ThreadStatus {
    fn parse(text: &str) -> Option<Self> {
        let field = |name: &str| {
            text.lines()
                .filter_map(|line| line.split_once(':'))
                .find_map(|(key, value)| (key == name).then(|| value.trim()))
        };
        let set = |name| u64::from_str_radix(field(name)?, 16).ok().map(SignalSet);
        Some(Self {
            state: field("State")?.bytes().next()?,
            tracer: field("TracerPid")?.parse().ok()?,
            pending: set("SigPnd")?.or(set("ShdPnd")?),
            blocked: set("SigBlk")?,
            ignored: set("SigIgn")?,
            caught: set("SigCgt")?,
        })
    }

    fn fate(self) -> ReaderFate {
        if matches!(self.state, b'Z' | b'X') {
            return ReaderFate::Gone;
        }
        if self.pending.has(SIGKILL) || !self.fatal_by_default().is_empty() {
            ReaderFate::Dying
        } else {
            ReaderFate::Alive
        }
    }

    /// Pending signals that will end the process as soon as the thread takes them.
    fn fatal_by_default(self) -> SignalSet {
        if self.tracer != 0 {
            // The tracer sees them first and may swallow them.
            return SignalSet::EMPTY;
        }
        self.pending
            .without(self.blocked)
            .without(self.ignored)
            .without(self.caught)
            .without(HARMLESS_BY_DEFAULT)
    }
}

#[cfg(test)]
#[path = "interrupt_tests.rs"]
mod tests;
