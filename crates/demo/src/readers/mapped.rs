//! Reads files through mappings, in processes of their own: a page that cannot be had is SIGBUS, which must count as a failed read and not
//! end the demo.
//!
//! The parent writes a request per file to the child's standard input: length (u32, host order) and bytes of the mounted path, the same of
//! the source path, and the expected size (u64). The child answers in lines: `read START END BYTES DIFFERING` per piece (times of
//! CLOCK_MONOTONIC in nanoseconds), then `done`, or `failed WHY` (one line).
//!
//! Invariant: a child serves one thread of the parent and ends when its standard input does, so it never outlives it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use memmap2::Mmap;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::compare::{Expected, PIECE_BYTES, drop_cached};
use super::{FileEnd, Kind, Shared, lock};
use crate::clock::now_ns;
use crate::sample::SampleFile;
use crate::score::ReadDone;

/// The hidden command of the program that runs [`mmap_reader_main`].
const SUBCOMMAND: &str = "demo-mmap-reader";
/// PATH_MAX of Linux and a little more.
const PATH_BYTES_MAX: usize = 8192;

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

/// Why the mapping reader's process ended before its input did.
#[derive(Debug, thiserror::Error)]
pub enum MmapReaderError {
    /// It was given arguments; it takes none.
    #[error("the mapping reader takes no arguments; it is started by `holdfast demo`")]
    Arguments,
    /// A request could not be read or an answer not be written: the demo has gone.
    #[error("the mapping reader has lost the demo: {0}")]
    Lost(#[from] io::Error),
}

/// The body of the hidden command `demo-mmap-reader`: serves requests from standard input until it ends.
///
/// # Errors
/// [`MmapReaderError::Arguments`] when there are arguments, [`MmapReaderError::Lost`] when standard input ends within a request or
/// standard output cannot be written.
pub fn mmap_reader_main(args: &[OsString]) -> Result<(), MmapReaderError> {
    if !args.is_empty() {
        return Err(MmapReaderError::Arguments);
    }
    Ok(serve(&mut io::stdin().lock(), &mut io::stdout().lock())?)
}

fn serve(requests: &mut impl Read, answers: &mut impl Write) -> io::Result<()> {
    while let Some((mounted, source, size_bytes)) = read_request(requests)? {
        match compare_mapped(&mounted, &source, size_bytes, answers)? {
            Ok(()) => writeln!(answers, "done")?,
            Err(error) => writeln!(answers, "failed {}", error.to_string().replace('\n', " "))?,
        }
        answers.flush()?;
    }
    Ok(())
}

/// The outer error is one of answering, the inner one of reading.
fn compare_mapped(
    mounted: &Path,
    source: &Path,
    size_bytes: u64,
    answers: &mut impl Write,
) -> io::Result<io::Result<()>> {
    let opened = File::open(mounted).and_then(|mounted| {
        let found = mounted.metadata()?.len();
        if found != size_bytes {
            return Err(io::Error::other(format!(
                "shows {found} of {size_bytes} bytes"
            )));
        }
        let expected = Expected::open(source)?;
        // An empty mapping is EINVAL (mmap(2)).
        let mapping = if size_bytes == 0 {
            None
        } else {
            Some(map(&mounted)?)
        };
        Ok((mounted, expected, mapping))
    });
    let (mounted, mut expected, mapping) = match opened {
        Ok(opened) => opened,
        Err(error) => return Ok(Err(error)),
    };
    let mut copy = vec![0; PIECE_BYTES];
    let mut offset_bytes = 0_u64;
    for piece in mapping
        .iter()
        .flat_map(|mapping| mapping.chunks(PIECE_BYTES))
    {
        let start_ns = now_ns();
        let copy = &mut copy[..piece.len()];
        copy.copy_from_slice(piece); // the page faults
        let end_ns = now_ns();
        let differing = match expected.differing_bytes(copy, offset_bytes) {
            Ok(differing) => differing,
            Err(error) => return Ok(Err(error)),
        };
        writeln!(
            answers,
            "read {start_ns} {end_ns} {} {differing}",
            piece.len()
        )?;
        answers.flush()?;
        offset_bytes += u64::try_from(piece.len()).expect("at most a piece");
    }
    drop(mapping);
    drop_cached(&mounted);
    Ok(Ok(()))
}

fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: memmap2 asks that the file is not changed or truncated while it is mapped. A mounted file is of one version for ever (Holdfast
    // is read only, and another version is another inode); should the mount break that promise or fail to give a page, the worst that
    // happens is a wrong byte, which is counted, or SIGBUS, for which this process exists. No reference into the mapping outlives it, and
    // bytes are copied out before anything depends on their staying the same.
    unsafe { Mmap::map(file) }
}

fn read_request(requests: &mut impl Read) -> io::Result<Option<(PathBuf, PathBuf, u64)>> {
    let mut first = [0; 1];
    if requests.read(&mut first)? == 0 {
        return Ok(None);
    }
    let mut rest = [0; 3];
    requests.read_exact(&mut rest)?;
    let mounted = read_path(
        requests,
        u32::from_ne_bytes([first[0], rest[0], rest[1], rest[2]]),
    )?;
    let mut len = [0; 4];
    requests.read_exact(&mut len)?;
    let source = read_path(requests, u32::from_ne_bytes(len))?;
    let mut size_bytes = [0; 8];
    requests.read_exact(&mut size_bytes)?;
    Ok(Some((mounted, source, u64::from_ne_bytes(size_bytes))))
}

fn read_path(requests: &mut impl Read, len: u32) -> io::Result<PathBuf> {
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    if len > PATH_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut path = vec![0; len];
    requests.read_exact(&mut path)?;
    Ok(OsStr::from_bytes(&path).into())
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
