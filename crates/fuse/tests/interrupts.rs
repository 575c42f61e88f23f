//! INTERRUPT: a reader that handles a signal goes on, a reader that is killed ends.

mod common;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::pattern::{self, DIRECT};
use common::{AbortOnPanic, Mounted, cannot_mount};
use holdfast_fuse::{
    Errno, HandshakeOptions, Operation, ReaderFate, ReceiveBuffer, Received, ReplyBuffer, Request,
    Unique, fatal_signal_pending,
};
use nix::sys::pthread::{pthread_kill, pthread_self};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, setrlimit};

const LOOK_AGAIN: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};
const PATH: &str = "HOLDFAST_FUSE_TEST_SIGNALLED";
const READS: u64 = 4;

/// What a server does with READs.
#[derive(Clone, Copy)]
enum Reads {
    AnsweredAfter(Duration),
    NeverAnswered,
}

/// What a server counted.
#[derive(Default)]
struct Counted {
    held: AtomicU64,
    interrupts: AtomicU64,
    failed_with_eintr: AtomicU64,
}

/// A READ that waits for its answer.
struct Held {
    unique: Unique,
    tid: u32,
    offset: u64,
    size: u32,
    since: Instant,
    interrupted: bool,
}

/// Serves until the mount is gone, as an engine would: replies later, looks after interrupted readers every 50 ms.
fn serve(mounted: &Mounted, reads: Reads, counted: &Counted) {
    let _guard = AbortOnPanic(mounted.guard.connection_id());
    let connection = &mounted.connection;
    let mut buffer = ReceiveBuffer::new().expect("a buffer");
    let mut payload = ReplyBuffer::new().expect("a buffer");
    let mut all_held: Vec<Held> = Vec::new();
    loop {
        let mut polled = [PollFd::new(&connection, PollFlags::IN)];
        if poll(&mut polled, Some(&LOOK_AGAIN)).expect("poll") > 0 {
            let Received::Request(request) = connection.receive(&mut buffer).expect("a request")
            else {
                return;
            };
            match request.operation {
                Operation::Read { offset, size, .. } => {
                    all_held.push(hold(&request, offset, size));
                    counted.held.fetch_add(1, Ordering::SeqCst);
                }
                Operation::Interrupt { unique } => {
                    counted.interrupts.fetch_add(1, Ordering::SeqCst);
                    let of_it = |held: &&mut Held| held.unique.id() == unique.id();
                    if let Some(held) = all_held.iter_mut().find(of_it) {
                        held.interrupted = true;
                    }
                }
                _ => drop(pattern::answer(connection, &request, &mut payload).expect("a reply")),
            }
        }
        all_held.retain(|held| !is_over(mounted, reads, counted, held, &mut payload));
    }
}

fn hold(request: &Request<'_>, offset: u64, size: u32) -> Held {
    Held {
        unique: request.unique,
        tid: request.pid,
        offset,
        size,
        since: Instant::now(),
        interrupted: false,
    }
}

fn is_over(
    mounted: &Mounted,
    reads: Reads,
    counted: &Counted,
    held: &Held,
    payload: &mut ReplyBuffer,
) -> bool {
    let connection = &mounted.connection;
    if held.interrupted {
        match fatal_signal_pending(held.tid) {
            ReaderFate::Dying | ReaderFate::Gone => {
                let _ = connection
                    .reply_error(held.unique, Errno::INTR)
                    .expect("a reply");
                counted.failed_with_eintr.fetch_add(1, Ordering::SeqCst);
                return true;
            }
            ReaderFate::Alive | ReaderFate::Unknown => {}
        }
    }
    match reads {
        Reads::AnsweredAfter(delay) if held.since.elapsed() >= delay => {
            let len = held.size as usize;
            pattern::fill(&mut payload.bytes_mut()[..len], held.offset);
            let _ = connection
                .reply_data(held.unique, payload.filled(len))
                .expect("a reply");
            true
        }
        Reads::AnsweredAfter(_) | Reads::NeverAnswered => false,
    }
}

/// Runs `check` with a server on another thread; the mount ends after it, also when it panics.
fn with_server(reads: Reads, check: impl FnOnce(&Path, &Counted)) {
    let mounted = Mounted::new(&HandshakeOptions::default());
    let counted = Counted::default();
    std::thread::scope(|scope| {
        scope.spawn(|| serve(&mounted, reads, &counted));
        let id = mounted.guard.connection_id();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            check(&mounted.path(DIRECT), &counted);
        }));
        holdfast_fuse::mount::abort(id).expect("abort");
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    });
}

#[test]
#[ignore = "entry point of the signalled reader, started by the tests"]
fn signalled_child() {
    let Ok(path) = std::env::var(PATH) else {
        return;
    };
    // signal-hook installs handlers with SA_RESTART.
    let handled = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGALRM, handled.clone()).expect("a handler");
    // kill(2) would signal the main thread, which reads nothing.
    let (reader, over) = (pthread_self(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                pthread_kill(reader, nix::sys::signal::SIGALRM).expect("a signal");
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let outcome = std::panic::catch_unwind(|| read_some(&path));
        over.store(true, Ordering::SeqCst);
        assert!(outcome.is_ok(), "the reads");
    });
    assert!(handled.load(Ordering::SeqCst), "signals were handled");
}

fn read_some(path: &str) {
    let file = File::open(path).expect("open");
    let mut bytes = [0; 4096];
    for read in 0..READS {
        // read_at is one pread(2): an EINTR would be seen here.
        let len = file.read_at(&mut bytes, read * 4096).expect("no EINTR");
        assert_eq!(len, 4096);
        assert!(pattern::is_right(&bytes, read * 4096));
    }
}

/// Signals with an SA_RESTART handler arrive all the time while each READ takes 0.3 s.
#[test]
fn h10_a_handled_signal_never_fails_a_read() {
    const TEST: &str = "h10_a_handled_signal_never_fails_a_read";
    if cannot_mount(TEST) {
        return;
    }
    with_server(
        Reads::AnsweredAfter(Duration::from_millis(300)),
        |path, counted| {
            let status = Command::new(std::env::current_exe().expect("this program"))
                .args(["--exact", "signalled_child", "--ignored", "--nocapture"])
                .env(PATH, path)
                .stdout(Stdio::null())
                .status()
                .expect("a reader");
            assert!(status.success(), "{status}");
            assert!(
                counted.interrupts.load(Ordering::SeqCst) > 0,
                "the kernel did ask"
            );
            assert_eq!(counted.failed_with_eintr.load(Ordering::SeqCst), 0);
            assert_eq!(
                counted.held.load(Ordering::SeqCst),
                READS,
                "no READ was repeated"
            );
        },
    );
}

/// Readers of an answer that never comes end by any fatal signal: SIGKILL, a terminating one, a core-dumping one.
#[test]
fn h10_a_killed_reader_ends_without_an_answer() {
    const TEST: &str = "h10_a_killed_reader_ends_without_an_answer";
    if cannot_mount(TEST) {
        return;
    }
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none).expect("no core files");
    with_server(Reads::NeverAnswered, |path, counted| {
        for (round, signal) in (1..).zip([Signal::KILL, Signal::INT, Signal::QUIT]) {
            let mut child = Command::new("cat").arg(path).spawn().expect("cat");
            let deadline = Instant::now() + Duration::from_secs(60);
            while counted.held.load(Ordering::SeqCst) < round {
                assert!(Instant::now() < deadline, "cat reads");
                std::thread::sleep(Duration::from_millis(2));
            }
            kill_process(Pid::from_child(&child), signal).expect("kill");
            let status = child.wait().expect("wait");
            assert_eq!(status.signal(), Some(signal.as_raw()), "{status}");
            assert_eq!(counted.failed_with_eintr.load(Ordering::SeqCst), round);
        }
    });
}
