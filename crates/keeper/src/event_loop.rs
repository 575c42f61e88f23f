//! What the keeper waits for: an epoll(7) set whose entries say in a type what they are.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

/// What became ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    /// The notification socket has a message.
    Notify,
    /// A client wants to know the status.
    StatusListener,
    /// SIGTERM or SIGINT came.
    Terminate,
    /// SIGHUP came.
    HangUp,
    /// The child of this pid is dead.
    Child(u32),
    /// The status client of this number takes more of its answer.
    StatusClient(u32),
}

impl Token {
    fn encode(self) -> u64 {
        let (kind, number) = match self {
            Token::Notify => (0, 0),
            Token::StatusListener => (1, 0),
            Token::Terminate => (2, 0),
            Token::HangUp => (3, 0),
            Token::Child(pid) => (4, pid),
            Token::StatusClient(number) => (5, number),
        };
        (kind << 32) | u64::from(number)
    }

    fn decode(data: u64) -> Token {
        let number = (data & u64::from(u32::MAX)) as u32;
        match data >> 32 {
            0 => Token::Notify,
            1 => Token::StatusListener,
            2 => Token::Terminate,
            3 => Token::HangUp,
            4 => Token::Child(number),
            5 => Token::StatusClient(number),
            kind => unreachable!("the epoll set holds only tokens encoded here, not kind {kind}"),
        }
    }
}

/// Events taken at once.
const EVENTS_MAX: usize = 64;

/// The epoll set.
#[derive(Debug)]
pub(crate) struct EventLoop {
    epoll: OwnedFd,
}

impl EventLoop {
    /// # Errors
    /// What epoll_create1(2) says.
    pub(crate) fn new() -> Result<EventLoop, Errno> {
        Ok(EventLoop {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
        })
    }

    /// Waits for `descriptor` to become readable, level-triggered.
    ///
    /// # Errors
    /// What epoll_ctl(2) says.
    pub(crate) fn watch(&self, descriptor: BorrowedFd<'_>, token: Token) -> Result<(), Errno> {
        epoll::add(
            &self.epoll,
            descriptor,
            epoll::EventData::new_u64(token.encode()),
            epoll::EventFlags::IN,
        )
    }

    /// Waits for `descriptor` to become writable, level-triggered.
    ///
    /// # Errors
    /// What epoll_ctl(2) says.
    pub(crate) fn watch_writable(
        &self,
        descriptor: BorrowedFd<'_>,
        token: Token,
    ) -> Result<(), Errno> {
        epoll::add(
            &self.epoll,
            descriptor,
            epoll::EventData::new_u64(token.encode()),
            epoll::EventFlags::OUT,
        )
    }

    /// Must come before a watched descriptor is closed: a child between fork and exec may still hold a copy, which would
    /// keep the entry alive.
    pub(crate) fn forget(&self, descriptor: BorrowedFd<'_>) {
        if let Err(errno) = epoll::delete(&self.epoll, descriptor) {
            tracing::warn!(%errno, "a descriptor was not in the epoll set");
        }
    }

    /// Waits, at most for `timeout`. A signal that interrupts gives an empty list.
    ///
    /// # Errors
    /// What epoll_wait(2) says, other than EINTR.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> Result<Vec<Token>, Errno> {
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(timeout.subsec_nanos()),
        });
        let mut events = Vec::with_capacity(EVENTS_MAX);
        match epoll::wait(
            &self.epoll,
            rustix::buffer::spare_capacity(&mut events),
            timeout.as_ref(),
        ) {
            Ok(_) => Ok(events
                .iter()
                .map(|event| Token::decode(event.data.u64()))
                .collect()),
            Err(Errno::INTR) => Ok(Vec::new()),
            Err(errno) => Err(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_survives_the_kernel() {
        let tokens = [
            Token::Notify,
            Token::StatusListener,
            Token::Terminate,
            Token::HangUp,
            Token::Child(u32::MAX),
            Token::StatusClient(7),
        ];
        for token in tokens {
            assert_eq!(Token::decode(token.encode()), token);
        }
    }
}
