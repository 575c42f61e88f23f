//! Standard output of the commands. A reader that has seen enough (`holdfast status | head -1`) is
//! no error: Rust ignores SIGPIPE, so it shows as EPIPE, which counts as success here.

use std::io::{self, Write};

/// Writes to standard output; that nobody reads it any more is success.
///
/// # Errors
/// Any other failure to write, such as a full disk.
pub fn print(text: &[u8]) -> io::Result<()> {
    forgive_broken_pipe(write_all(&mut io::stdout().lock(), text))
}

fn write_all(out: &mut impl Write, text: &[u8]) -> io::Result<()> {
    out.write_all(text)?;
    out.flush()
}

fn forgive_broken_pipe(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// A remark for the user on standard error; losing it is no failure.
pub fn remark(text: &str) {
    let _ = writeln!(io::stderr(), "holdfast: {text}");
}
