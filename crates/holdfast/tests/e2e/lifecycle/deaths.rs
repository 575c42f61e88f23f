//! Deaths of the keeper, and of everybody at once (H18).

use std::process::{Command, Stdio};

use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::{cat, is_mounted, nothing_is_left, one_file};
use crate::support::{Site, can_mount, end, eventually, noise};

/// Size of the file that must not be fetched twice, in bytes.
const CACHED_BYTES: usize = 3_000_001;

fn kill_keeper(site: &Site) {
    let keepers = site.pids("keeper");
    assert_eq!(keepers.len(), 1);
    assert!(end(keepers[0]));
}

#[test]
fn without_its_keeper_a_mount_is_served_on_and_can_be_unmounted_and_mounted_again() {
    if !can_mount("without_its_keeper_a_mount_is_served_on_and_can_be_unmounted_and_mounted_again")
    {
        return;
    }
    let site = one_file();
    std::fs::write(site.source().join("late"), noise(1, 100_000)).expect("a file");
    site.mount_dir(&[]);
    assert_eq!(cat(&site).stdout, b"content");
    kill_keeper(&site);
    assert_eq!(cat(&site).stdout, b"content");
    let late = Command::new("timeout")
        .args(["50", "cat"])
        .arg(site.mount_point().join("late"))
        .output();
    assert_eq!(
        late.expect("cat runs").stdout,
        noise(1, 100_000),
        "what was not cached yet"
    );
    let instances = site.instances();
    assert_eq!(instances[0]["state"], "keeper_down", "{instances:?}");
    // A second mount needs a keeper: a clear word, no hang.
    let other = site.path("other");
    std::fs::create_dir(&other).expect("a directory");
    let output = site
        .holdfast()
        .args(["mount", "--cache-dir"])
        .arg(site.cache())
        .arg(format!("dir:{}", site.source().display()))
        .arg(&other)
        .output()
        .expect("holdfast runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && said.contains("keeper"),
        "{said}"
    );
    let output = site
        .holdfast()
        .arg("umount")
        .arg(site.mount_point())
        .output();
    assert!(output.expect("holdfast runs").status.success());
    eventually("engine and daemons have ended", || {
        super::processes(&site).is_empty()
    });
    site.mount_dir(&[]);
    assert_eq!(cat(&site).stdout, b"content");
    site.umount();
    nothing_is_left(&site);
}

/// Ends every process of the instance in the same moment, as far as one can.
fn kill_all_together(site: &Site) {
    let pids: Vec<_> = ["keeper", "engine", "daemon"]
        .iter()
        .flat_map(|role| site.pids(role))
        .collect();
    assert!(pids.len() >= 4, "{pids:?}");
    let pidfds: Vec<_> = pids
        .iter()
        .map(|pid| pidfd_open(*pid, PidfdFlags::empty()).expect("it lives"))
        .collect();
    for pidfd in &pidfds {
        pidfd_send_signal(pidfd, Signal::STOP).expect("it lives");
    }
    for pidfd in &pidfds {
        pidfd_send_signal(pidfd, Signal::KILL).expect("it lives");
    }
    eventually("all are dead", || super::processes(site).is_empty());
}

#[test]
fn h18_after_the_death_of_all_a_new_mount_finds_the_cache_and_goes_on() {
    if !can_mount("h18_after_the_death_of_all_a_new_mount_finds_the_cache_and_goes_on") {
        return;
    }
    let site = one_file();
    let large = noise(2, CACHED_BYTES);
    std::fs::write(site.source().join("large"), &large).expect("a file");
    site.mount_dir(&[]);
    let copied = Command::new("cat")
        .arg(site.mount_point().join("large"))
        .stdout(Stdio::null())
        .status();
    assert!(copied.expect("cat runs").success());
    assert_eq!(cat(&site).stdout, b"content");
    kill_all_together(&site);
    let dead = cat(&site);
    let said = String::from_utf8_lossy(&dead.stderr).into_owned();
    assert!(
        said.contains("not connected") || said.contains("connection abort"),
        "{said}"
    );
    assert!(is_mounted(&site.mount_point()));
    // Whoever fetched it again would get other bytes of the same version.
    let path = site.source().join("large");
    let times = std::fs::metadata(&path)
        .expect("it is")
        .modified()
        .expect("a time");
    let other = noise(3, CACHED_BYTES);
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .expect("opens");
    std::os::unix::fs::FileExt::write_all_at(&file, &other, 0).expect("writes");
    file.set_modified(times).expect("a time");
    drop(file);
    let output = site.try_mount(format!("dir:{}", site.source().display()).as_ref(), &[]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}{}", site.log());
    assert!(said.contains("dead mount"), "{said}");
    let read = Command::new("cat")
        .arg(site.mount_point().join("large"))
        .output();
    let read = read.expect("cat runs").stdout;
    assert!(read != other, "it was fetched again");
    assert!(read == large, "{} bytes", read.len());
    site.umount();
    nothing_is_left(&site);
}

#[test]
fn a_dead_mount_can_be_unmounted() {
    if !can_mount("a_dead_mount_can_be_unmounted") {
        return;
    }
    let site = one_file();
    site.mount_dir(&[]);
    kill_all_together(&site);
    assert_eq!(site.status()["instances"][0]["state"], "dead");
    let output = site
        .holdfast()
        .arg("umount")
        .arg(site.mount_point())
        .output();
    assert!(output.expect("holdfast runs").status.success());
    assert!(!is_mounted(&site.mount_point()));
    site.mount_dir(&[]);
    site.umount();
    nothing_is_left(&site);
}

#[test]
fn status_has_the_promised_shape_and_counts_restarts() {
    if !can_mount("status_has_the_promised_shape_and_counts_restarts") {
        return;
    }
    let site = one_file();
    assert_eq!(site.status(), serde_json::json!({"instances": []}));
    site.mount_dir(&["--daemons", "3"]);
    assert_eq!(cat(&site).stdout, b"content");
    let instance = site.instances()[0].clone();
    assert_eq!(instance["cache_dir"], site.cache().to_str().expect("text"));
    let mount = &instance["mounts"][0];
    assert_eq!(mount["source"], format!("dir:{}", site.source().display()));
    assert_eq!(mount["dir"], site.mount_point().to_str().expect("text"));
    assert!(instance["cached_bytes"].as_u64() >= Some(7), "{instance}");
    for number in [
        "/allocated_bytes",
        "/requests/waiting",
        "/requests/in_flight",
        "/readers/blocked",
        "/readers/oldest_ms",
        "/objects/open",
        "/objects/close",
        "/objects/reopening",
    ] {
        assert!(
            instance
                .pointer(number)
                .is_some_and(serde_json::Value::is_u64),
            "{number}"
        );
    }
    assert!(instance["failovers"].is_object());
    let roles = |role| site.pids(role).len();
    assert_eq!(
        (roles("keeper"), roles("engine"), roles("daemon")),
        (1, 1, 3)
    );
    let restarts = || -> u64 {
        let instances = site.instances();
        let processes = instances[0]["processes"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        processes
            .iter()
            .filter_map(|process| process["restarts"].as_u64())
            .sum()
    };
    assert_eq!(restarts(), 0);
    for deaths in 1..=3 {
        let victim = site.pids("daemon")[0];
        assert!(end(victim));
        eventually("the death is counted and the daemon replaced", || {
            restarts() == deaths && roles("daemon") == 3
        });
    }
    site.umount();
}
