//! Whole runs of the demo against a stand-in for the program: a shell script that "mounts" the sample by a bind mount and keeps two
//! sleeping processes named like daemons. So each verdict of the demo can be provoked, which a working Holdfast never does.
//!
//! Bind mounts need root: without it these tests are skipped, saying so.

mod stand_in;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use holdfast_demo::{DemoConfig, DemoError, Show, Summary, run};
use stand_in::{Mount, StandIn, Supervision};

fn config(stand_in: &StandIn) -> DemoConfig {
    DemoConfig {
        seconds: 1,
        kills_per_second: 20.0,
        seed: Some(11),
        total_bytes: 2 << 20,
        holdfast_binary: Some(stand_in.program()),
        temp_dir: Some(stand_in.temp_dir()),
        show: Show::Nothing,
        ..DemoConfig::default()
    }
}

fn made(mount: Mount, supervision: Supervision) -> Option<Result<Summary, DemoError>> {
    let stand_in = StandIn::new(mount, supervision)?;
    let result = run(config(&stand_in));
    stand_in.assert_nothing_is_left();
    Some(result)
}

#[test]
fn a_faithful_mount_with_real_deaths_passes() {
    let Some(result) = made(Mount::Faithful, Supervision::Restarting) else {
        return;
    };
    let summary = result.unwrap();
    assert!(summary.succeeded(), "{summary}");
    assert_eq!(
        (summary.failed_reads, summary.differing_bytes, summary.seed),
        (0, 0, 11)
    );
    assert!(summary.kills >= 2, "{summary}");
    assert!(summary.passes_complete >= 1);
    // Each kind of reader compares everything.
    assert!(summary.bytes_read >= 3 * summary.sample_bytes * summary.passes_complete);
    assert!(summary.reading_time >= Duration::from_secs(1));
}

#[test]
fn one_wrong_byte_fails() {
    let Some(result) = made(Mount::OneWrongByte, Supervision::Restarting) else {
        return;
    };
    let summary = result.unwrap();
    assert!(!summary.succeeded());
    assert_eq!(summary.failed_reads, 0, "{summary}");
    // Each pass sees it once for each kind of reader.
    assert!(
        summary.passes_complete >= 1 && summary.differing_bytes >= 3 * summary.passes_complete,
        "{summary}"
    );
}

#[test]
fn a_missing_file_fails() {
    let Some(result) = made(Mount::OneFileMissing, Supervision::Restarting) else {
        return;
    };
    let summary = result.unwrap();
    assert!(!summary.succeeded());
    // Three readers, the listing and the attributes.
    assert!(summary.failed_reads >= 5, "{summary}");
    assert_eq!(summary.passes_complete, 0);
}

#[test]
fn a_short_file_fails() {
    let Some(result) = made(Mount::OneFileShort, Supervision::Restarting) else {
        return;
    };
    let summary = result.unwrap();
    assert!(!summary.succeeded());
    assert!(summary.failed_reads >= 4, "{summary}");
}

#[test]
fn no_deaths_fails() {
    let Some(result) = made(Mount::Faithful, Supervision::NoDaemons) else {
        return;
    };
    let summary = result.unwrap();
    assert!(!summary.succeeded());
    assert_eq!(
        (summary.kills, summary.failed_reads, summary.differing_bytes),
        (0, 0, 0),
        "{summary}"
    );
    assert!(
        summary.to_string().ends_with("FAILED: nothing was killed"),
        "{summary}"
    );
}

#[test]
fn processes_that_stay_fail_and_are_killed() {
    let Some(result) = made(Mount::Faithful, Supervision::Staying) else {
        return;
    };
    let summary = result.unwrap();
    assert!(!summary.succeeded());
    assert!(
        summary
            .failures
            .iter()
            .any(|failure| failure.contains("did not end by themselves")),
        "{summary}"
    );
}

#[test]
fn a_mount_that_fails_is_an_error() {
    let Some(result) = made(Mount::Refused, Supervision::Restarting) else {
        return;
    };
    let error = result.unwrap_err().to_string();
    assert!(
        error.contains("`holdfast mount` failed") && error.contains("refused for the test"),
        "{error}"
    );
}

#[test]
fn signals_end_it_and_nothing_is_left() {
    for signal in ["INT", "TERM"] {
        let Some(stand_in) = StandIn::new(Mount::Faithful, Supervision::Restarting) else {
            return;
        };
        let mut demo = Command::new(stand_in::demo_example());
        demo.arg(stand_in.program())
            .args(["1000", "20", "2000000"])
            .arg(stand_in.temp_dir());
        let mut demo = demo
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let started = Instant::now();
        while !stand_in.is_mounted() {
            assert!(
                started.elapsed() < Duration::from_secs(120),
                "never mounted"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        let killed = Command::new("kill")
            .args([format!("-{signal}"), demo.id().to_string()])
            .status()
            .unwrap();
        assert!(killed.success());
        assert_eq!(demo.wait().unwrap().code(), Some(1));
        stand_in.assert_nothing_is_left();
    }
}
