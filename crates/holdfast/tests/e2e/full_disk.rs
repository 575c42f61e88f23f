//! A cache whose disk is full: no new data, and nothing else.

use std::io;
use std::path::Path;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::support::{Site, can_mount, end, eventually, noise};

/// A small file system on a directory, for as long as this lives.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn mount(dir: &'a Path) -> Self {
        mount(
            "none",
            dir,
            "tmpfs",
            MountFlags::empty(),
            Some(c"size=40m,mode=0700"),
        )
        .expect("a tmpfs of 40 MiB");
        Self(dir)
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = unmount(self.0, UnmountFlags::DETACH);
    }
}

#[test]
fn a_full_cache_serves_what_it_has_and_starts_again() {
    if !can_mount("a_full_cache_serves_what_it_has_and_starts_again") {
        return;
    }
    // Declared after the disk, the site ends its processes before the disk goes.
    let disk = tempfile::tempdir().expect("a temporary directory");
    let small = SmallDisk::mount(disk.path());
    let site = Site::new();
    std::fs::create_dir(disk.path().join("cache")).expect("a directory");
    std::fs::remove_dir(site.cache()).expect("removes");
    std::os::unix::fs::symlink(disk.path().join("cache"), site.cache()).expect("a link");
    let little = noise(1, 200_000);
    std::fs::write(site.source().join("little"), &little).expect("a file");
    std::fs::write(site.source().join("large"), noise(2, 80 << 20)).expect("a file");
    std::fs::create_dir(site.source().join("dir")).expect("a directory");
    std::fs::write(site.source().join("dir/name"), b"x").expect("a file");
    site.mount_dir(&[]);
    let mounted = site.mount_point();
    assert!(std::fs::read(mounted.join("little")).expect("reads") == little);

    let refused = std::fs::read(mounted.join("large")).expect_err("does not fit");
    assert_eq!(refused.kind(), io::ErrorKind::StorageFull, "{refused}");
    // Names are still found: data left room for them.
    assert_eq!(
        std::fs::read_dir(mounted.join("dir"))
            .expect("lists")
            .count(),
        1
    );

    let engine = site.pids("engine");
    assert!(engine.into_iter().all(end), "the engine is killed");
    let reread = std::process::Command::new("cmp")
        .arg(site.source().join("little"))
        .arg(mounted.join("little"))
        .status();
    assert!(reread.expect("cmp runs").success());
    eventually("a new engine serves", || !site.pids("engine").is_empty());
    site.umount();
    drop(site);
    drop(small);
}
