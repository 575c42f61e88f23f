//! Every way to unmount ends in the same: nothing is left.

use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use super::{cat, in_foreground, nothing_is_left, one_file};
use crate::support::{can_mount, eventually, has_program};

#[test]
fn every_way_to_unmount_winds_the_instance_down() {
    let test = "every_way_to_unmount_winds_the_instance_down";
    if !can_mount(test) {
        return;
    }
    for line in [&["umount"][..], &["umount", "-l"], &["fusermount3", "-u"]] {
        if !has_program(test, line[0]) {
            continue;
        }
        let site = one_file();
        site.mount_dir(&[]);
        assert_eq!(cat(&site).stdout, b"content");
        let status = Command::new(line[0])
            .args(&line[1..])
            .arg(site.mount_point())
            .status();
        assert!(status.expect("it runs").success(), "{line:?}");
        nothing_is_left(&site);
    }
    let site = one_file();
    site.mount_dir(&[]);
    site.umount();
    nothing_is_left(&site);
}

#[test]
fn ctrl_c_and_sigterm_unmount_what_runs_in_the_foreground() {
    if !can_mount("ctrl_c_and_sigterm_unmount_what_runs_in_the_foreground") {
        return;
    }
    for signal in [Signal::INT, Signal::TERM] {
        let site = one_file();
        let mut child = in_foreground(&site);
        assert!(child.try_wait().expect("a state").is_none(), "it stays");
        kill_process(Pid::from_child(&child), signal).expect("the signal is sent");
        let status = child.wait().expect("it ends");
        assert!(status.success(), "{signal:?}: {status}");
        nothing_is_left(&site);
    }
}

#[test]
fn the_foreground_ends_when_somebody_else_unmounts() {
    if !can_mount("the_foreground_ends_when_somebody_else_unmounts") {
        return;
    }
    let site = one_file();
    let mut child = in_foreground(&site);
    site.umount();
    assert!(child.wait().expect("it ends").success());
    nothing_is_left(&site);
}

#[test]
fn a_mount_in_use_is_not_unmounted_unless_told_so() {
    if !can_mount("a_mount_in_use_is_not_unmounted_unless_told_so") {
        return;
    }
    let site = one_file();
    site.mount_dir(&[]);
    let mut user = Command::new("sleep")
        .arg("600")
        .current_dir(site.mount_point())
        .spawn()
        .expect("sleep runs");
    let umount = |options: &[&str]| {
        let output = site
            .holdfast()
            .arg("umount")
            .args(options)
            .arg(site.mount_point())
            .output();
        output.expect("holdfast runs")
    };
    let refused = umount(&[]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    let lazy = umount(&["--lazy"]);
    user.kill().expect("it ends");
    user.wait().expect("it ends");
    assert!(
        !refused.status.success() && said.contains("in use"),
        "{said}"
    );
    assert!(lazy.status.success());
    nothing_is_left(&site);
}

#[test]
fn a_second_mount_joins_and_the_last_to_go_ends_the_instance() {
    if !can_mount("a_second_mount_joins_and_the_last_to_go_ends_the_instance") {
        return;
    }
    let site = one_file();
    let (source, dir) = (site.path("source 2"), site.path("mount\u{e9} 2"));
    std::fs::create_dir(&source).expect("a directory");
    std::fs::create_dir(&dir).expect("a directory");
    std::fs::write(source.join("file"), "other").expect("a file");
    site.mount_dir(&[]);
    let pids = site.pids("engine");
    let mut url = std::ffi::OsString::from("dir:");
    url.push(&source);
    let output = site
        .holdfast()
        .args(["mount", "--cache-dir"])
        .arg(site.cache())
        .arg(&url)
        .arg(&dir)
        .output()
        .expect("holdfast runs");
    assert!(output.status.success(), "{output:?}");
    let instances = site.instances();
    assert_eq!(instances.len(), 1, "{instances:?}");
    assert_eq!(site.pids("engine"), pids);
    assert_eq!(instances[0]["mounts"].as_array().map(Vec::len), Some(2));
    assert_eq!(std::fs::read(dir.join("file")).expect("reads"), b"other");
    assert_eq!(cat(&site).stdout, b"content");
    let output = site.holdfast().arg("umount").arg(&dir).output();
    let went = output.expect("holdfast runs").status.success();
    eventually("one mount is left", || {
        site.instances()[0]["mounts"].as_array().map(Vec::len) == Some(1)
    });
    assert_eq!(cat(&site).stdout, b"content");
    site.umount();
    assert!(went);
    nothing_is_left(&site);
}
