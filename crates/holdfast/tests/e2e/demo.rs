//! `holdfast demo` on the real system: it passes, and it leaves nothing, also when it is interrupted.
//! That it fails when it should is shown in the crate `holdfast-demo`, against stand-ins.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{can_mount, eventually};

/// A demo that has said where it works.
struct Demo {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
    said: String,
    workspace: PathBuf,
    _parent: tempfile::TempDir,
}

impl Demo {
    fn start(arguments: &[&str]) -> Self {
        let parent = tempfile::tempdir().expect("a temporary directory");
        let mut child = Command::new(env!("CARGO_BIN_EXE_holdfast"))
            .arg("demo")
            .args(arguments)
            .env("TMPDIR", parent.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("holdfast runs");
        let mut output = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut said = String::new();
        output.read_line(&mut said).expect("a line");
        let workspace = said.trim_end().rsplit_once("working in ");
        let workspace = PathBuf::from(workspace.expect("it says where").1);
        Self {
            child,
            output,
            said,
            workspace,
            _parent: parent,
        }
    }

    /// Reads on until a line has `text`.
    fn wait_for(&mut self, text: &str) {
        while !self.said.contains(text) {
            let count = self.output.read_line(&mut self.said).expect("text");
            assert!(
                count > 0,
                "it ended before it said {text:?}:\n{}",
                self.said
            );
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("it lives, or is not waited for yet");
    }

    /// Its exit code and all it said; by then nothing of it may be left.
    fn end(&mut self) -> (Option<i32>, String) {
        self.output.read_to_string(&mut self.said).expect("text");
        let status = self.child.wait().expect("it can be waited for");
        assert_nothing_is_left(&self.workspace);
        (status.code(), self.said.clone())
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // Only after a failed assertion is it still there; a signal lets it clean up.
        if let Ok(None) = self.child.try_wait() {
            self.signal(Signal::TERM);
            let _ = self.output.read_to_string(&mut self.said);
            let _ = self.child.wait();
        }
    }
}

fn assert_nothing_is_left(workspace: &Path) {
    let name = workspace.to_str().expect("mkdtemp makes plain names");
    assert!(!workspace.exists(), "{name} is left");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("the mount table");
    assert!(!mounts.contains(name), "a mount is left:\n{mounts}");
    let left: Vec<String> = processes_naming(name);
    assert!(left.is_empty(), "processes are left: {left:?}");
}

/// Command lines of live processes of ours that name `path`.
fn processes_naming(path: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").expect("/proc");
    let directories = entries.filter_map(|entry| Some(entry.ok()?.path()));
    directories
        .filter(|process| {
            // The name first: asking a stranger's arguments could hang.
            std::fs::read(process.join("comm")).is_ok_and(|name| name.starts_with(b"holdfast"))
        })
        .filter_map(|process| std::fs::read(process.join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(path))
        .collect()
}

/// The number that follows `label` in a summary.
fn figure(summary: &str, label: &str) -> u64 {
    let rest = summary.split_once(label).expect("the figure is told").1;
    let number = rest.split_whitespace().next().expect("a number");
    number.parse().expect("a whole number")
}

#[test]
fn the_demo_passes_with_real_deaths_and_leaves_nothing() {
    if !can_mount("the_demo_passes_with_real_deaths_and_leaves_nothing") {
        return;
    }
    let mut demo = Demo::start(&["--seconds", "5", "--size", "48MiB", "--seed", "20"]);
    let (code, said) = demo.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("passed: no reader noticed"), "{said}");
    assert!(figure(&said, "kills   ") >= 10, "{said}");
    assert_eq!(figure(&said, "reads that failed"), 0);
    assert_eq!(figure(&said, "bytes that differed"), 0);
    assert!(
        figure(&said, "bytes read") >= 3 * 48 * 1024 * 1024,
        "{said}"
    );
}

#[test]
fn an_interrupted_demo_leaves_nothing_and_claims_nothing() {
    if !can_mount("an_interrupted_demo_leaves_nothing_and_claims_nothing") {
        return;
    }
    // While the sample is written, while mounting or mounted, and while readers read.
    for (moment, signal) in [
        ("writing", Signal::INT),
        ("mounting", Signal::TERM),
        ("reading", Signal::INT),
        ("reading", Signal::HUP),
    ] {
        let mut demo = Demo::start(&["--seconds", "600", "--size", "24MiB"]);
        demo.wait_for(moment);
        if moment == "reading" {
            assert!(!processes_naming(demo.workspace.to_str().expect("a plain name")).is_empty());
        }
        demo.signal(signal);
        let (code, said) = demo.end();
        assert_eq!(code, Some(1), "{moment}: {said}");
        assert!(!said.contains("passed"), "{moment}: {said}");
    }
}

#[test]
fn a_second_signal_changes_nothing() {
    if !can_mount("a_second_signal_changes_nothing") {
        return;
    }
    let mut demo = Demo::start(&["--seconds", "600", "--size", "24MiB"]);
    demo.wait_for("reading");
    let pid = Pid::from_child(&demo.child);
    demo.signal(Signal::INT);
    for _ in 0..20 {
        // It stays a process of ours until it is waited for.
        let _ = kill_process(pid, Signal::INT);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!(demo.end().0, Some(1));
}

#[test]
fn a_demo_without_kills_is_one_too() {
    if !can_mount("a_demo_without_kills_is_one_too") {
        return;
    }
    let mut demo = Demo::start(&[
        "--seconds",
        "1",
        "--size",
        "8MiB",
        "--kills-per-second",
        "0",
    ]);
    let (code, said) = demo.end();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(figure(&said, "kills   "), 0);
    eventually("the workspace is gone", || !demo.workspace.exists());
}
