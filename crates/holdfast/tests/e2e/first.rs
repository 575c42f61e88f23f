//! The first thing a user does.

use crate::support::{Site, can_mount, noise};

#[test]
fn a_directory_is_mounted_read_and_unmounted() {
    if !can_mount("a_directory_is_mounted_read_and_unmounted") {
        return;
    }
    let site = Site::new();
    let bytes = noise(1, 3_000_001);
    std::fs::create_dir(site.source().join("sub")).expect("a directory");
    std::fs::write(site.source().join("sub/file"), &bytes).expect("a file");
    std::os::unix::fs::symlink("sub/file", site.source().join("link")).expect("a link");
    site.mount_dir(&[]);
    let mounted = site.mount_point();
    assert!(std::fs::read(mounted.join("sub/file")).expect("reads") == bytes);
    assert!(std::fs::read(mounted.join("link")).expect("reads") == bytes);
    let mut names: Vec<_> = std::fs::read_dir(&mounted)
        .expect("lists")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["link", "sub"]);
    site.umount();
}
