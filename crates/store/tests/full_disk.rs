//! A full disk: a small tmpfs in a mount namespace of a process of its own, so that nothing is left mounted.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};

use holdfast_proto::{ByteRange, Errno};
use holdfast_store::{Cache, CreateError, RecordError, SetSizeError};

const DIR_VARIABLE: &str = "HOLDFAST_STORE_FULL_DISK_TEST_DIR";
const VOLUME: &[u8] = b"dir:/full";

/// The part that runs in the namespace. Not a test of its own: without the variable there is nothing to do.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(DIR_VARIABLE) else {
        return;
    };
    let dir = Path::new(&dir);
    let size = Some(c"size=2m");
    rustix::mount::mount(
        "tmpfs",
        dir,
        "tmpfs",
        rustix::mount::MountFlags::empty(),
        size,
    )
    .unwrap();
    let cache = Cache::open(dir).unwrap();
    let object = cache.create(VOLUME, b"D", Some(8192), b"").unwrap();
    let unknown = cache.create(VOLUME, b"L", None, b"").unwrap();
    File::from(object.writer().unwrap())
        .write_all_at(&[1; 4096], 0)
        .unwrap();
    let ballast = fill_up(dir);
    let before = cache.usage();
    let error = cache.create(VOLUME, b"E", Some(4096), b"").unwrap_err();
    assert!(
        matches!(error, CreateError::Record(RecordError::NoSpace(_))),
        "{error:?}"
    );
    assert_eq!(error.errno(), Errno::ENOSPC);
    assert!(cache.lookup(VOLUME, b"E").unwrap().is_none());
    let error = unknown.set_size(10 << 30, b"v").unwrap_err();
    assert!(
        matches!(error, SetSizeError::Record(RecordError::NoSpace(_))),
        "{error:?}"
    );
    assert_eq!(unknown.size(), None);
    assert_eq!(cache.usage(), before);
    // The space of a bitmap is reserved when the size becomes known: what was written can be marked on a full disk.
    object
        .mark_present(ByteRange::new(0, 4096).unwrap())
        .unwrap();
    std::fs::remove_file(ballast).unwrap();
    unknown.set_size(10 << 30, b"v").unwrap();
    assert_eq!(unknown.present_bytes(), 0);
    cache.create(VOLUME, b"E", Some(4096), b"").unwrap();
}

/// Takes all space there is.
fn fill_up(dir: &Path) -> std::path::PathBuf {
    let path = dir.join("ballast");
    let file = File::create(&path).unwrap();
    let full = (0..100_000).find_map(|block| file.write_all_at(&[1; 4096], block * 4096).err());
    assert_eq!(full.unwrap().kind(), std::io::ErrorKind::StorageFull);
    path
}

#[test]
fn a_full_disk_is_a_typed_error_and_nothing_is_half_done() {
    if std::env::var_os(DIR_VARIABLE).is_some() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let unshare = |program: &Path, arguments: &[&str]| {
        let mut command = Command::new("unshare");
        command
            .args(["--user", "--map-root-user", "--mount", "--"])
            .arg(program)
            .args(arguments);
        command.env(DIR_VARIABLE, dir.path()).stdin(Stdio::null());
        command
    };
    let allowed = unshare(Path::new("true"), &[])
        .status()
        .is_ok_and(|status| status.success());
    if !allowed {
        println!("not run: this machine gives no mount namespace");
        return;
    }
    let program = std::env::current_exe().unwrap();
    let output = unshare(&program, &["--exact", "child", "--nocapture"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}"
    );
}
