//! The command line as a user meets it: help, wrong usage, refusals, and that nothing is left behind
//! by a command that was refused.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::contains;
use tempfile::TempDir;

/// Exit status of wrong usage.
const USAGE: i32 = 2;
/// Exit status of a failure.
const FAILED: i32 = 1;

/// The program with a run root of its own and no setting of the caller's.
fn holdfast(home: &TempDir) -> Command {
    let mut command = Command::cargo_bin("holdfast").unwrap();
    command
        .env("HOLDFAST_RUN_DIR", home.path().join("run"))
        .env("HOME", home.path())
        .env_remove("XDG_CACHE_HOME")
        .env_remove("HOLDFAST_LOG")
        .env_remove("HOLDFAST_HTTP_USER")
        .env_remove("HOLDFAST_HTTP_PASSWORD")
        .env_remove("HOLDFAST_HTTP_BEARER");
    command
}

fn home() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// A mount command line that is complete but for what a test adds.
fn mount(home: &TempDir, source: &str, dir: &Path) -> Command {
    let mut command = holdfast(home);
    command
        .arg("mount")
        .arg("--cache-dir")
        .arg(home.path().join("cache"))
        .arg(source)
        .arg(dir);
    command
}

#[test]
fn no_command_shows_the_help_and_is_wrong_usage() {
    holdfast(&home())
        .assert()
        .code(USAGE)
        .stderr(contains("Usage: holdfast <COMMAND>"));
}

#[test]
fn the_long_help_has_examples_and_exit_codes_and_hides_the_processes() {
    holdfast(&home())
        .arg("--help")
        .assert()
        .success()
        .stdout(contains(
            "holdfast mount https://example.org/data/ /mnt/data",
        ))
        .stdout(contains("Exit status: 0 done, 1 failed, 2 wrong usage."))
        .stdout(contains("umount"))
        .stdout(contains("keeper").not())
        .stdout(contains("demo-mmap-reader").not());
}

#[test]
fn every_option_of_mount_says_its_unit_and_default() {
    let output = holdfast(&home())
        .args(["mount", "--help"])
        .output()
        .unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    // One paragraph per option, unwrapped.
    for (option, wanted) in [
        (
            "--cache-dir <DIR>",
            "default: $XDG_CACHE_HOME/holdfast/default",
        ),
        ("--on-outage <POLICY>", "[default: wait]"),
        ("--metadata-ttl <DURATION>", "[default: 10m]"),
        ("--read-ahead <BYTES>", "[default: 8MiB]"),
        ("--daemons <N>", "[default: 2]"),
        ("--workers <N>", "[default: 16]"),
        ("--idle-exit <DURATION>", "[default: 10s]"),
        (
            "--log <PATH>",
            "[default: a bounded file in the run directory]",
        ),
        ("--log-level <LEVEL>", "[default: info]"),
        ("--auth-file <FILE>", "user:password"),
        (
            "--manifest <URL>",
            "[default: the well-known name in SOURCE",
        ),
        ("--allow-other", "user_allow_other"),
        ("--foreground", "Ctrl-C unmounts"),
    ] {
        let (_, rest) = help
            .split_once(option)
            .unwrap_or_else(|| panic!("{option} is not in\n{help}"));
        let end = rest
            .find("\n  -")
            .or(rest.find("\n      --"))
            .unwrap_or(rest.len());
        let text = rest[..end].split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            text.contains(wanted),
            "{option} does not say {wanted:?}: {text}"
        );
    }
}

#[test]
fn wrong_usage_is_told_with_status_2() {
    let home = home();
    for line in [
        vec!["fly"],
        vec!["mount", "dir:/x"],
        vec!["mount", "--on-outage", "eio", "dir:/x", "/y"],
        vec!["mount", "--metadata-ttl", "10", "dir:/x", "/y"],
        vec!["mount", "--daemons", "0", "dir:/x", "/y"],
        vec!["mount", "--read-ahead", "lots", "dir:/x", "/y"],
        vec!["umount"],
        vec!["status", "--yaml"],
        vec!["completions", "cobol"],
    ] {
        holdfast(&home)
            .args(&line)
            .assert()
            .code(USAGE)
            .stderr(contains("--help"));
    }
}

#[test]
fn completions_name_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        holdfast(&home())
            .args(["completions", shell])
            .assert()
            .success()
            .stdout(contains("umount"));
    }
}

#[test]
fn a_password_in_the_source_is_refused_with_advice_and_not_repeated() {
    let home = home();
    mount(&home, "https://me:hunter2@example.org/", home.path())
        .assert()
        .code(FAILED)
        .stderr(contains("HOLDFAST_HTTP_USER"))
        .stderr(contains("--auth-file"))
        .stderr(contains("hunter2").not());
}

#[test]
fn sources_that_are_none_are_refused() {
    let home = home();
    for source in ["/srv/data", "ftp://example.org/", "s3://bucket/x?color=red"] {
        mount(&home, source, home.path())
            .assert()
            .code(FAILED)
            .stderr(contains("SOURCE"));
    }
    mount(&home, "dir:/no/such/directory", home.path())
        .assert()
        .code(FAILED)
        .stderr(contains("/no/such/directory"));
    assert!(
        !home.path().join("run").exists(),
        "a refused mount made a run root"
    );
}

#[test]
fn mount_points_that_are_none_are_refused() {
    let home = home();
    let source = format!("dir:{}", tempfile::tempdir().unwrap().keep().display());
    mount(&home, &source, &home.path().join("missing"))
        .assert()
        .code(FAILED)
        .stderr(contains("mkdir -p"));
    let file = home.path().join("file");
    std::fs::write(&file, b"").unwrap();
    mount(&home, &source, &file)
        .assert()
        .code(FAILED)
        .stderr(contains("not a directory"));
    std::fs::remove_dir(source.strip_prefix("dir:").unwrap()).unwrap();
}

#[test]
fn h25_places_inside_one_another_are_refused() {
    let home = home();
    let source = home.path().join("source");
    std::fs::create_dir_all(source.join("inner")).unwrap();
    let url = format!("dir:{}", source.display());
    mount(&home, &url, &source.join("inner"))
        .assert()
        .code(FAILED)
        .stderr(contains("inside the source"));
    mount(&home, &url, &source)
        .assert()
        .code(FAILED)
        .stderr(contains("inside the source"));
    holdfast(&home)
        .arg("mount")
        .arg("--cache-dir")
        .arg(source.join("cache"))
        .args([url.as_str(), "/mnt"])
        .assert()
        .code(FAILED)
        .stderr(contains("cache directory").and(contains("inside the source")));
}

#[test]
fn an_auth_file_that_others_can_read_is_refused() {
    let home = home();
    let file = home.path().join("auth");
    std::fs::write(&file, "me:hunter2\n").unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o640)).unwrap();
    mount(&home, "http://127.0.0.1:9/", home.path())
        .arg("--auth-file")
        .arg(&file)
        .assert()
        .code(FAILED)
        .stderr(contains("chmod 600").and(contains("hunter2").not()));
    mount(&home, "dir:/", home.path())
        .arg("--auth-file")
        .arg(&file)
        .assert()
        .code(FAILED)
        .stderr(contains("http"));
}

#[test]
fn a_run_root_that_others_can_enter_is_refused() {
    let home = home();
    let run = home.path().join("run");
    std::fs::create_dir(&run).unwrap();
    std::fs::set_permissions(&run, PermissionsExt::from_mode(0o755)).unwrap();
    let source = tempfile::tempdir().unwrap();
    let dir = tempfile::tempdir().unwrap();
    mount(
        &home,
        &format!("dir:{}", source.path().display()),
        dir.path(),
    )
    .assert()
    .code(FAILED)
    .stderr(contains("chmod 700"));
    holdfast(&home)
        .arg("status")
        .assert()
        .code(FAILED)
        .stderr(contains("chmod 700"));
}

#[test]
fn the_status_of_nothing_is_empty_and_no_failure() {
    let home = home();
    holdfast(&home)
        .args(["status", "--json"])
        .assert()
        .success()
        .stdout("{\"instances\":[]}\n");
    holdfast(&home)
        .arg("status")
        .assert()
        .success()
        .stdout(contains("No instance"));
    assert!(!home.path().join("run").exists(), "status made a run root");
}

#[test]
fn status_lists_leftovers_of_a_dead_instance() {
    let home = home();
    let run_dir = home.path().join("run/0123456789abcdef");
    std::fs::create_dir_all(&run_dir).unwrap();
    for dir in [run_dir.as_path(), run_dir.parent().unwrap()] {
        std::fs::set_permissions(dir, PermissionsExt::from_mode(0o700)).unwrap();
    }
    let output = holdfast(&home).args(["status", "--json"]).output().unwrap();
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["instances"][0]["state"], "dead");
    assert_eq!(document["instances"][0]["mounts"], serde_json::Value::Null);
    holdfast(&home)
        .arg("status")
        .assert()
        .success()
        .stdout(contains("dead (leftovers"));
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let home = home();
    let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin("holdfast"))
        .args(["completions", "bash"])
        .env("HOLDFAST_RUN_DIR", home.path().join("run"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The reading end goes before anything was read; the script is larger than a pipe or comes late.
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn umount_of_what_is_no_mount_of_ours_is_refused() {
    let home = home();
    holdfast(&home)
        .arg("umount")
        .arg(home.path())
        .assert()
        .code(FAILED)
        .stderr(contains("not a Holdfast mount"));
    holdfast(&home)
        .args(["umount", "--lazy", "/proc", "/no/such/directory"])
        .assert()
        .code(FAILED)
        .stderr(contains("/proc is not a Holdfast mount").and(contains("2 of 2")));
}
