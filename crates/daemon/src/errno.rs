//! The errors of a source and their one map to errnos.
//!
//! Invariant: every failure of an origin becomes exactly one [`SourceError`], and [`SourceError::errno`] is the only
//! place where an errno is chosen. Whether an errno means "outage, try again later" (and so follows the mount's
//! outage policy) is decided by the errno, not here.

use holdfast_proto::Errno;
use rustix::io::Errno as OsErrno;

/// Why an origin could not be reached right now: the kinds of outage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outage {
    /// Nobody listens at the origin's address.
    Refused,
    /// The connection broke.
    Reset,
    /// The origin did not answer, or stopped sending, in time.
    Timeout,
    /// The origin's name has no address, or no route leads there.
    Unreachable,
    /// The origin answered that it is overloaded or not available now (408, 429, 502, 503, 504).
    Busy,
}

/// Why a source could not do what was asked. The text names the place, never a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The name does not exist (for an object that was said to exist).
    #[error("{place}: does not exist")]
    NotFound {
        /// URL or path concerned.
        place: String,
    },
    /// A directory was asked for and something else found.
    #[error("{place}: not a directory")]
    NotADirectory {
        /// URL or path concerned.
        place: String,
    },
    /// A file was asked for and a directory found.
    #[error("{place}: is a directory")]
    IsADirectory {
        /// URL or path concerned.
        place: String,
    },
    /// The origin refused access (401, 403, permissions).
    #[error("{place}: access refused")]
    Denied {
        /// URL or path concerned.
        place: String,
    },
    /// The origin holds another version than the one wanted.
    #[error("{place}: changed at the origin ({detail})")]
    Changed {
        /// URL or path concerned.
        place: String,
        /// What did not match.
        detail: String,
    },
    /// A listing is larger than Holdfast accepts.
    #[error("{place}: listing too big ({detail})")]
    TooBig {
        /// URL or path concerned.
        place: String,
        /// Which bound was passed.
        detail: String,
    },
    /// A listing or manifest cannot be understood.
    #[error("{place}: malformed ({detail})")]
    Malformed {
        /// URL or path concerned.
        place: String,
        /// What is wrong.
        detail: String,
    },
    /// The origin broke its protocol: wrong length, wrong range, wrong encoding.
    #[error("{place}: the origin's answer is wrong ({detail})")]
    Protocol {
        /// URL or path concerned.
        place: String,
        /// What is wrong.
        detail: String,
    },
    /// The body ended before the announced length; worth another try from where it ended.
    #[error("{place}: body ended {missing_bytes} bytes early")]
    Short {
        /// URL or path concerned.
        place: String,
        /// Bytes that did not come.
        missing_bytes: u64,
    },
    /// The origin failed inside (500 and kin).
    #[error("{place}: the origin failed ({detail})")]
    Failed {
        /// URL or path concerned.
        place: String,
        /// Its own words.
        detail: String,
    },
    /// The origin cannot be reached or is not available.
    #[error("{place}: outage, {outage:?} ({detail})")]
    Outage {
        /// URL or path concerned.
        place: String,
        /// The kind.
        outage: Outage,
        /// The library's words.
        detail: String,
    },
    /// As [`SourceError::Outage`], after a library below has tried often enough.
    #[error("{place}: outage, {outage:?}, in spite of several tries ({detail})")]
    GaveUp {
        /// URL or path concerned.
        place: String,
        /// The kind.
        outage: Outage,
        /// The library's words.
        detail: String,
    },
    /// A system call failed with an errno of its own.
    #[error("{place}: {errno}")]
    Os {
        /// URL or path concerned.
        place: String,
        /// The system's errno.
        errno: OsErrno,
    },
    /// The source or one of its options is of a kind that this daemon cannot serve.
    #[error("{place}: not supported ({detail})")]
    Unsupported {
        /// URL or path concerned.
        place: String,
        /// What is not supported.
        detail: String,
    },
}

impl SourceError {
    /// The errno that an OPEN or READ is answered with.
    #[must_use]
    pub fn errno(&self) -> Errno {
        wire(match self {
            SourceError::NotFound { .. } => OsErrno::NOENT,
            SourceError::NotADirectory { .. } => OsErrno::NOTDIR,
            SourceError::IsADirectory { .. } => OsErrno::ISDIR,
            SourceError::Denied { .. } => OsErrno::ACCESS,
            SourceError::Changed { .. } => OsErrno::STALE,
            SourceError::TooBig { .. } => OsErrno::FBIG,
            SourceError::Malformed { .. } => OsErrno::BADMSG,
            SourceError::Protocol { .. }
            | SourceError::Short { .. }
            | SourceError::Failed { .. } => OsErrno::IO,
            SourceError::Outage { outage, .. } | SourceError::GaveUp { outage, .. } => match outage
            {
                Outage::Refused => OsErrno::CONNREFUSED,
                Outage::Reset => OsErrno::CONNRESET,
                Outage::Timeout => OsErrno::TIMEDOUT,
                Outage::Unreachable => OsErrno::HOSTUNREACH,
                Outage::Busy => OsErrno::AGAIN,
            },
            SourceError::Os { errno, .. } => *errno,
            SourceError::Unsupported { .. } => OsErrno::OPNOTSUPP,
        })
    }

    /// Whether the same request may well succeed a moment later, so that the daemon itself tries again.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            SourceError::Short { .. } | SourceError::Failed { .. } | SourceError::Outage { .. } => {
                true
            }
            SourceError::Os { errno, .. } => [
                OsErrno::AGAIN,
                OsErrno::IO,
                OsErrno::TIMEDOUT,
                OsErrno::INTR,
            ]
            .contains(errno),
            SourceError::NotFound { .. }
            | SourceError::NotADirectory { .. }
            | SourceError::IsADirectory { .. }
            | SourceError::Denied { .. }
            | SourceError::Changed { .. }
            | SourceError::TooBig { .. }
            | SourceError::Malformed { .. }
            | SourceError::Protocol { .. }
            | SourceError::GaveUp { .. }
            | SourceError::Unsupported { .. } => false,
        }
    }

    /// A system call's failure at `place`; permission errors keep their own errno.
    pub(crate) fn os(place: impl Into<String>, errno: OsErrno) -> SourceError {
        SourceError::Os {
            place: place.into(),
            errno,
        }
    }
}

/// A system errno as the protocol's; EIO for numbers that the protocol cannot carry.
pub(crate) fn wire(errno: OsErrno) -> Errno {
    Errno::new(errno.raw_os_error()).unwrap_or(Errno::EIO)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outage(outage: Outage) -> SourceError {
        SourceError::Outage {
            place: "x".into(),
            outage,
            detail: String::new(),
        }
    }

    #[test]
    fn every_outage_follows_the_outage_policy_and_nothing_else_does() {
        for kind in [
            Outage::Refused,
            Outage::Reset,
            Outage::Timeout,
            Outage::Unreachable,
            Outage::Busy,
        ] {
            assert!(outage(kind).errno().is_outage(), "{kind:?}");
        }
        let place = || "x".to_owned();
        let detail = String::new;
        let definitive = [
            SourceError::NotFound { place: place() },
            SourceError::Changed {
                place: place(),
                detail: detail(),
            },
            SourceError::Protocol {
                place: place(),
                detail: detail(),
            },
            SourceError::Short {
                place: place(),
                missing_bytes: 1,
            },
            SourceError::Malformed {
                place: place(),
                detail: detail(),
            },
            SourceError::TooBig {
                place: place(),
                detail: detail(),
            },
            SourceError::Denied { place: place() },
        ];
        for error in definitive {
            assert!(!error.errno().is_outage(), "{error}");
        }
    }
}
