//! Logs: every line starts with the process's role and pid, because the processes of an instance
//! share one file, opened with O_APPEND by who started them.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{Format, FormatEvent, FormatFields, Full, Writer};
use tracing_subscriber::fmt::{FmtContext, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

use crate::cli::values::LogLevel;

/// The variable that refines `--log-level`, in the syntax of tracing-subscriber's `EnvFilter`.
const FILTER_VARIABLE: &str = "HOLDFAST_LOG";
/// How much a process writes between two looks at the size of the log.
const LOOK_EVERY_BYTES: u64 = 64 * 1024;

/// Sends the log of this process to standard error. Call once, before the first log line.
///
/// `limit_bytes` empties a log file that has grown larger (0: never); standard error that is no
/// regular file is never touched.
pub fn init(role: &'static str, level: LogLevel, limit_bytes: u64) {
    let filter = EnvFilter::builder().with_default_directive(default_directive(level));
    let filter = match std::env::var(FILTER_VARIABLE) {
        Ok(text) => filter.parse_lossy(text),
        Err(_) => filter.parse_lossy(""),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .event_format(WithRole {
            role,
            pid: std::process::id(),
            inner: Format::default().with_ansi(false),
        })
        .with_writer(BoundedStderr {
            limit_bytes,
            written_bytes: AtomicU64::new(0),
        })
        .init();
}

fn default_directive(level: LogLevel) -> tracing_subscriber::filter::Directive {
    use tracing_subscriber::filter::LevelFilter;
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
    .into()
}

/// Puts `holdfast-engine[123] ` before each line.
struct WithRole {
    role: &'static str,
    pid: u32,
    inner: Format<Full>,
}

impl<S, N> FormatEvent<S, N> for WithRole
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        write!(writer, "{}[{}] ", self.role, self.pid)?;
        self.inner.format_event(context, writer, event)
    }
}

/// Standard error that empties its file now and then.
struct BoundedStderr {
    limit_bytes: u64,
    written_bytes: AtomicU64,
}

impl<'a> MakeWriter<'a> for BoundedStderr {
    type Writer = BoundedWriter<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        BoundedWriter(self)
    }
}

/// One line's writer.
struct BoundedWriter<'a>(&'a BoundedStderr);

impl Write for BoundedWriter<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let length = line.len() as u64;
        let before = self.0.written_bytes.fetch_add(length, Ordering::Relaxed);
        if self.0.limit_bytes > 0
            && before / LOOK_EVERY_BYTES != (before + length) / LOOK_EVERY_BYTES
        {
            // A full disk or a lost log must not stop a process that serves readers.
            let _ = empty_if_larger(self.0.limit_bytes);
        }
        io::stderr().write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn empty_if_larger(limit_bytes: u64) -> io::Result<()> {
    use std::os::fd::AsFd;
    let file = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    let metadata = file.metadata()?;
    if metadata.is_file() && metadata.len() > limit_bytes {
        file.set_len(0)?;
    }
    Ok(())
}
