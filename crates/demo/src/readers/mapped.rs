//! Reads files through mappings, in processes of their own: a page that cannot be had is SIGBUS, which must count as a failed read and not
//! end the demo.
//!
//! The parent writes a request per file to the child's standard input: length (u32, host order) and bytes of the mounted path, the same of
//! the source path, and the expected size (u64). The child answers in lines: `read START END BYTES DIFFERING` per piece (times of
//! CLOCK_MONOTONIC in nanoseconds), then `done`, or `failed WHY` (one line).
//!
//! Invariant: a child serves one thread of the parent and ends when its standard input does, so it never outlives it.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::{FileEnd, Kind, Shared, lock};
use crate::sample::SampleFile;
use crate::score::ReadDone;

/// The hidden command of the program that runs [`mmap_reader_main`](super::mmap_reader_main).
const SUBCOMMAND: &str = "demo-mmap-reader";
/// Children that run, so that they can be killed while their threads wait for them.
#[derive(Debug, Default)]
pub(super) struct Registry {
    running: Mutex<Vec<OwnedFd>>,
}

/// The child of one reading thread, started when first needed and again after its death.
#[derive(Debug, Default)]
pub(super) struct Mapper {
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

fn encode_request(mounted: &Path, source: &Path, size_bytes: u64) -> Vec<u8> {
    let mut request = Vec::new();
    for path in [mounted, source] {
        let bytes = path.as_os_str().as_bytes();
        request.extend_from_slice(
            &u32::try_from(bytes.len())
                .expect("a path is shorter than 4 GiB")
                .to_ne_bytes(),
        );
        request.extend_from_slice(bytes);
    }
    request.extend_from_slice(&size_bytes.to_ne_bytes());
    request
}

impl Registry {
    /// Kills all children; they have nothing to lose.
    pub fn kill_all(&self) {
        for pidfd in lock(&self.running).iter() {
            // An error means that it has ended.
            let _ = pidfd_send_signal(pidfd, Signal::KILL);
        }
    }
}

impl Mapper {
    /// Compares a file through a mapping in the child.
    pub fn compare(&mut self, shared: &Shared, file: &SampleFile) -> FileEnd {
        match self.compare_with(shared, file) {
            Ok(end) => end,
            Err(error) => {
                // The child died, or cannot be understood any more: the next file gets another one.
                let cause = self.running.take().map(Running::end);
                let what = cause.map_or_else(
                    || error.to_string(),
                    |cause| format!("{error}; its process: {cause}"),
                );
                shared.failed(Kind::Mapped, &file.path, &what)
            }
        }
    }

    fn compare_with(&mut self, shared: &Shared, file: &SampleFile) -> io::Result<FileEnd> {
        let running = match &mut self.running {
            Some(running) => running,
            None => self.running.insert(Running::start(shared)?),
        };
        let (mounted, source) = (
            shared.config.mount.join(&file.path),
            shared.config.source.join(&file.path),
        );
        running
            .requests
            .write_all(&encode_request(&mounted, &source, file.size_bytes))?;
        let mut line = String::new();
        let mut compared_bytes = 0;
        loop {
            if shared.stopped() {
                return Ok(FileEnd::Stopped);
            }
            line.clear();
            if running.answers.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim_end();
            if line == "done" {
                let whole = compared_bytes == file.size_bytes;
                return if whole {
                    Ok(FileEnd::Compared)
                } else {
                    Err(io::Error::other("not all was compared"))
                };
            }
            if let Some(why) = line.strip_prefix("failed ") {
                return Ok(shared.failed(Kind::Mapped, &file.path, &why));
            }
            let read =
                parse_read(line).ok_or_else(|| io::Error::other(format!("answered {line:?}")))?;
            compared_bytes += read.bytes;
            shared.score.read_done(read);
        }
    }
}

fn parse_read(line: &str) -> Option<ReadDone> {
    let mut numbers = line.strip_prefix("read ")?.split(' ').map(str::parse);
    let mut next = || numbers.next()?.ok();
    Some(ReadDone {
        start_ns: next()?,
        end_ns: next()?,
        bytes: next()?,
        differing_bytes: next()?,
    })
}

impl Running {
    fn start(shared: &Shared) -> io::Result<Self> {
        let mut command = Command::new(&shared.config.binary);
        // A group of its own: Ctrl-C is for the demo, which ends its children.
        command
            .arg(SUBCOMMAND)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0);
        let mut child = command.spawn()?;
        let pipes = (child.stdin.take(), child.stdout.take());
        let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
        lock(&shared.mappers.running).push(pidfd);
        let (Some(requests), Some(answers)) = pipes else {
            unreachable!("both were asked for")
        };
        let running = Self {
            child,
            requests,
            answers: BufReader::new(answers),
        };
        if shared.stopped() {
            // It may have been registered too late to be killed with the others; dropping it ends it.
            return Err(io::ErrorKind::Interrupted.into());
        }
        Ok(running)
    }

    /// Ends it and tells how it ended.
    fn end(mut self) -> String {
        match self.child.try_wait() {
            Ok(Some(status)) => status.to_string(),
            Ok(None) => {
                // It closes its output a moment before it is dead: its status is what tells SIGBUS.
                std::thread::sleep(std::time::Duration::from_millis(100));
                self.child
                    .try_wait()
                    .ok()
                    .flatten()
                    .map_or_else(|| "still running".to_owned(), |status| status.to_string())
            }
            Err(error) => error.to_string(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Errors mean that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::super::compare::PIECE_BYTES;
    use super::super::mapped_child::{MmapReaderError, mmap_reader_main, serve};
    use super::*;

    fn answers(dir: &Path, mounted: &str, size_bytes: u64) -> String {
        let request = encode_request(&dir.join(mounted), &dir.join("source"), size_bytes);
        let mut out = Vec::new();
        serve(&mut request.as_slice(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_piece_is_reported_and_differences_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let content = vec![7; PIECE_BYTES + 10];
        let mut other = content.clone();
        other[PIECE_BYTES + 1] = 8;
        for (name, content) in [("source", &content), ("same", &content), ("other", &other)] {
            std::fs::write(dir.path().join(name), content).unwrap();
        }
        let size_bytes = u64::try_from(content.len()).unwrap();
        for (name, differing) in [("same", 0), ("other", 1)] {
            let text = answers(dir.path(), name, size_bytes);
            let lines: Vec<&str> = text.lines().collect();
            assert_eq!(lines.len(), 3, "{text}");
            let reads: Vec<ReadDone> = lines[..2]
                .iter()
                .map(|line| parse_read(line).unwrap())
                .collect();
            assert_eq!(reads.iter().map(|read| read.bytes).sum::<u64>(), size_bytes);
            assert_eq!(
                reads.iter().map(|read| read.differing_bytes).sum::<u64>(),
                differing
            );
            assert!(reads.iter().all(|read| read.start_ns <= read.end_ns));
            assert_eq!(lines[2], "done");
        }
    }

    #[test]
    fn failures_are_told_and_do_not_end_it() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("source"), b"").unwrap();
        std::fs::write(dir.path().join("empty"), b"").unwrap();
        assert_eq!(answers(dir.path(), "empty", 0), "done\n");
        assert!(answers(dir.path(), "none", 0).starts_with("failed "));
        assert_eq!(
            answers(dir.path(), "empty", 5),
            "failed shows 0 of 5 bytes\n"
        );
        assert!(serve(&mut [1_u8, 0].as_slice(), &mut Vec::new()).is_err());
        assert!(matches!(
            mmap_reader_main(&["x".into()]),
            Err(MmapReaderError::Arguments)
        ));
    }

    /// What readers share, with a program of the test's own as the mapping reader.
    fn shared(dir: &Path, script: &str) -> Shared {
        use std::os::unix::fs::PermissionsExt as _;
        use std::sync::Arc;
        let binary = dir.join("program");
        std::fs::write(&binary, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&binary, std::fs::Permissions::from_mode(0o755)).unwrap();
        let config = super::super::PassConfig {
            sample: Arc::new(crate::sample::Sample::plan(1, 0)),
            source: dir.to_owned(),
            mount: dir.to_owned(),
            threads_per_kind: 1,
            seed: 1,
            binary,
        };
        Shared {
            config,
            score: Arc::new(crate::score::Score::new()),
            stop: false.into(),
            compared: 0.into(),
            mappers: Registry::default(),
        }
    }

    #[test]
    fn sigbus_is_a_failed_read_and_the_next_file_gets_another_process() {
        let dir = tempfile::tempdir().unwrap();
        let shared = shared(dir.path(), "head -c 1 > /dev/null; kill -BUS $$");
        let file = SampleFile {
            path: "x".into(),
            size_bytes: 1,
        };
        let mut mapper = Mapper::default();
        for failed in 1..=2 {
            assert_eq!(mapper.compare(&shared, &file), FileEnd::Failed);
            assert_eq!(shared.score.failed_reads(), failed);
        }
        let told = shared.score.described().concat();
        assert!(told.contains("SIGBUS"), "{told}");
    }

    #[test]
    fn a_process_that_waits_for_ever_ends_with_the_pass() {
        let dir = tempfile::tempdir().unwrap();
        let shared = shared(dir.path(), "exec sleep 1000");
        let file = SampleFile {
            path: "x".into(),
            size_bytes: 1,
        };
        let end = std::thread::scope(|scope| {
            let reader = scope.spawn(|| Mapper::default().compare(&shared, &file));
            while lock(&shared.mappers.running).is_empty() {
                std::thread::yield_now();
            }
            shared.stop.store(true, std::sync::atomic::Ordering::SeqCst);
            shared.mappers.kill_all();
            reader.join().unwrap()
        });
        assert_eq!((end, shared.score.failed_reads()), (FileEnd::Stopped, 0));
    }
}
