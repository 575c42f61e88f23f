//! Readers of every kind, and many of them.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::process::Command;
use std::sync::Barrier;
use std::time::Duration;

use holdfast_demo::origin::{Fault, FaultRule, Scope};
use rustix::fs::{Advice, OFlags};
use rustix::io::Errno;

use crate::origins::{put, serve_plainly};
use crate::support::{Site, can_mount, has_program, noise};

const READERS: usize = 240;

#[test]
fn what_hundreds_want_at_once_is_fetched_once() {
    if !can_mount("what_hundreds_want_at_once_is_fetched_once") {
        return;
    }
    let site = Site::new();
    let bytes = put(&site, b"wanted", 1, 4_000_321);
    let origin = serve_plainly(&site);
    let slow = FaultRule::always(Fault::Latency(Duration::from_millis(50)));
    origin
        .faults()
        .add(slow.on(Scope::Path(b"wanted".to_vec())));
    site.mount(OsStr::new(&origin.url()), &[]);
    let path = site.mount_point().join("wanted");
    let start = Barrier::new(READERS);
    std::thread::scope(|scope| {
        for number in 0..READERS {
            let (path, bytes, start) = (&path, &bytes, &start);
            scope.spawn(move || {
                // Half of them past the page cache, so that the engine meets them all.
                let flags = if number % 2 == 0 {
                    OFlags::DIRECT
                } else {
                    OFlags::empty()
                };
                let file = OpenOptions::new()
                    .read(true)
                    .custom_flags(i32::try_from(flags.bits()).expect("flags are small"))
                    .open(path)
                    .expect("opens");
                start.wait();
                for step in 0..8 {
                    let offset = (number * 37 + step * 991) * 4096 % (bytes.len() / 4096 * 4096);
                    let len = (300 * 1024).min(bytes.len() - offset);
                    let mut seen = vec![0; len];
                    file.read_exact_at(&mut seen, offset as u64).expect("reads");
                    assert!(seen == bytes[offset..offset + len], "at {offset}");
                }
            });
        }
    });
    assert!(std::fs::read(&path).expect("reads") == bytes);
    let served = origin.stats().path(b"wanted").body_bytes;
    assert_eq!(served, bytes.len() as u64, "each byte once");
    site.umount();
}

#[test]
fn reads_of_every_kind_give_the_same_bytes() {
    if !can_mount("reads_of_every_kind_give_the_same_bytes") {
        return;
    }
    let site = Site::new();
    let bytes = put(&site, b"file", 1, 3_000_007);
    site.mount_dir(&[]);
    let path = site.mount_point().join("file");
    let direct = i32::try_from(OFlags::DIRECT.bits()).expect("flags are small");
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(direct)
        .open(&path)
        .expect("opens");
    for (offset, len) in [(0, 4096), (1 << 20, 65_536), (2_998_272, 1_735)] {
        let mut seen = vec![0; len];
        file.read_exact_at(&mut seen, offset as u64).expect("reads");
        assert!(seen == bytes[offset..offset + len], "directly, at {offset}");
    }
    drop(file);
    let mut file = File::open(&path).expect("opens");
    rustix::fs::fadvise(&file, 0, None, Advice::WillNeed).expect("read ahead");
    let mut rest = [0; 16];
    let len = bytes.len() as u64;
    for (offset, expected) in [(len - 7, 7), (len, 0), (len + 1, 0), (len + (1 << 40), 0)] {
        assert_eq!(
            file.read_at(&mut rest, offset).expect("reads"),
            expected,
            "{offset}"
        );
    }
    assert_eq!(file.seek(SeekFrom::End(-9)).expect("seeks"), len - 9);
    let mut tail = Vec::new();
    file.read_to_end(&mut tail).expect("reads");
    assert!(tail == bytes[bytes.len() - 9..]);
    send_by_the_kernel(&site, &file, &bytes);
    drop(file);
    site.umount();
}

fn send_by_the_kernel(site: &Site, file: &File, bytes: &[u8]) {
    let out = File::create(site.path("sent")).expect("creates");
    let mut offset = 0;
    while offset < bytes.len() as u64 {
        let sent = rustix::fs::sendfile(&out, file, Some(&mut offset), 1 << 20).expect("sends");
        assert!(sent > 0, "ended at {offset}");
    }
    assert!(std::fs::read(site.path("sent")).expect("reads") == bytes);
}

#[test]
fn a_mapping_shows_the_bytes_and_zeros_behind_the_end() {
    let test = "a_mapping_shows_the_bytes_and_zeros_behind_the_end";
    if !can_mount(test) || !has_program(test, "python3") {
        return;
    }
    let site = Site::new();
    let bytes = put(&site, b"file", 1, 2_000_003);
    let origin = serve_plainly(&site);
    site.mount(OsStr::new(&origin.url()), &[]);
    // A process of its own: a page fault must not hold up the origin, which lives in this one.
    let script = "import mmap,sys\n\
        f=open(sys.argv[1],'rb'); m=mmap.mmap(f.fileno(),0,prot=mmap.PROT_READ)\n\
        pages=[m[o:o+4096] for o in reversed(range(0,len(m),4096))]\n\
        open(sys.argv[2],'wb').write(b''.join(reversed(pages)))\n";
    let status = Command::new("python3")
        .args(["-c", script])
        .arg(site.mount_point().join("file"))
        .arg(site.path("seen"))
        .status();
    assert!(status.expect("python3 runs").success());
    assert!(std::fs::read(site.path("seen")).expect("reads") == bytes);
    site.umount();
}

#[test]
fn nothing_can_be_opened_for_writing() {
    if !can_mount("nothing_can_be_opened_for_writing") {
        return;
    }
    let site = Site::new();
    put(&site, b"file", 1, 5000);
    site.mount_dir(&[]);
    let path = site.mount_point().join("file");
    let attempts = [
        (
            "O_RDWR",
            OpenOptions::new().read(true).write(true).open(&path),
        ),
        ("O_WRONLY", OpenOptions::new().write(true).open(&path)),
        ("O_APPEND", OpenOptions::new().append(true).open(&path)),
        ("O_TRUNC", File::create(&path)),
        ("O_CREAT", File::create(site.mount_point().join("new"))),
    ];
    for (how, opened) in attempts {
        let errno = opened.err().and_then(|error| error.raw_os_error());
        assert_eq!(errno, Some(Errno::ROFS.raw_os_error()), "{how}");
    }
    assert_eq!(std::fs::metadata(&path).expect("is there").len(), 5000);
    site.umount();
}

const SIZE: u64 = 5 << 30;

fn a_file_beyond_4_gib(site: &Site) {
    let file = File::create(site.source().join("huge")).expect("creates");
    file.set_len(SIZE).expect("grows");
    for (seed, offset) in marks() {
        file.write_all_at(&noise(seed, 8192), offset)
            .expect("writes");
    }
}

/// Around each power of two that some narrow integer could break at, and at the end.
fn marks() -> [(u64, u64); 5] {
    [
        (1, 0),
        (2, (2 << 30) - 4096),
        (3, (4 << 30) - 4096),
        (4, (4 << 30) + 12_345),
        (5, SIZE - 8192),
    ]
}

fn assert_marks(site: &Site) {
    let mut file = File::open(site.mount_point().join("huge")).expect("opens");
    assert_eq!(file.seek(SeekFrom::End(0)).expect("seeks"), SIZE);
    for (seed, offset) in marks() {
        let mut seen = vec![0; 8192];
        file.read_exact_at(&mut seen, offset).expect("reads");
        assert!(seen == noise(seed, 8192), "at {offset}");
    }
    let mut hole = vec![1; 65_536];
    file.read_exact_at(&mut hole, 3 << 30).expect("reads");
    assert!(hole.iter().all(|byte| *byte == 0));
}

#[test]
fn offsets_beyond_4_gib_of_a_directory() {
    if !can_mount("offsets_beyond_4_gib_of_a_directory") {
        return;
    }
    let site = Site::new();
    a_file_beyond_4_gib(&site);
    site.mount_dir(&[]);
    assert_marks(&site);
    site.umount();
}

#[test]
fn offsets_beyond_4_gib_over_http() {
    if !can_mount("offsets_beyond_4_gib_over_http") {
        return;
    }
    let site = Site::new();
    a_file_beyond_4_gib(&site);
    let origin = serve_plainly(&site);
    site.mount(OsStr::new(&origin.url()), &[]);
    assert_marks(&site);
    let served = origin.stats().path(b"huge").body_bytes;
    assert!(
        served < 64 << 20,
        "{served} bytes for {} marks",
        marks().len()
    );
    site.umount();
}
