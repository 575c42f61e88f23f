//! Instances and mounts: how they begin, go on and end, and that nothing is left of them.

mod deaths;
mod ends;
mod others;
mod refusals;

use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use crate::support::{Site, eventually};

/// Whether something is mounted on `dir`, as the kernel's table says.
fn is_mounted(dir: &Path) -> bool {
    let table = std::fs::read("/proc/self/mountinfo").expect("the mount table");
    let dir = dir.to_str().expect("a plain path").as_bytes();
    table
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4))
        .any(|mounted_on| mounted_on == dir)
}

/// The files in the run root: locks that are free are no leftovers.
fn run_dirs(site: &Site) -> Vec<PathBuf> {
    std::fs::read_dir(site.path("run"))
        .expect("the run root")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_dir())
        .collect()
}

/// Every process whose command line names this site.
fn processes(site: &Site) -> Vec<String> {
    let marker = site.path("run").into_os_string().into_encoded_bytes();
    std::fs::read_dir("/proc")
        .expect("proc")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        // Only by name first: the arguments of a process that is stuck cannot be read.
        .filter(|pid| {
            std::fs::read_to_string(format!("/proc/{pid}/comm"))
                .is_ok_and(|name| name.starts_with("holdfast-"))
        })
        .filter(|pid| {
            std::fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.windows(marker.len()).any(|part| part == marker))
        })
        .collect()
}

/// Waits until no mount, process, socket or run directory of the site is left.
fn nothing_is_left(site: &Site) {
    eventually("no mount is left", || !is_mounted(&site.mount_point()));
    eventually("no process is left", || processes(site).is_empty());
    eventually("no run directory is left", || run_dirs(site).is_empty());
}

/// `holdfast mount --foreground` of the site's directory, once it can be read.
fn in_foreground(site: &Site) -> Child {
    let mut source = std::ffi::OsString::from("dir:");
    source.push(site.source());
    let child = site
        .holdfast()
        .args(["mount", "--foreground", "--idle-exit", "1s", "--cache-dir"])
        .arg(site.cache())
        .arg("--log")
        .arg(site.path("log"))
        .arg(source)
        .arg(site.mount_point())
        .spawn()
        .expect("holdfast runs");
    eventually("the mount shows its file", || {
        site.mount_point().join("file").exists()
    });
    child
}

/// A site whose source is one file.
fn one_file() -> Site {
    let site = Site::new();
    std::fs::write(site.source().join("file"), "content").expect("a file");
    site
}

/// Reads the mount's file in a process of its own.
fn cat(site: &Site) -> std::process::Output {
    Command::new("timeout")
        .args(["50", "cat"])
        .arg(site.mount_point().join("file"))
        .output()
        .expect("cat runs")
}
