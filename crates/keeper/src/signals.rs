//! Signals to the keeper, as readable descriptors.
//!
//! SIGTERM and SIGINT ask for the wind-down. SIGHUP is taken in and does nothing: a terminal that closes or a session
//! that ends must not take the mounts with it (hazard H18).

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::SigId;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};

/// A group of signals; readable when one of them came.
#[derive(Debug)]
struct SelfPipe {
    reader: UnixStream,
    registered: Vec<SigId>,
}

impl SelfPipe {
    fn new(signals: &[i32]) -> io::Result<SelfPipe> {
        let (reader, writer) = UnixStream::pair()?;
        reader.set_nonblocking(true)?;
        let mut pipe = SelfPipe {
            reader,
            registered: Vec::new(),
        };
        for signal in signals {
            // The writer is made non-blocking by signal-hook: a full pipe already says what there is to say.
            pipe.registered.push(signal_hook::low_level::pipe::register(
                *signal,
                writer.try_clone()?,
            )?);
        }
        Ok(pipe)
    }

    fn drain(&mut self) -> bool {
        let mut buffer = [0; 64];
        let mut came = false;
        loop {
            match self.reader.read(&mut buffer) {
                Ok(1..) => came = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => return came,
            }
        }
    }
}

impl Drop for SelfPipe {
    fn drop(&mut self) {
        for id in self.registered.drain(..) {
            signal_hook::low_level::unregister(id);
        }
    }
}

/// The signals that a keeper listens to.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: SelfPipe,
    hang_up: SelfPipe,
    child: SigId,
}

impl Drop for Signals {
    fn drop(&mut self) {
        signal_hook::low_level::unregister(self.child);
    }
}

impl Signals {
    /// # Errors
    /// No descriptors for the pipes, or a handler cannot be installed.
    pub(crate) fn listen() -> io::Result<Signals> {
        // Deaths come through pidfds. But if SIGCHLD were ignored (it may be so inherited), the kernel would reap children
        // by itself, and their pids and exit statuses would be gone: any handler prevents that.
        let child = signal_hook::flag::register(SIGCHLD, Arc::new(AtomicBool::new(false)))?;
        Ok(Signals {
            terminate: SelfPipe::new(&[SIGTERM, SIGINT])?,
            hang_up: SelfPipe::new(&[SIGHUP])?,
            child,
        })
    }

    pub(crate) fn terminate_descriptor(&self) -> BorrowedFd<'_> {
        self.terminate.reader.as_fd()
    }

    pub(crate) fn hang_up_descriptor(&self) -> BorrowedFd<'_> {
        self.hang_up.reader.as_fd()
    }

    /// True if SIGTERM or SIGINT came since the last call.
    pub(crate) fn take_terminate(&mut self) -> bool {
        self.terminate.drain()
    }

    /// True if SIGHUP came since the last call.
    pub(crate) fn take_hang_up(&mut self) -> bool {
        self.hang_up.drain()
    }
}
