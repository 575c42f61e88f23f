//! A reading process: this test binary once more, running only its entry point `reading_child`. It reads one file over
//! and over, compares every byte, and stops at the end of its standard input.

use std::fs::File;
use std::io::{Read, stdin};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use super::pattern::{self, SIZE_BYTES};

const ROLE: &str = "HOLDFAST_FUSE_TEST_READER";
const REPORT: &str = "SEEN ";

/// What readers saw.
#[derive(Debug, Default, Clone, Copy, Serialize, Deserialize)]
pub struct Seen {
    pub reads: u64,
    pub errors: u64,
    pub wrong: u64,
}

impl std::iter::Sum for Seen {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, seen| Self {
            reads: sum.reads + seen.reads,
            errors: sum.errors + seen.errors,
            wrong: sum.wrong + seen.wrong,
        })
    }
}

#[derive(Serialize, Deserialize)]
struct Role {
    path: std::path::PathBuf,
    piece_bytes: u64,
}

/// A running reader.
pub struct Reader(Option<Child>);

impl Reader {
    /// Starts one that reads `path` in pieces of `piece_bytes`.
    pub fn start(path: &Path, piece_bytes: u64) -> Self {
        let role = Role {
            path: path.to_owned(),
            piece_bytes,
        };
        let child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "reading_child", "--ignored", "--nocapture"])
            .env(ROLE, serde_json::to_string(&role).expect("json"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a reader");
        Self(Some(child))
    }

    /// Lets it come to an end and say what it saw.
    pub fn stop(mut self) -> Seen {
        let mut child = self.0.take().expect("still running");
        drop(child.stdin.take());
        let output = child.wait_with_output().expect("wait");
        let text = String::from_utf8(output.stdout).expect("utf-8");
        let report = text
            .lines()
            .find_map(|line| line.split_once(REPORT))
            .expect("a report");
        serde_json::from_str(report.1).expect("a report")
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            // Not waited for: it may wait for the mount, which goes away after it.
            let _ = child.kill();
        }
    }
}

/// The reader's side: call it from a test `reading_child` that is `#[ignore]`d.
pub fn read_if_child() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let role: Role = serde_json::from_str(&role).expect("a role");
    let stop = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        scope.spawn(|| {
            let _ = stdin().read_to_end(&mut Vec::new());
            stop.store(true, Ordering::Relaxed);
        });
        read_until(&role, &stop)
    });
    println!("\n{REPORT}{}", serde_json::to_string(&seen).expect("json"));
}

fn read_until(role: &Role, stop: &AtomicBool) -> Seen {
    let mut seen = Seen::default();
    let mut piece = vec![0; role.piece_bytes as usize];
    while !stop.load(Ordering::Relaxed) {
        let Ok(file) = File::open(&role.path) else {
            seen.errors += 1;
            continue;
        };
        let mut offset = 0;
        while offset < SIZE_BYTES && !stop.load(Ordering::Relaxed) {
            let want = role.piece_bytes.min(SIZE_BYTES - offset) as usize;
            match file.read_exact_at(&mut piece[..want], offset) {
                Ok(()) if pattern::is_right(&piece[..want], offset) => seen.reads += 1,
                Ok(()) => seen.wrong += 1,
                Err(_) => seen.errors += 1,
            }
            offset += want as u64;
        }
    }
    seen
}
