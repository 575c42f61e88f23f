//! The end of an instance's log, for error messages.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::instance::Instance;

const TAIL_BYTES: u64 = 4096;
const TAIL_LINES: usize = 15;

/// The last lines of the instance's log, indented; a remark in brackets if there are none.
#[must_use]
pub fn of_instance(instance: &Instance) -> String {
    let Some(record) = instance.read_record() else {
        return "  (no log)".to_owned();
    };
    let path = Path::new(OsStr::from_bytes(&record.log));
    match tail(path) {
        Ok(text) if text.is_empty() => format!("  ({} is empty)", path.display()),
        Ok(text) => text,
        Err(error) => format!("  (cannot read {}: {error})", path.display()),
    }
}

fn tail(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let mut lines: Vec<&str> = text.lines().rev().take(TAIL_LINES).collect();
    lines.reverse();
    Ok(lines
        .iter()
        .map(|line| format!("  {line}"))
        .collect::<Vec<_>>()
        .join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_lines_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let lines: Vec<String> = (0..1000).map(|n| format!("line {n}")).collect();
        std::fs::write(&path, lines.join("\n")).unwrap();
        let tail = tail(&path).unwrap();
        assert_eq!(tail.lines().count(), TAIL_LINES);
        assert!(tail.ends_with("  line 999"), "{tail}");
    }
}
