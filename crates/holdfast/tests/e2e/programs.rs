//! Programs that people have, on a mount and on its source: what they say must be the same.

mod names;
mod read_only;
mod tools;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output};

use crate::support::{Site, noise};

/// Size of the sample's sparse file, in bytes.
const SPARSE_BYTES: u64 = 8 << 20;

/// Runs `script` in `dir`, with the other end of a comparison in `$SOURCE`.
fn shell(site: &Site, dir: &Path, script: &str) -> Output {
    Command::new("bash")
        .args(["-euo", "pipefail", "-c", script])
        .current_dir(dir)
        .env("SOURCE", site.source())
        .env("MOUNT", site.mount_point())
        .env("OUT", site.path("out"))
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .output()
        .expect("bash runs")
}

/// Runs `script` in the source and in the mount: both must succeed and print the same, and something.
fn same_in_both(site: &Site, script: &str) {
    let source = shell(site, &site.source(), script);
    let mount = shell(site, &site.mount_point(), script);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        source.status.success(),
        "{script}: {}",
        text(&source.stderr)
    );
    assert!(
        mount.status.success(),
        "{script}: {}\n{}",
        text(&mount.stderr),
        site.log()
    );
    assert!(!source.stdout.is_empty(), "{script}: nothing to compare");
    assert!(
        source.stdout == mount.stdout,
        "{script}: the source says\n{}\nthe mount says\n{}",
        text(&source.stdout),
        text(&mount.stdout)
    );
}

/// Runs `script` in the mount: it must succeed; returns what it printed.
fn in_mount(site: &Site, script: &str) -> String {
    let output = shell(site, &site.mount_point(), script);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{script}: {}{}\n{}",
        text(&output.stdout),
        text(&output.stderr),
        site.log()
    );
    text(&output.stdout)
}

/// A tree with what trees have: sizes around the block, holes, modes, times, links, odd names.
fn sample(root: &Path) {
    for dir in ["empty", "sub/deeper/deepest", "modes"] {
        std::fs::create_dir_all(root.join(dir)).expect("a directory");
    }
    for (number, len) in [0, 1, 4095, 4096, 4097, 131_073, 3_000_001]
        .into_iter()
        .enumerate()
    {
        let path = root.join(format!("sub/file of {len} bytes"));
        std::fs::write(path, noise(number as u64, len)).expect("a file");
    }
    std::fs::write(root.join("sub/deeper/text"), "one needle\nhay\n").expect("a file");
    let sparse = std::fs::File::create(root.join("sparse")).expect("a file");
    sparse.set_len(SPARSE_BYTES).expect("a size");
    sparse
        .write_all_at(&noise(9, 5000), 5_000_000)
        .expect("bytes");
    symlink("../sub/deeper/text", root.join("modes/link")).expect("a link");
    symlink("to nowhere", root.join("dangling")).expect("a link");
    for mode in [0o400, 0o444, 0o600, 0o644, 0o755, 0o4755] {
        let path = root.join(format!("modes/{mode:o}"));
        std::fs::write(&path, format!("{mode:o}")).expect("a file");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("a mode");
    }
    for name in names::odd() {
        std::fs::write(root.join("sub").join(OsStr::from_bytes(&name)), &name).expect("a file");
    }
    let touched = Command::new("touch")
        .args([
            "-d",
            "1999-12-31 23:59:59.123456789 UTC",
            "modes/644",
            "empty",
        ])
        .current_dir(root)
        .status();
    assert!(touched.expect("touch runs").success());
}
