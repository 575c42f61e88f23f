//! fork(2) and execve(2) of a child, with `$LISTEN_PID` and the descriptors from 3 on.
//!
//! Why unsafe code: `$LISTEN_PID` must hold the child's own pid, which exists only after the fork, while
//! `std::process::Command` fixes the environment before it; and `Command`'s pipe for exec errors may sit on a number that
//! the child needs for an inherited descriptor. A shell between the two would cost more than everything else in a restart.
//!
//! Invariants: the child between fork and exec touches only memory that was allocated before the fork, allocates nothing,
//! takes no lock, cannot panic, and calls async-signal-safe functions only (signal-safety(7)); so the parent may have other
//! threads. The child ends in execve or `_exit`, never in a return.
#![allow(unsafe_code)]

use std::ffi::{CString, c_char};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd, RawFd};
use std::ptr;

use rustix::process::{Pid, Resource, Rlimit};

/// Exit code of a child whose program could not be executed (systemd.exec(5): `EXIT_EXEC`).
pub(crate) const EXIT_EXEC: i32 = 203;
/// Exit code of a child whose descriptors could not be put in place (systemd.exec(5): `EXIT_FDS`).
pub(crate) const EXIT_FDS: i32 = 202;

/// First inherited descriptor (sd_listen_fds(3): `SD_LISTEN_FDS_START`).
const LISTEN_FDS_START: RawFd = 3;
/// Highest signal number (signal(7)).
const SIGNAL_MAX: libc::c_int = 64;
/// `CLOSE_RANGE_CLOEXEC` of close_range(2): mark, do not close.
const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;
const LISTEN_PID: &[u8] = b"LISTEN_PID=";
/// Digits of the largest pid and a NUL.
const PID_BYTES_MAX: usize = 11;

/// A child's program, arguments and environment, ready to be executed.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) program: CString,
    pub(crate) argv: Vec<CString>,
    /// Without `LISTEN_PID`.
    pub(crate) env: Vec<CString>,
}

/// All memory that the child needs. Its pointers point into the [`Image`] and into `listen_pid`.
struct Plan<'a> {
    program: &'a CString,
    argv: Vec<*const c_char>,
    env: Vec<*const c_char>,
    listen_pid: Vec<u8>,
    sources: Vec<RawFd>,
}

/// Forks and executes; returns the child's pid at once, not when the exec is done: a failed exec shows as exit code 203.
/// In the child: a session of its own, no core dumps, default signal actions and an empty signal mask.
///
/// # Errors
/// What fork(2) says.
pub(crate) fn spawn(image: &Image, descriptors: &[BorrowedFd<'_>]) -> io::Result<Pid> {
    let mut plan = Plan::new(image, descriptors);
    let unblocked = block_signals();
    // SAFETY: in the parent fork has no precondition. In the child only `run_child` runs, which keeps to what
    // signal-safety(7) allows after fork in a threaded process (see there), and never returns.
    let forked = match unsafe { libc::fork() } {
        // SAFETY: this is the child, whose only thread this is; `plan` was built above and is not used by anyone else.
        0 => unsafe { run_child(&mut plan) },
        pid => pid,
    };
    let error = io::Error::last_os_error();
    set_signal_mask(&unblocked);
    Pid::from_raw(forked).filter(|_| forked > 0).ok_or(error)
}

impl<'a> Plan<'a> {
    fn new(image: &'a Image, descriptors: &[BorrowedFd<'_>]) -> Plan<'a> {
        let mut listen_pid = LISTEN_PID.to_vec();
        listen_pid.resize(LISTEN_PID.len() + PID_BYTES_MAX, 0);
        let mut env: Vec<*const c_char> =
            image.env.iter().map(|variable| variable.as_ptr()).collect();
        if !descriptors.is_empty() {
            env.push(listen_pid.as_ptr().cast());
        }
        env.push(ptr::null());
        let mut argv: Vec<*const c_char> = image
            .argv
            .iter()
            .map(|argument| argument.as_ptr())
            .collect();
        argv.push(ptr::null());
        let sources = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        Plan {
            program: &image.program,
            argv,
            env,
            listen_pid,
            sources,
        }
    }
}

/// The child's life up to its program.
///
/// # Safety
/// Must be called in a process fresh from fork, with all signals blocked.
unsafe fn run_child(plan: &mut Plan<'_>) -> ! {
    // A new session: a signal to the keeper's process group or the end of its terminal does not reach the child (H18).
    let _ = rustix::process::setsid();
    // A core dump delays the death, and with it the successor (H19). The hard limit stays: the child may ask for cores.
    let core = rustix::process::getrlimit(Resource::Core);
    let _ = rustix::process::setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: core.maximum,
        },
    );
    write_own_pid(&mut plan.listen_pid);
    let in_place = place_descriptors(&mut plan.sources);
    default_signal_actions();
    set_signal_mask(&empty_signal_set());
    if in_place {
        // SAFETY: `program` and the pointers of both lists are NUL-terminated strings that live in the forked copy of the
        // parent's memory (`Image` is borrowed by `plan`, `listen_pid` owned and zero-filled behind its digits); both
        // lists end in a null pointer. execve returns only if it failed.
        unsafe { libc::execve(plan.program.as_ptr(), plan.argv.as_ptr(), plan.env.as_ptr()) };
    }
    // SAFETY: _exit ends the process without running destructors or handlers of the parent's copied state.
    unsafe { libc::_exit(if in_place { EXIT_EXEC } else { EXIT_FDS }) }
}

/// Decimal digits of the own pid behind the `=`; what follows stays NUL.
fn write_own_pid(listen_pid: &mut [u8]) {
    let pid = rustix::process::getpid().as_raw_pid().unsigned_abs();
    let digits = pid.checked_ilog10().map_or(1, |exponent| exponent + 1);
    let places = (0..digits).rev();
    for (byte, place) in listen_pid.iter_mut().skip(LISTEN_PID.len()).zip(places) {
        // `place` is below 10, so the power fits, and the remainder is one digit.
        *byte = b'0' + ((pid / 10u32.wrapping_pow(place)) % 10) as u8;
    }
}

/// Puts `sources[i]` on number 3 + i, without close-on-exec. First all of them are copied above the last target, so that
/// no target still needed as a source is overwritten. All beyond is closed by exec.
fn place_descriptors(sources: &mut [RawFd]) -> bool {
    let Some(end) = RawFd::try_from(sources.len())
        .ok()
        .and_then(|count| LISTEN_FDS_START.checked_add(count))
    else {
        return false;
    };
    for source in sources.iter_mut().filter(|source| **source < end) {
        // SAFETY: the parent borrowed the descriptor over the fork, so the number is open in the child, and nothing in the
        // child closes it before this borrow ends.
        let borrowed = unsafe { BorrowedFd::borrow_raw(*source) };
        match rustix::io::fcntl_dupfd_cloexec(borrowed, end) {
            Ok(copy) => *source = copy.into_raw_fd(),
            Err(_) => return false,
        }
    }
    let all_placed = (LISTEN_FDS_START..)
        .zip(sources.iter())
        .all(|(target, source)| {
            // SAFETY: dup2 reads no memory. What it closes on `target` is the child's copy of a descriptor that is
            // close-on-exec and used by nobody in the child: every source lies at or above `end`, and no Rust owner runs here.
            unsafe { libc::dup2(*source, target) == target }
        });
    // What the keeper itself was started with (a pipe of whoever started it) must not live on in its children. On a kernel
    // without the flag (before 5.11) this fails and such descriptors, if any, are inherited.
    // SAFETY: close_range takes three integers, and with this flag closes nothing in the running process.
    unsafe {
        libc::syscall(
            libc::SYS_close_range,
            end.unsigned_abs(),
            libc::c_uint::MAX,
            CLOSE_RANGE_CLOEXEC,
        )
    };
    all_placed
}

/// Signal actions that survive exec (ignored ones) and handlers of the parent are set to their defaults.
fn default_signal_actions() {
    for signal in 1..=SIGNAL_MAX {
        // SAFETY: SIG_DFL installs no code; for SIGKILL, SIGSTOP and the C library's own
        // signals the call fails and changes nothing.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

fn empty_signal_set() -> libc::sigset_t {
    let mut set = std::mem::MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the whole set behind the valid pointer and cannot fail.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        set.assume_init()
    }
}

/// Blocks all signals of this thread and returns the mask before. A handler of the parent that ran in the child before
/// exec would write into the parent's self-pipe.
fn block_signals() -> libc::sigset_t {
    let mut all = empty_signal_set();
    let mut before = empty_signal_set();
    // SAFETY: both pointers are to initialised sets that live over the calls.
    unsafe {
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
    }
    before
}

fn set_signal_mask(mask: &libc::sigset_t) {
    // SAFETY: `mask` is an initialised set; the old mask is not asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, mask, ptr::null_mut()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pid_is_written_in_decimal_and_ends_in_nul() {
        let mut buffer = [0; LISTEN_PID.len() + PID_BYTES_MAX];
        write_own_pid(&mut buffer);
        let digits: Vec<u8> = buffer
            .into_iter()
            .skip(LISTEN_PID.len())
            .take_while(|byte| *byte != 0)
            .collect();
        assert_eq!(
            String::from_utf8(digits).expect("digits"),
            std::process::id().to_string()
        );
    }
}
