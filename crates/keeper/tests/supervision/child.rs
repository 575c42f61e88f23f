//! The children's part. A child writes what it sees as lines of JSON to `events` in the directory of its notification
//! socket (the run directory's parent holds nothing of the keeper's), so that a test can follow it.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Signal, getpid, kill_process};
use sd_notify::NotifyState;
use serde::{Deserialize, Serialize};

/// Names the behaviour of a child.
pub const BEHAVIOUR_VARIABLE: &str = "HOLDFAST_TEST_CHILD";

/// What a child saw when it started.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Seen {
    pub behaviour: String,
    pub pid: u32,
    pub session: i32,
    pub core_limit: Option<u64>,
    pub descriptor_limit: (Option<u64>, Option<u64>),
    pub listen_pid: Option<String>,
    pub watchdog_pid: Option<String>,
    pub watchdog_us: Option<u64>,
    /// Name, and content where it is a regular file.
    pub inherited: Vec<(String, String)>,
    /// Open descriptors beside 0, 1, 2 and the inherited ones (a leak from the keeper).
    pub others: Vec<String>,
    pub monotonic_ns: u64,
    /// Signals blocked or ignored at start, from /proc/self/status, but for a few.
    pub blocked: u64,
    pub ignored: u64,
}

/// The directory that holds the run directory.
fn test_dir() -> PathBuf {
    let socket = PathBuf::from(std::env::var_os("NOTIFY_SOCKET").expect("the keeper sets it"));
    socket
        .parent()
        .and_then(|run_dir| run_dir.parent())
        .expect("two levels")
        .to_owned()
}

fn record(seen: &Seen) {
    let mut line = serde_json::to_vec(seen).expect("plain data");
    line.push(b'\n');
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(test_dir().join("events"))
        .expect("events file");
    file.write_all(&line).expect("written");
}

pub fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(now.tv_sec).expect("positive") * 1_000_000_000
        + u64::try_from(now.tv_nsec).expect("positive")
}

pub fn main(behaviour: &OsStr) {
    let monotonic_ns = monotonic_ns();
    let behaviour = behaviour.to_str().expect("plain text");
    let (seen, inherited) = look_around(behaviour, monotonic_ns);
    record(&seen);
    match behaviour {
        "exit_at_start" => std::process::exit(3),
        "never_ready" => wait_for_signal(),
        "ready" => {
            notify(&[NotifyState::Ready]);
            wait_for_signal();
        }
        "deaf" => {
            // The test kills it; SIGTERM does nothing.
            let noticed = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
            signal_hook::flag::register(libc::SIGTERM, noticed).expect("a handler");
            notify(&[NotifyState::Ready]);
            wait_for_signal();
        }
        "farewell" => {
            notify(&[NotifyState::Ready]);
            wait_for_file("leave");
            notify(&[NotifyState::Stopping]);
            std::process::exit(0);
        }
        "exit_0_without_farewell" => {
            notify(&[NotifyState::Ready]);
            wait_for_file("leave");
            std::fs::remove_file(test_dir().join("leave")).expect("there");
            std::process::exit(0);
        }
        "breathing" => breathe(),
        "silent_with_a_thread" => {
            std::thread::spawn(|| wait_for_signal());
            notify(&[NotifyState::Ready]);
            wait_for_signal();
        }
        "stores" => store(&inherited),
        "stores_and_dies" => store_and_die(&inherited),
        "stores_many" => store_many(),
        "removes" => remove(&inherited),
        unknown => panic!("unknown behaviour {unknown}"),
    }
}

pub fn notify(states: &[NotifyState<'_>]) {
    sd_notify::notify(states).expect("the keeper listens");
}

fn wait_for_signal() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

fn wait_for_file(name: &str) {
    let path = test_dir().join(name);
    while !path.exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[allow(unsafe_code)]
fn look_around(behaviour: &str, monotonic_ns: u64) -> (Seen, Vec<(String, OwnedFd)>) {
    let listed = sd_notify::listen_fds_with_names().expect("understood by the client crate");
    let inherited: Vec<(String, OwnedFd)> = listed
        // SAFETY: the protocol gives these numbers to this process, and they are wrapped once.
        .map(|(number, name)| (name, unsafe { OwnedFd::from_raw_fd(number) }))
        .collect();
    let status = std::fs::read_to_string("/proc/self/status").expect("own status");
    let mask = |field: &str| {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(field))
            .expect("field");
        u64::from_str_radix(line.trim(), 16).expect("hexadecimal")
    };
    let core = rustix::process::getrlimit(rustix::process::Resource::Core);
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let seen = Seen {
        behaviour: behaviour.to_owned(),
        pid: std::process::id(),
        session: rustix::process::getsid(None)
            .expect("own session")
            .as_raw_pid(),
        core_limit: core.current,
        descriptor_limit: (files.current, files.maximum),
        listen_pid: std::env::var("LISTEN_PID").ok(),
        watchdog_pid: std::env::var("WATCHDOG_PID").ok(),
        watchdog_us: sd_notify::watchdog_enabled().map(|limit| limit.as_micros() as u64),
        inherited: inherited
            .iter()
            .map(|(name, fd)| (name.clone(), content(fd.as_fd())))
            .collect(),
        others: other_descriptors(inherited.len()),
        monotonic_ns,
        blocked: mask("SigBlk:"),
        // The Rust runtime of this very program ignores SIGPIPE before main; 32 and 33 are the C library's own, which
        // nobody can change.
        ignored: mask("SigIgn:") & !(1 << (libc::SIGPIPE - 1) | 1 << 31 | 1 << 32),
    };
    (seen, inherited)
}

fn content(descriptor: BorrowedFd<'_>) -> String {
    let mut bytes = [0; 256];
    match rustix::io::pread(descriptor, &mut bytes, 0) {
        Ok(count) => String::from_utf8_lossy(&bytes[..count]).into_owned(),
        Err(errno) => format!("{errno:?}"),
    }
}

fn other_descriptors(inherited: usize) -> Vec<String> {
    let mut others = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd").expect("proc") {
        let entry = entry.expect("entry");
        let number: usize = entry
            .file_name()
            .to_str()
            .expect("digits")
            .parse()
            .expect("digits");
        let target = std::fs::read_link(entry.path()).unwrap_or_default();
        // The directory stream of this very walk is a descriptor too.
        if number >= 3 + inherited && !target.starts_with("/proc") {
            others.push(format!("{number} -> {}", target.display()));
        }
    }
    others
}

fn memfd(text: &str) -> OwnedFd {
    let mut file = File::from(memfd_create("holdfast-test", MemfdFlags::CLOEXEC).expect("memfd"));
    file.write_all(text.as_bytes()).expect("memory");
    file.into()
}

/// Waits until the keeper has handled all that was sent before (sd_notify(3), `BARRIER=1`).
fn barrier() {
    let (mut reader, writer) = std::io::pipe().expect("pipe");
    sd_notify::notify_with_fds(&[NotifyState::Custom("BARRIER=1")], &[writer.as_fd()])
        .expect("sent");
    drop(writer);
    assert_eq!(reader.read(&mut [0]).expect("end of file"), 0);
}

fn keep(name: &str, descriptors: &[BorrowedFd<'_>]) {
    sd_notify::notify_with_fds(
        &[NotifyState::FdStore, NotifyState::FdName(name)],
        descriptors,
    )
    .expect("sent");
}

/// First life: stores two memfds under one name and a listening socket. Later lives: append a byte to the first memfd,
/// store what they inherited once more, answer the connections that came meanwhile, and wait.
fn store(inherited: &[(String, OwnedFd)]) {
    match inherited.first() {
        None => {
            let listener = UnixListener::bind(test_dir().join("listener")).expect("bound");
            let journals = [memfd("one"), memfd("two")];
            keep("journal", &[journals[0].as_fd(), journals[1].as_fd()]);
            keep("listener", &[listener.as_fd()]);
        }
        Some((_, first)) => {
            let mut file = File::from(first.try_clone().expect("dup"));
            std::io::Seek::seek(&mut file, std::io::SeekFrom::End(0)).expect("seekable");
            file.write_all(b"+").expect("memory");
            for (name, descriptor) in inherited {
                keep(name, &[descriptor.as_fd()]);
            }
            let socket = inherited
                .iter()
                .find(|(name, _)| name == "listener")
                .expect("stored");
            let listener = UnixListener::from(socket.1.try_clone().expect("dup"));
            listener.set_nonblocking(true).expect("option");
            while let Ok((mut client, _)) = listener.accept() {
                write!(client, "{}", std::process::id()).expect("a small answer");
            }
        }
    }
    barrier();
    notify(&[NotifyState::Ready, NotifyState::Status("all stored")]);
    wait_for_signal();
}

/// The message is sent and the sender is dead before the keeper can look.
fn store_and_die(inherited: &[(String, OwnedFd)]) {
    if inherited.is_empty() {
        let last_will = memfd("last will");
        keep("will", &[last_will.as_fd()]);
        kill_process(getpid(), Signal::KILL).expect("own process");
    }
    notify(&[NotifyState::Ready]);
    wait_for_signal();
}

/// On demand: sends more descriptors in one message than the keeper may have open.
fn store_many() {
    notify(&[NotifyState::Ready]);
    wait_for_file("send");
    let file = memfd("many");
    let copies: Vec<OwnedFd> = (0..200).map(|_| file.try_clone().expect("dup")).collect();
    let borrowed: Vec<BorrowedFd<'_>> = copies.iter().map(OwnedFd::as_fd).collect();
    keep("many", &borrowed);
    barrier();
    keep("one", &[file.as_fd()]);
    barrier();
    notify(&[NotifyState::Status("sent")]);
    wait_for_signal();
}

fn remove(inherited: &[(String, OwnedFd)]) {
    if inherited.is_empty() {
        keep("gone", &[memfd("1").as_fd(), memfd("2").as_fd()]);
        keep("kept", &[memfd("3").as_fd()]);
        sd_notify::notify(&[NotifyState::FdStoreRemove, NotifyState::FdName("gone")])
            .expect("sent");
        barrier();
    }
    notify(&[NotifyState::Ready]);
    wait_for_signal();
}

/// Says `WATCHDOG=1` four times per limit.
fn breathe() {
    let limit = sd_notify::watchdog_enabled().expect("a limit is set");
    notify(&[NotifyState::Ready]);
    loop {
        std::thread::sleep(limit / 4);
        notify(&[NotifyState::Watchdog]);
    }
}
