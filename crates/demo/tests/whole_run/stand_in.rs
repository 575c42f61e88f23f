//! The stand-in for the program, and the look for what a run has left.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// What the stand-in's mount shows.
#[derive(Debug, Clone, Copy)]
pub enum Mount {
    /// The sample.
    Faithful,
    /// A copy with one byte changed.
    OneWrongByte,
    /// A copy without one file.
    OneFileMissing,
    /// A copy with one byte cut off.
    OneFileShort,
    /// Nothing: mounting fails, after the processes were started.
    Refused,
}

/// What becomes of its processes.
#[derive(Debug, Clone, Copy)]
pub enum Supervision {
    /// Two daemons, started again when dead; all end after the unmount.
    Restarting,
    /// A keeper that has none.
    NoDaemons,
    /// A keeper that stays after the unmount.
    Staying,
}

/// A program that the demo takes for Holdfast. What it leaves is taken away when dropped.
pub struct StandIn {
    directory: TempDir,
}

impl StandIn {
    /// `None`, with a word about it, where bind mounts are not allowed.
    pub fn new(mount: Mount, supervision: Supervision) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: bind mounts need root");
            return None;
        }
        let stand_in = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(stand_in.temp_dir()).unwrap();
        // The names of processes come from the file that is executed.
        for name in ["holdfast-keeper", "holdfast-daemon"] {
            std::os::unix::fs::symlink("/bin/sh", stand_in.directory.path().join(name)).unwrap();
        }
        fs::write(
            stand_in.directory.path().join("keeper"),
            keeper(supervision, stand_in.directory.path()),
        )
        .unwrap();
        fs::write(stand_in.program(), script(mount, stand_in.directory.path())).unwrap();
        fs::set_permissions(stand_in.program(), fs::Permissions::from_mode(0o755)).unwrap();
        Some(stand_in)
    }

    /// To be given to the demo as the binary.
    pub fn program(&self) -> PathBuf {
        self.directory.path().join("holdfast")
    }

    /// To be given to the demo for its files.
    pub fn temp_dir(&self) -> PathBuf {
        self.directory.path().join("temp")
    }

    /// Whether anything is mounted below the temporary directory.
    pub fn is_mounted(&self) -> bool {
        !mount_points(self.directory.path()).is_empty()
    }

    /// No mount, process or file of the demo is there.
    pub fn assert_nothing_is_left(&self) {
        assert_eq!(
            mount_points(self.directory.path()),
            Vec::<String>::new(),
            "mounts left"
        );
        assert_eq!(
            processes(self.directory.path()),
            Vec::<i32>::new(),
            "processes left"
        );
        assert_eq!(
            fs::read_dir(self.temp_dir()).unwrap().count(),
            0,
            "files left"
        );
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        // Only after a failure is anything here; more failures would hide it.
        for pid in processes(self.directory.path()) {
            let _ = Command::new("kill")
                .args(["-KILL", &pid.to_string()])
                .status();
        }
        for point in mount_points(self.directory.path()) {
            let _ = Command::new("umount").args(["-l", &point]).status();
        }
    }
}

/// The example program of this crate, which cargo builds with the tests.
pub fn demo_example() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    own.parent()
        .and_then(Path::parent)
        .unwrap()
        .join("examples/demo")
}

fn mount_points(below: &Path) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    points
        .filter(|point| Path::new(point).starts_with(below))
        .map(str::to_owned)
        .collect()
}

/// Processes that were told of a path below.
fn processes(below: &Path) -> Vec<i32> {
    let own = i32::try_from(std::process::id()).unwrap();
    let pids = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| *pid != own)
        .filter(|pid| {
            // The name first: reading arguments can wait for ever for a process that is stuck in a page fault.
            let name = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
            if !name.starts_with(b"holdfast") {
                return false;
            }
            let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&arguments).contains(below.to_str().unwrap())
        })
        .collect()
}

/// The program. Arguments of `mount` end with the source and the directory; the sample is told from the directory.
fn script(mount: Mount, home: &Path) -> String {
    let change = match mount {
        Mount::Faithful => "shown=$sample",
        Mount::OneWrongByte => {
            "copy; printf X | dd of=\"$shown/large/quarter.bin\" bs=1 seek=1000 conv=notrunc status=none"
        }
        Mount::OneFileMissing => "copy; rm \"$shown/large/quarter.bin\"",
        Mount::OneFileShort => "copy; truncate -s -1 \"$shown/large/quarter.bin\"",
        Mount::Refused => "echo 'refused for the test' >&2; exit 1",
    };
    format!(
        r#"#!/bin/sh
run="$HOLDFAST_RUN_DIR"
case "$1" in
manifest) : > "$2/.holdfast-manifest.jsonl" ;;
mount)
    for last; do :; done
    sample="$last/../../served/sample"
    copy() {{ shown="$last/../copy"; cp -a "$sample" "$shown"; }}
    rm -f "$run/over"
    '{home}/holdfast-keeper' '{home}/keeper' "$run" < /dev/null > /dev/null 2>&1 &
    {change}
    mount --bind "$shown" "$last" ;;
umount)
    : > "$run/over"
    umount "$2" ;;
status)
    printf '{{"instances":[{{"processes":[{{"role":"keeper","pid":null}}'
    for file in "$run"/daemon.*; do
        [ -e "$file" ] && printf ',{{"role":"daemon","pid":%d}}' "$(cat "$file")"
    done
    echo ']}}]}}' ;;
demo-mmap-reader) exec '{reader}' demo-mmap-reader ;;
*) exit 2 ;;
esac
exit $?
"#,
        home = home.display(),
        reader = demo_example().display(),
    )
}

/// The keeper: starts daemons until an unmount has happened. Its argument is the run directory.
fn keeper(supervision: Supervision, home: &Path) -> String {
    let daemons = match supervision {
        Supervision::Restarting | Supervision::Staying => "a b",
        Supervision::NoDaemons => "",
    };
    let keeper_ends = match supervision {
        Supervision::Restarting | Supervision::NoDaemons => "[ -e \"$1/over\" ]",
        Supervision::Staying => "false",
    };
    format!(
        r#"until {keeper_ends}; do
    for name in {daemons}; do
        file="$1/daemon.$name"
        if ! [ -e "$file" ] || ! kill -0 "$(cat "$file")" 2> /dev/null; then
            '{home}/holdfast-daemon' -c 'while :; do sleep 0.1; done' daemon "$1" &
            echo $! > "$file.new"
            mv "$file.new" "$file"
        fi
    done
    sleep 0.02
done
for file in "$1"/daemon.*; do
    [ -e "$file" ] && kill -KILL "$(cat "$file")"
    rm -f "$file"
done
"#,
        home = home.display(),
    )
}
