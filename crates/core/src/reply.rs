//! Answers of daemons: which are refused, and what an error in one means.

use holdfast_proto::Errno;

/// Why an answer was refused. Nothing has changed then (`copen`/`cread` give EINVAL in the kernel).
///
/// Normal after a restore, an interruption or a drop: a daemon must go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ReplyError {
    /// No request of that number waits for an answer of that kind from that session or lease.
    #[error("no such request is waiting for this answer")]
    NoSuchRequest,
    /// The lease has ended, was never given, or its object is not OPEN.
    #[error("the lease is not that of an open object")]
    NoSuchLease,
}

impl ReplyError {
    /// The errno for the daemon: always EINVAL.
    #[must_use]
    pub const fn errno(self) -> Errno {
        match self {
            Self::NoSuchRequest | Self::NoSuchLease => Errno::EINVAL,
        }
    }
}

/// What becomes of a request that a daemon refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The origin is out of reach: follow the outage policy.
    Outage,
    /// May pass: a bounded number of attempts.
    Passing,
    /// The answer; another attempt would give the same.
    Final,
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        if errno.is_outage() {
            return Self::Outage;
        }
        match errno {
            Errno::ENOENT
            | Errno::ESTALE
            | Errno::EACCES
            | Errno::EPERM
            | Errno::ENOTDIR
            | Errno::EISDIR
            | Errno::EFBIG
            | Errno::EILSEQ
            | Errno::EBADMSG
            | Errno::ENOSPC => Self::Final,
            _ => Self::Passing,
        }
    }
}
