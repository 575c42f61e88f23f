//! Options as text.

use super::fusermount::helper_options;
use super::*;

#[test]
fn the_helper_gets_names_with_commas_escaped() {
    let options = MountOptions {
        access: MountAccess::Everybody,
        ..MountOptions::new(r"http://host/a,b\c")
    };
    assert_eq!(
        helper_options(&options),
        r"ro,nosuid,nodev,subtype=holdfast,max_read=1048576,allow_other,default_permissions,fsname=http://host/a\,b\\c"
    );
}

#[test]
fn a_mount_point_must_be_a_directory_or_a_file() {
    let device = rustix::pipe::pipe().expect("a pipe").0;
    let options = MountOptions::new("x");
    let refused = mount_direct(Path::new("/dev/null"), &device, &options);
    assert_eq!(refused, Err(MountError::MountPointKind));
    let missing = mount_direct(Path::new("/no/such/dir"), &device, &options);
    assert_eq!(missing, Err(MountError::MountPoint(Errno::NOENT)));
    let named = MountOptions::new("a\0b");
    let refused = mount_direct(Path::new("/"), &device, &named);
    assert_eq!(refused, Err(MountError::SourceName));
}

#[test]
fn what_is_not_mounted_is_said_so() {
    let dir = tempfile::tempdir().expect("a temp dir");
    match umount(dir.path(), UmountMode::Now) {
        Err(UmountError::NotMounted | UmountError::Fusermount(_)) => {}
        other => panic!("{other:?}"),
    }
}
