//! A session outlives the processes that serve it: real SIGKILLs, every byte compared.

mod common;

use std::process::{Command, Stdio};
use std::time::Duration;

use common::child::{self, Death, Server};
use common::pattern::{CACHED, DIRECT};
use common::reader::{self, Reader, Seen};
use common::{AbortOnPanic, Mounted, cannot_mount};
use holdfast_fuse::connection::HandshakeFailure;
use holdfast_fuse::{
    Accepted, Connection, Errno, HandshakeOptions, Operation, ReceiveBuffer, Received, Unique,
    mount,
};

#[test]
#[ignore = "entry point of the serving process, started by the tests"]
fn serving_child() {
    child::serve_if_child();
}

#[test]
#[ignore = "entry point of the reading processes, started by the tests"]
fn reading_child() {
    reader::read_if_child();
}

/// Lets four reading processes read while `one_life` makes a serving process live and die, `deaths` times. What they saw.
fn readers_survive(deaths: u64, mut one_life: impl FnMut(&Mounted, u64)) -> Seen {
    let mounted = Mounted::new(&HandshakeOptions::default());
    assert!(
        mounted.negotiated.has_resend(),
        "a kernel with FUSE_NOTIFY_RESEND"
    );
    let _guard = AbortOnPanic(mounted.guard.connection_id());
    let readers = [
        (CACHED, 65536),
        (CACHED, 4096),
        (DIRECT, 131_072),
        (DIRECT, 4096),
    ]
    .map(|(name, piece_bytes)| Reader::start(&mounted.path(name), piece_bytes));
    for death in 0..deaths {
        one_life(&mounted, death);
    }
    let last = Server::start(&mounted, Death::FromOutside, 2);
    let seen = readers.map(Reader::stop).into_iter().sum();
    last.kill();
    seen
}

fn assert_nothing_was_seen(seen: Seen, deaths: u64) {
    eprintln!("{deaths} deaths, {seen:?}");
    assert_eq!(seen.errors, 0, "reads that failed");
    assert_eq!(seen.wrong, 0, "reads with wrong bytes");
    assert!(seen.reads > deaths, "the readers did read");
}

/// Each process dies with requests received and not answered; each successor gets them.
#[test]
fn a_successor_gets_what_the_dead_left_unanswered() {
    const TEST: &str = "a_successor_gets_what_the_dead_left_unanswered";
    const DEATHS: u64 = 60;
    if cannot_mount(TEST) {
        return;
    }
    let seen = readers_survive(DEATHS, |mounted, death| {
        // Two threads: the other one may hold a request too, or be in the middle of a reply.
        Server::start(mounted, Death::AtRead(1 + death % 7), 2).wait_for_death();
    });
    assert_nothing_was_seen(seen, DEATHS);
}

/// SIGKILL at any moment, also in the middle of the kernel's copy of a message.
#[test]
fn h01_timed_kills_never_fail_a_reader() {
    const TEST: &str = "h01_timed_kills_never_fail_a_reader";
    const DEATHS: u64 = 2_000;
    if cannot_mount(TEST) {
        return;
    }
    let seen = readers_survive(DEATHS, |mounted, death| {
        let server = Server::start(mounted, Death::FromOutside, 4);
        // 0.1 to 2 ms, evenly, in no order.
        let life_us = 100 + death.wrapping_mul(0x9E37_79B9) % 1901;
        std::thread::sleep(Duration::from_micros(life_us));
        server.kill();
    });
    assert_nothing_was_seen(seen, DEATHS);
}

/// A crash between INIT and its answer: the successor is asked again and answers with what was stored.
#[test]
fn h22_an_unanswered_init_comes_again() {
    const TEST: &str = "h22_an_unanswered_init_comes_again";
    if cannot_mount(TEST) {
        return;
    }
    let dir = tempfile::tempdir().expect("a temp dir");
    let device = mount::open_device().expect("/dev/fuse");
    mount::mount_direct(dir.path(), &device, &mount::MountOptions::new(TEST)).expect("mount(2)");
    let guard = mount::MountGuard::new(dir.path()).expect("a mount");
    let mut buffer = ReceiveBuffer::new().expect("a buffer");
    let dying = Connection::new(device.try_clone().expect("dup"));
    let mut stored = None;
    let failure = dying.handshake(&mut buffer, &HandshakeOptions::default(), |negotiated| {
        stored = Some(*negotiated);
        Err("died before the reply")
    });
    assert!(
        matches!(failure, Err(HandshakeFailure::Store(_))),
        "{failure:?}"
    );
    drop(dying);
    let stored = stored.expect("stored before the reply");

    let successor = Connection::take_over(device, stored);
    successor.notify_resend().expect("resend");
    let received = successor.receive(&mut buffer).expect("a request");
    let Received::Request(request) = received else {
        panic!("{received:?}");
    };
    assert!(matches!(request.operation, Operation::Init(_)) && request.unique.is_resent());
    let accepted = successor.reply_init(request.unique, &stored);
    assert_eq!(accepted, Ok(Accepted::Accepted));
    // The first answer counts; a second one meets nobody.
    let again = successor.reply_init(request.unique, &stored);
    assert_eq!(again, Ok(Accepted::Gone));
    drop(guard);
}

/// A reply by the number from before the resend is not taken; the same request is known by its id.
#[test]
fn h05_after_a_resend_only_the_new_number_counts() {
    const TEST: &str = "h05_after_a_resend_only_the_new_number_counts";
    if cannot_mount(TEST) {
        return;
    }
    let mounted = Mounted::new(&HandshakeOptions::default());
    let path = mounted.path(CACHED);
    let reader = Command::new("cat")
        .arg(path)
        .stderr(Stdio::piped())
        .spawn()
        .expect("cat");
    let _guard = AbortOnPanic(mounted.guard.connection_id());
    let mut buffer = ReceiveBuffer::new().expect("a buffer");
    let first = receive_unique(&mounted.connection, &mut buffer);
    mounted.connection.notify_resend().expect("resend");
    let second = receive_unique(&mounted.connection, &mut buffer);
    assert_eq!(first.id(), second.id());
    assert!(!first.is_resent() && second.is_resent());
    let reply = |unique| mounted.connection.reply_error(unique, Errno::XDEV);
    assert_eq!(reply(first), Ok(Accepted::Gone));
    assert_eq!(reply(second), Ok(Accepted::Accepted));
    let output = reader.wait_with_output().expect("wait");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(words.contains("Invalid cross-device link"), "{words}");
}

fn receive_unique(connection: &Connection, buffer: &mut ReceiveBuffer) -> Unique {
    match connection.receive(buffer).expect("a request") {
        Received::Request(request) => request.unique,
        ended @ (Received::Unmounted | Received::Aborted) => panic!("{ended:?}"),
    }
}
