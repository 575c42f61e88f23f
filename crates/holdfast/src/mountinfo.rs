//! `/proc/self/mountinfo`, parsed (proc_pid_mountinfo(5)).
//!
//! Says what this process's mount namespace shows; a mount that another namespace still holds is
//! not in here, so nothing about the life of an instance is concluded from it.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// The file system type of our mounts.
pub const HOLDFAST_TYPE: &[u8] = b"fuse.holdfast";

/// One line: one mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Device number of the files in it, as `(major, minor)`.
    pub device: (u32, u32),
    /// Where it is.
    pub mount_point: PathBuf,
    /// Its type, such as `ext4` or `fuse.holdfast`.
    pub fs_type: Vec<u8>,
    /// What is mounted, in the file system's own words.
    pub source: OsString,
}

impl Mount {
    /// Whether Holdfast made this mount.
    #[must_use]
    pub fn is_holdfast(&self) -> bool {
        self.fs_type == HOLDFAST_TYPE
    }
}

/// All mounts of this process's namespace, in the kernel's order: a later one covers an earlier one
/// on the same directory.
///
/// # Errors
/// If procfs is not there or cannot be read.
pub fn read() -> io::Result<Vec<Mount>> {
    Ok(parse(&fs::read("/proc/self/mountinfo")?))
}

/// The mount that is visible on the directory `dir` (canonical) itself, if one is mounted there.
#[must_use]
pub fn mounted_on<'a>(mounts: &'a [Mount], dir: &Path) -> Option<&'a Mount> {
    mounts.iter().rev().find(|mount| mount.mount_point == dir)
}

/// Parses the file's content; lines of an unknown form are passed over, as the manual page asks.
fn parse(content: &[u8]) -> Vec<Mount> {
    content
        .split(|&b| b == b'\n')
        .filter_map(parse_line)
        .collect()
}

fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|&b| b == b' ');
    let device = parse_device(fields.nth(2)?)?;
    let mount_point = unescape(fields.nth(1)?);
    // Options, then any number of optional fields, then a lone hyphen.
    fields.find(|field| *field == b"-")?;
    let fs_type = unescape(fields.next()?).into_vec();
    let source = unescape(fields.next()?);
    Some(Mount {
        device,
        mount_point: PathBuf::from(mount_point),
        fs_type,
        source,
    })
}

fn parse_device(field: &[u8]) -> Option<(u32, u32)> {
    let (major, minor) = std::str::from_utf8(field).ok()?.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Undoes the kernel's escapes: space, tab, newline and backslash as three octal digits.
fn unescape(field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        match octal(tail) {
            Some(byte) if first == b'\\' => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    OsString::from_vec(bytes)
}

fn octal(tail: &[u8]) -> Option<u8> {
    let digits = tail.get(..3)?;
    digits.iter().try_fold(0_u8, |value, &digit| {
        let digit = (b'0'..=b'7').contains(&digit).then(|| digit - b'0')?;
        value.checked_mul(8)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    const SAMPLE: &[u8] = b"\
22 27 0:21 / /proc rw,relatime - proc proc rw
36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue
40 27 0:44 / /mnt/a\\040b\\011c\\012d\\134e ro,nosuid - fuse.holdfast http://h/a\\040b/ ro
41 27 0:45 / /mnt/\xff ro - fuse.sshfs host: rw
not a mount
42 27 0:46 / /mnt/\xff ro - fuse.holdfast dir:/x ro
";

    #[test]
    fn lines_with_escapes_optional_fields_and_odd_bytes_parse() {
        let mounts = parse(SAMPLE);
        assert_eq!(mounts.len(), 5);
        assert_eq!(mounts[1].device, (98, 0));
        assert_eq!(mounts[1].fs_type, b"ext3");
        assert_eq!(mounts[2].mount_point, Path::new("/mnt/a b\tc\nd\\e"));
        assert_eq!(mounts[2].source, "http://h/a b/");
        assert!(mounts[2].is_holdfast() && !mounts[3].is_holdfast());
        assert_eq!(mounts[3].mount_point.as_os_str().as_bytes(), b"/mnt/\xff");
    }

    #[test]
    fn the_last_mount_on_a_directory_is_the_visible_one() {
        use std::ffi::OsStr;
        let mounts = parse(SAMPLE);
        let dir = Path::new(OsStr::from_bytes(b"/mnt/\xff"));
        assert_eq!(
            mounted_on(&mounts, dir).map(|mount| mount.device),
            Some((0, 46))
        );
        assert_eq!(mounted_on(&mounts, Path::new("/mnt")), None);
    }

    #[test]
    fn broken_escapes_stay_as_they_are() {
        assert_eq!(unescape(b"a\\04"), "a\\04");
        assert_eq!(unescape(b"a\\777"), "a\\777");
        assert_eq!(unescape(b"\\"), "\\");
    }

    #[test]
    fn the_running_kernel_is_understood() {
        let mounts = read().unwrap();
        assert!(
            mounts
                .iter()
                .any(|mount| mount.mount_point == Path::new("/proc") && mount.fs_type == b"proc")
        );
    }
}
