//! Directories: names of every kind, and many of them.

use std::collections::HashSet;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags, RawDir, SeekFrom};

use super::{same_in_both, sample};
use crate::support::{Site, can_mount, noise};

/// Entries of the large directory.
const MANY: usize = 10_000;
/// Bytes per getdents64(2): room for one or two of the short names.
const SMALL_BUFFER_BYTES: usize = 64;

/// Names that programs trip over.
pub fn odd() -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> = [
        &b"with space"[..],
        b" ",
        b"new\nline",
        b"tab\tand\x01control",
        b"quote\"'`$(x)\\",
        b"-rf",
        b"...",
        b"%2e%2E",
        b"not utf-8 \xff\xfe\x80",
        "\u{e9} and e\u{301}".as_bytes(),
        b"?query#fragment",
    ]
    .iter()
    .map(|name| name.to_vec())
    .collect();
    names.push(vec![b'n'; 255]);
    names.push("\u{1f980}".repeat(63).into_bytes());
    names
}

#[test]
fn odd_names_are_listed_found_and_read() {
    if !can_mount("odd_names_are_listed_found_and_read") {
        return;
    }
    let site = Site::new();
    sample(&site.source());
    site.mount_dir(&[]);
    // Each name first by lookup alone, then by listing.
    for name in odd() {
        use std::os::unix::ffi::OsStrExt;
        let path = site
            .mount_point()
            .join("sub")
            .join(std::ffi::OsStr::from_bytes(&name));
        assert_eq!(std::fs::read(&path).expect("reads"), name, "{path:?}");
    }
    same_in_both(&site, "find sub -print0 | sort -z");
    same_in_both(
        &site,
        "find sub -type f -print0 | sort -z | xargs -0 sha256sum -z",
    );
    let too_long = site.mount_point().join("x".repeat(256));
    let error = too_long.metadata().expect_err("no such name can be");
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidFilename);
    site.umount();
}

#[test]
fn a_large_directory_is_whole_however_it_is_read() {
    if !can_mount("a_large_directory_is_whole_however_it_is_read") {
        return;
    }
    let site = Site::new();
    let dir = site.source().join("many");
    std::fs::create_dir(&dir).expect("a directory");
    for number in 0..MANY {
        std::fs::write(dir.join(format!("{number}")), b"").expect("a file");
    }
    site.mount_dir(&[]);
    let dir = site.mount_point().join("many");
    let wanted: HashSet<Vec<u8>> = (0..MANY)
        .map(|number| number.to_string().into_bytes())
        .chain([b".".to_vec(), b"..".to_vec()])
        .collect();
    for buffer_bytes in [SMALL_BUFFER_BYTES, 4096, 1 << 20] {
        let read = read_names(&dir, buffer_bytes);
        assert_eq!(read.len(), wanted.len(), "with {buffer_bytes} bytes");
        let names: HashSet<Vec<u8>> = read.into_iter().map(|(name, _)| name).collect();
        assert!(names == wanted, "with {buffer_bytes} bytes");
    }
    seek_everywhere(&dir);
    same_in_both(
        &site,
        "ls -U many | sort | sha256sum; ls -lR many | grep -v ^total | sha256sum",
    );
    site.umount();
}

/// From any offset that readdir(3) gave out (telldir(3)), seekdir(3) leads on to exactly the rest.
fn seek_everywhere(dir: &Path) {
    let entries = read_names(dir, 4096);
    let fd = open_dir(dir);
    let random = noise(7, 400);
    for pair in random.chunks_exact(2) {
        let number = usize::from(u16::from_le_bytes([pair[0], pair[1]])) % entries.len();
        let rest = names_from(&fd, entries[number].1, 3);
        let wanted: Vec<_> = entries[number + 1..]
            .iter()
            .take(3)
            .map(|(name, _)| name)
            .collect();
        assert_eq!(
            rest.iter().collect::<Vec<_>>(),
            wanted,
            "after entry {number}"
        );
    }
    assert_eq!(names_from(&fd, 0, 1), [entries[0].0.clone()], "rewinddir");
}

fn open_dir(dir: &Path) -> OwnedFd {
    rustix::fs::open(
        dir,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .expect("opens")
}

/// The names of a directory in order, each with the offset behind it.
fn read_names(dir: &Path, buffer_bytes: usize) -> Vec<(Vec<u8>, u64)> {
    let fd = open_dir(dir);
    let mut buffer = vec![MaybeUninit::uninit(); buffer_bytes];
    let mut entries = RawDir::new(&fd, &mut buffer);
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry.expect("an entry");
        names.push((
            entry.file_name().to_bytes().to_vec(),
            entry.next_entry_cookie(),
        ));
        assert!(names.len() <= 2 * MANY, "the listing never ends");
    }
    names
}

/// Up to `count` names from an offset on.
fn names_from(fd: &OwnedFd, offset: u64, count: usize) -> Vec<Vec<u8>> {
    rustix::fs::seek(fd, SeekFrom::Start(offset)).expect("seeks");
    let mut buffer = vec![MaybeUninit::uninit(); 4096];
    let mut entries = RawDir::new(fd, &mut buffer);
    let mut names = Vec::new();
    while names.len() < count
        && let Some(entry) = entries.next()
    {
        names.push(entry.expect("an entry").file_name().to_bytes().to_vec());
    }
    names
}
