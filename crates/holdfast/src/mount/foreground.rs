//! `--foreground`: staying until the directory is unmounted, by whomever; Ctrl-C unmounts it.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::MountError;
use crate::{mountinfo, output, umount};

/// A safety net only: the kernel reports every change of the mount table by itself.
const LOOK_ANYWAY_AFTER: Duration = Duration::from_secs(10);

/// Waits until nothing of ours is mounted on `dir` any more. SIGINT, SIGTERM and SIGHUP unmount it;
/// while it is busy the first says so and a second detaches it.
///
/// # Errors
/// [`MountError::System`] if signals or the mount table cannot be watched; [`MountError::Umount`] if
/// detaching fails.
pub fn stay(dir: &Path) -> Result<(), MountError> {
    let system = |what| move |source| MountError::System { what, source };
    let (mut signals, writer) = UnixStream::pair().map_err(system("making a socket pair"))?;
    signals
        .set_nonblocking(true)
        .map_err(system("making a socket pair"))?;
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        let writer = writer.try_clone().map_err(system("making a socket pair"))?;
        signal_hook::low_level::pipe::register(signal, writer)
            .map_err(system("watching signals"))?;
    }
    let table = File::open("/proc/self/mountinfo").map_err(system("watching the mount table"))?;
    let mut busy = false;
    while is_mounted(dir).map_err(system("reading the mount table"))? {
        wait(&table, &signals).map_err(system("watching the mount table"))?;
        if !arrived(&mut signals) {
            continue;
        }
        busy = match umount::umount(
            dir,
            if busy {
                umount::How::Lazy
            } else {
                umount::How::Plain
            },
        ) {
            Ok(()) => false,
            Err(error) if !busy => {
                output::remark(&format!("{error}; once more detaches it"));
                true
            }
            Err(error) => return Err(error.into()),
        };
    }
    Ok(())
}

fn is_mounted(dir: &Path) -> io::Result<bool> {
    let mounts = mountinfo::read()?;
    Ok(mountinfo::mounted_on(&mounts, dir).is_some_and(mountinfo::Mount::is_holdfast))
}

/// Until the mount table changes (proc_pid_mounts(5): POLLPRI and POLLERR) or a signal arrives.
fn wait(table: &File, signals: &UnixStream) -> io::Result<()> {
    let mut watched = [
        PollFd::new(table, PollFlags::PRI | PollFlags::ERR),
        PollFd::new(signals, PollFlags::IN),
    ];
    let timeout = Timespec::try_from(LOOK_ANYWAY_AFTER).expect("ten seconds fit a timespec");
    match rustix::event::poll(&mut watched, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Whether a signal arrived since the last look.
fn arrived(signals: &mut UnixStream) -> bool {
    let mut bytes = [0; 64];
    let mut any = false;
    while let Ok(count @ 1..) = signals.read(&mut bytes) {
        any = count > 0;
    }
    any
}
