//! What a read-only file system refuses, and how; and questions that it answers without any source.

use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, XattrFlags, inotify};
use rustix::io::Errno;

use super::{in_mount, sample, shell};
use crate::support::{Site, can_mount};

/// Close-on-exec, lest programs that other tests start at the same time keep the mount in use.
const PATH: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

fn mounted(test: &str) -> Option<Site> {
    if !can_mount(test) {
        return None;
    }
    let site = Site::new();
    sample(&site.source());
    site.mount_dir(&[]);
    Some(site)
}

#[test]
fn every_change_is_refused_with_erofs() {
    let Some(site) = mounted("every_change_is_refused_with_erofs") else {
        return;
    };
    for change in [
        "touch new",
        "touch modes/644",
        "mkdir new",
        "rmdir empty",
        "rm -f modes/644",
        "mv modes/644 new",
        "mv sub other",
        "chmod 777 modes/644",
        "chmod 777 sub",
        "chown 1:1 modes/644",
        "ln -s x new",
        "ln modes/644 new",
        "mknod new p",
        "truncate -s 0 modes/644",
        "echo x > modes/644",
        "echo x >> sub/deeper/text",
    ] {
        let output = shell(&site, &site.mount_point(), change);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{change} worked");
        assert!(said.contains("Read-only file system"), "{change}: {said}");
    }
    let file = site.mount_point().join("modes/644");
    for flags in [OFlags::WRONLY, OFlags::RDWR, OFlags::RDONLY | OFlags::TRUNC] {
        assert_eq!(
            rustix::fs::open(&file, flags, Mode::empty()).err(),
            Some(Errno::ROFS)
        );
    }
    in_mount(&site, "diff -r --no-dereference \"$SOURCE\" .");
    site.umount();
}

#[test]
fn extended_attributes_are_unsupported_to_read_and_read_only_to_write() {
    let Some(site) = mounted("extended_attributes_are_unsupported_to_read_and_read_only_to_write")
    else {
        return;
    };
    for path in [site.mount_point(), site.mount_point().join("modes/644")] {
        let mut buffer = [0_u8; 64];
        for name in ["user.x", "security.capability"] {
            let got = rustix::fs::getxattr(&path, name, &mut buffer);
            assert_eq!(got, Err(Errno::OPNOTSUPP), "{name} of {path:?}");
        }
        assert_eq!(
            rustix::fs::listxattr(&path, &mut buffer),
            Err(Errno::OPNOTSUPP)
        );
        let set = rustix::fs::setxattr(&path, "user.x", b"1", XattrFlags::empty());
        assert_eq!(set, Err(Errno::ROFS));
        assert_eq!(rustix::fs::removexattr(&path, "user.x"), Err(Errno::ROFS));
    }
    site.umount();
}

#[test]
fn df_and_stat_know_the_file_system() {
    let Some(site) = mounted("df_and_stat_know_the_file_system") else {
        return;
    };
    let df = in_mount(&site, "df --output=source,target .");
    assert!(
        df.contains("dir:") && df.contains(site.mount_point().to_str().expect("text")),
        "{df}"
    );
    assert_eq!(in_mount(&site, "stat -f -c '%l %S' ."), "255 4096\n");
    let statfs = rustix::fs::statvfs(site.mount_point()).expect("statvfs");
    assert!(
        statfs
            .f_flag
            .contains(rustix::fs::StatVfsMountFlags::RDONLY),
        "{:?}",
        statfs.f_flag
    );
    assert_eq!(statfs.f_bavail, 0, "nothing can be written");
    site.umount();
}

/// The root is answered without asking any daemon (H20): its mode is 0755 and its time that of the
/// mount, whatever its origin's are.
#[test]
fn the_root_answers_for_itself() {
    if !can_mount("the_root_answers_for_itself") {
        return;
    }
    let site = Site::new();
    let before = std::time::SystemTime::now() - std::time::Duration::from_secs(2);
    let source = std::fs::File::open(site.source()).expect("opens");
    source.set_modified(std::time::UNIX_EPOCH).expect("a time");
    std::fs::set_permissions(
        site.source(),
        std::os::unix::fs::PermissionsExt::from_mode(0o711),
    )
    .expect("a mode");
    site.mount_dir(&[]);
    let root = site.mount_point().metadata().expect("the root");
    use std::os::unix::fs::MetadataExt;
    assert_eq!(root.mode() & 0o7777, 0o755);
    assert!(root.modified().expect("a time") > before);
    assert_eq!(root.ino(), 1);
    site.umount();
}

#[test]
fn path_descriptors_and_watches_work() {
    let Some(site) = mounted("path_descriptors_and_watches_work") else {
        return;
    };
    let dir = rustix::fs::open(site.mount_point(), PATH | OFlags::DIRECTORY, Mode::empty())
        .expect("opens");
    let file = rustix::fs::openat(&dir, "sub/deeper/text", PATH, Mode::empty()).expect("opens");
    let stat = rustix::fs::statat(&file, "", AtFlags::EMPTY_PATH).expect("stat");
    assert_eq!(stat.st_size, 15);
    let again = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    assert_eq!(std::fs::read(again).expect("reads"), b"one needle\nhay\n");
    let link = rustix::fs::openat(&dir, "modes/link", PATH | OFlags::NOFOLLOW, Mode::empty())
        .expect("opens");
    let target = rustix::fs::readlinkat(&link, "", Vec::new()).expect("a target");
    assert_eq!(target.to_bytes(), b"../sub/deeper/text");
    watch(&site.mount_point());
    assert_eq!(
        rustix::fs::openat(CWD, site.mount_point().join("none"), PATH, Mode::empty()).err(),
        Some(Errno::NOENT)
    );
    drop((dir, file, link));
    site.umount();
}

/// inotify(7) reports what programs on this machine do.
fn watch(mount: &Path) {
    let watcher = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
        .expect("inotify");
    inotify::add_watch(
        &watcher,
        mount.join("sub/deeper"),
        inotify::WatchFlags::OPEN,
    )
    .expect("a watch");
    std::fs::read(mount.join("sub/deeper/text")).expect("reads");
    let mut buffer = [std::mem::MaybeUninit::uninit(); 1024];
    let mut reader = inotify::Reader::new(&watcher, &mut buffer);
    let event = reader.next().expect("an event");
    assert_eq!(
        event.file_name().map(std::ffi::CStr::to_bytes),
        Some(&b"text"[..])
    );
}
