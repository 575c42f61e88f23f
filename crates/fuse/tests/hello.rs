//! The example file system, mounted by the real kernel: listed, read, mapped.

mod common;
#[path = "../examples/hello.rs"]
mod hello;

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::process::Command;

use common::{AbortOnPanic, Mounted, cannot_mount};
use holdfast_fuse::handshake::Readdirplus;
use holdfast_fuse::mount;
use holdfast_fuse::{Connection, Errno, HandshakeOptions, ReceiveBuffer};

const OPTIONS: HandshakeOptions = HandshakeOptions {
    readdirplus: Readdirplus::Never,
    max_background: 4096,
    congestion_threshold: 3072,
    directory_opens: holdfast_fuse::handshake::DirectoryOpens::Sent,
    nfs_export: holdfast_fuse::handshake::NfsExport::NotOffered,
};

fn files() -> Vec<hello::File> {
    let file = |name, content, permissions| hello::File {
        name,
        content,
        permissions,
    };
    let long = (0..3_000_001u32).map(|n| n.wrapping_mul(n) as u8).collect();
    vec![
        file("hello", b"Hello, world!\n".to_vec(), 0o444),
        file("long", long, 0o400),
        file("empty", Vec::new(), 0o444),
        file("cat", fs::read("/bin/cat").expect("/bin/cat"), 0o555),
    ]
}

/// Runs `check` while a thread serves the example; unmounts also when `check` panics.
fn with_hello(check: impl FnOnce(&Mounted)) {
    let mounted = Mounted::new(&OPTIONS);
    let server = Connection::take_over(mounted.device(), mounted.negotiated);
    let id = mounted.guard.connection_id();
    let thread = std::thread::spawn(move || {
        let _guard = AbortOnPanic(id);
        hello::serve(&server, &files()).expect("serving");
    });
    check(&mounted);
    drop(mounted);
    thread.join().expect("the server ends with the mount");
}

#[test]
fn the_kernel_sees_what_the_example_serves() {
    if cannot_mount("the_kernel_sees_what_the_example_serves") {
        return;
    }
    with_hello(|mounted| {
        let mut names: Vec<_> = fs::read_dir(mounted.path(""))
            .expect("readdir")
            .map(|entry| {
                entry
                    .expect("entry")
                    .file_name()
                    .into_string()
                    .expect("utf-8")
            })
            .collect();
        names.sort();
        assert_eq!(names, ["cat", "empty", "hello", "long"]);
        for file in files() {
            let path = mounted.path(file.name);
            assert_eq!(
                fs::read(&path).expect("read"),
                file.content,
                "{}",
                file.name
            );
            let metadata = fs::metadata(&path).expect("stat");
            assert_eq!(metadata.len(), file.content.len() as u64);
            assert_eq!(
                metadata.permissions().mode(),
                0o100_000 | u32::from(file.permissions)
            );
        }
        let missing = fs::read(mounted.path("missing")).expect_err("no such name");
        assert_eq!(missing.kind(), std::io::ErrorKind::NotFound);
        let refused = fs::write(mounted.path("new"), b"x").expect_err("read-only");
        assert_eq!(refused.raw_os_error(), Some(Errno::ROFS.raw_os_error()));
    });
}

/// Reads at, around and beyond the end: the size the kernel believes never changes.
#[test]
fn h14_reads_at_the_end_do_not_shrink_the_file() {
    if cannot_mount("h14_reads_at_the_end_do_not_shrink_the_file") {
        return;
    }
    with_hello(|mounted| {
        let long = &files()[1].content;
        let mut file = fs::File::open(mounted.path("long")).expect("open");
        let mut bytes = [0; 100];
        assert_eq!(file.read_at(&mut bytes, 2_999_990).expect("read"), 11);
        assert_eq!(bytes[..11], long[2_999_990..]);
        assert_eq!(file.read_at(&mut bytes, 3_000_001).expect("read"), 0);
        assert_eq!(file.read_at(&mut bytes, 9_000_000).expect("read"), 0);
        assert_eq!(file.metadata().expect("stat").len(), 3_000_001);
        file.seek(SeekFrom::Start(0)).expect("seek");
        let mut all = Vec::new();
        file.read_to_end(&mut all).expect("read");
        assert_eq!(&all, long);
    });
}

/// execve maps the program from the mount: its pages come by page faults.
#[test]
fn a_program_runs_from_mapped_pages() {
    if cannot_mount("a_program_runs_from_mapped_pages") {
        return;
    }
    with_hello(|mounted| {
        let output = Command::new(mounted.path("cat"))
            .arg(mounted.path("long"))
            .output()
            .expect("cat runs from the mount");
        assert!(output.status.success(), "{output:?}");
        assert_eq!(output.stdout, files()[1].content);
    });
}

/// The helper mounts, hands the descriptor over, and unmounts.
#[test]
fn fusermount_hands_the_descriptor_over() {
    if cannot_mount("fusermount_hands_the_descriptor_over") {
        return;
    }
    if Command::new("fusermount3").arg("-V").output().is_err() {
        eprintln!("SKIPPED fusermount_hands_the_descriptor_over: needs fusermount3");
        return;
    }
    let dir = tempfile::tempdir().expect("a temp dir");
    let options = mount::MountOptions::new(r"a,b\c");
    let device = mount::mount_with_fusermount(dir.path(), &options).expect("fusermount3");
    let guard = mount::MountGuard::new(dir.path()).expect("a mount");
    let connection = Connection::new(device);
    let mut buffer = ReceiveBuffer::new().expect("a buffer");
    connection
        .handshake(&mut buffer, &OPTIONS, |_| Ok::<_, std::io::Error>(()))
        .expect("a handshake");
    let thread = std::thread::spawn(move || hello::serve(&connection, &files()).expect("serving"));
    assert_eq!(
        fs::read(dir.path().join("hello")).expect("read"),
        b"Hello, world!\n"
    );
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    let line = mountinfo
        .lines()
        .find(|line| line.contains(dir.path().to_str().expect("utf-8")))
        .expect("the mount's line");
    assert!(line.contains(r"- fuse.holdfast a,b\134c"), "{line}");
    drop(guard);
    thread.join().expect("the server ends with the mount");
}

/// Umount and the kernel's controls work while nobody serves: not one of them asks the server.
#[test]
fn h20_umount_asks_nobody() {
    if cannot_mount("h20_umount_asks_nobody") {
        return;
    }
    let mounted = Mounted::new(&OPTIONS);
    let id = mounted.guard.connection_id();
    assert_eq!(mount::connection_id(mounted.guard.dir()), Ok(id));
    mount::set_read_ahead(id, 1024).expect("bdi");
    assert_eq!(mount::set_read_ahead(id, 1024), Ok(1024));
    assert_eq!(mount::waiting_requests(id), Ok(0));
    mount::umount(mounted.guard.dir(), mount::UmountMode::Now).expect("umount2");
    let again = mount::umount(mounted.guard.dir(), mount::UmountMode::Now);
    assert_eq!(again, Err(mount::UmountError::NotMounted));
    let mut buffer = ReceiveBuffer::new().expect("a buffer");
    let received = mounted.connection.receive(&mut buffer).expect("an end");
    assert!(
        matches!(received, holdfast_fuse::Received::Unmounted),
        "{received:?}"
    );
}

/// An abort is told apart from an unmount, and ends who waits.
#[test]
fn an_abort_ends_readers_and_server() {
    if cannot_mount("an_abort_ends_readers_and_server") {
        return;
    }
    let mounted = Mounted::new(&OPTIONS);
    let path = mounted.path("hello");
    let reader = std::thread::spawn(move || fs::read(path));
    let mut buffer = ReceiveBuffer::new().expect("a buffer");
    // Its lookup is here: the reader waits.
    mounted.connection.receive(&mut buffer).expect("a request");
    mount::abort(mounted.guard.connection_id()).expect("abort");
    let error = reader.join().expect("join").expect_err("aborted");
    assert_eq!(
        error.raw_os_error(),
        Some(Errno::CONNABORTED.raw_os_error())
    );
    let received = mounted.connection.receive(&mut buffer).expect("an end");
    assert!(
        matches!(received, holdfast_fuse::Received::Aborted),
        "{received:?}"
    );
}
