//! Error numbers as they travel on the device: positive, 1 to 4095, Linux's generic numbering.
//!
//! Invariant: an [`Errno`] is never zero and never above [`Errno::MAX`], so its negative is always an
//! error to the kernel (`IS_ERR_VALUE`) and never a size.

use core::fmt;
use core::num::NonZeroU16;

/// An error number, 1 to 4095 (`MAX_ERRNO` of the kernel, `include/linux/err.h`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Errno(NonZeroU16);

macro_rules! errnos {
    ($($name:ident = $number:literal, $what:literal;)*) => {
        impl Errno {
            $(
                #[doc = concat!($what, " (", $number, ").")]
                pub const $name: Self = Self(NonZeroU16::new($number).unwrap());
            )*

            /// The symbolic name, such as `"ESTALE"`, of a number this crate has a constant for.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0.get() {
                    $($number => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }

        #[cfg(test)]
        const NAMED: &[(&str, Errno)] = &[$((stringify!($name), Errno::$name)),*];
    };
}

errnos! {
    EPERM = 1, "Operation not permitted";
    ENOENT = 2, "No such file or directory";
    EINTR = 4, "Interrupted system call";
    EIO = 5, "Input/output error";
    ENXIO = 6, "No such device or address";
    E2BIG = 7, "Argument list too long";
    EBADF = 9, "Bad file descriptor";
    EAGAIN = 11, "Try again";
    ENOMEM = 12, "Out of memory";
    EACCES = 13, "Permission denied";
    EFAULT = 14, "Bad address";
    EBUSY = 16, "Device or resource busy";
    EEXIST = 17, "File exists";
    EXDEV = 18, "Cross-device link";
    ENODEV = 19, "No such device";
    ENOTDIR = 20, "Not a directory";
    EISDIR = 21, "Is a directory";
    EINVAL = 22, "Invalid argument";
    ENFILE = 23, "Too many open files in the system";
    EMFILE = 24, "Too many open files in the process";
    ENOTTY = 25, "Not a terminal: no such ioctl";
    ETXTBSY = 26, "Text file busy";
    EFBIG = 27, "File too large";
    ENOSPC = 28, "No space left on device";
    ESPIPE = 29, "Illegal seek";
    EROFS = 30, "Read-only file system";
    EMLINK = 31, "Too many links";
    EPIPE = 32, "Broken pipe";
    ERANGE = 34, "Result not representable";
    ENAMETOOLONG = 36, "File name too long";
    ENOSYS = 38, "Function not implemented";
    ENOTEMPTY = 39, "Directory not empty";
    ELOOP = 40, "Too many symbolic links";
    ENODATA = 61, "No data available: no such extended attribute";
    EPROTO = 71, "Protocol error";
    EBADMSG = 74, "Bad message";
    EOVERFLOW = 75, "Value too large for its type";
    EBADFD = 77, "File descriptor in bad state";
    EILSEQ = 84, "Illegal byte sequence";
    EMSGSIZE = 90, "Message too long";
    EOPNOTSUPP = 95, "Operation not supported";
    ENETDOWN = 100, "Network is down";
    ENETUNREACH = 101, "Network is unreachable";
    ECONNABORTED = 103, "Connection aborted";
    ECONNRESET = 104, "Connection reset by peer";
    ENOBUFS = 105, "No buffer space available";
    ENOTCONN = 107, "Not connected";
    ESHUTDOWN = 108, "Transport endpoint shut down";
    ETOOMANYREFS = 109, "Too many descriptors in flight";
    ETIMEDOUT = 110, "Connection timed out";
    ECONNREFUSED = 111, "Connection refused";
    EHOSTDOWN = 112, "Host is down";
    EHOSTUNREACH = 113, "No route to host";
    EALREADY = 114, "Operation already in progress";
    ESTALE = 116, "Stale file handle: another version";
    EDQUOT = 122, "Disk quota exceeded";
    ECANCELED = 125, "Operation cancelled";
}

impl Errno {
    /// The greatest error number.
    pub const MAX: i32 = 4095;

    /// The error number `number`, or `None` unless it is in 1..=4095.
    #[must_use]
    pub const fn new(number: i32) -> Option<Self> {
        if number < 1 || number > Self::MAX {
            return None;
        }
        match NonZeroU16::new(number as u16) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The positive number, 1 to 4095.
    #[must_use]
    pub const fn get(self) -> i32 {
        self.0.get() as i32
    }

    /// Whether the error says "out of reach for now, try again later" and not "this is so".
    ///
    /// Such an error of a daemon follows the mount's outage policy; every other one is the answer.
    #[must_use]
    pub const fn is_outage(self) -> bool {
        matches!(
            self,
            Self::EAGAIN
                | Self::ETIMEDOUT
                | Self::ECONNREFUSED
                | Self::ECONNRESET
                | Self::ECONNABORTED
                | Self::EHOSTUNREACH
                | Self::EHOSTDOWN
                | Self::ENETUNREACH
                | Self::ENETDOWN
                | Self::EPIPE
                | Self::ENOTCONN
                | Self::EMFILE
                | Self::ENFILE
                | Self::ENOBUFS
                | Self::ENOMEM
        )
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => formatter.pad(name),
            None => write!(formatter, "errno {}", self.0),
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Errno({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    macro_rules! assert_equal_to_the_systems {
        ($($system:ident $ours:ident,)*) => {
            let checked: &[Errno] = &[$(Errno::$ours),*];
            assert!(NAMED.iter().all(|(_, errno)| checked.contains(errno)));
            $(assert_eq!(Errno::$ours.get(), rustix::io::Errno::$system.raw_os_error());)*
        };
    }

    #[test]
    fn numbers_are_those_of_this_system() {
        assert_equal_to_the_systems! {
            PERM EPERM, NOENT ENOENT, INTR EINTR, IO EIO, NXIO ENXIO, TOOBIG E2BIG, BADF EBADF,
            AGAIN EAGAIN, NOMEM ENOMEM, ACCESS EACCES, FAULT EFAULT, BUSY EBUSY, EXIST EEXIST, XDEV
            EXDEV, NODEV ENODEV, NOTDIR ENOTDIR, ISDIR EISDIR, INVAL EINVAL, NFILE ENFILE, MFILE
            EMFILE, NOTTY ENOTTY, TXTBSY ETXTBSY, FBIG EFBIG, NOSPC ENOSPC, SPIPE ESPIPE, ROFS
            EROFS, MLINK EMLINK, PIPE EPIPE, RANGE ERANGE, NAMETOOLONG ENAMETOOLONG, NOSYS ENOSYS,
            NOTEMPTY ENOTEMPTY, LOOP ELOOP, NODATA ENODATA, PROTO EPROTO, BADMSG EBADMSG, OVERFLOW
            EOVERFLOW, BADFD EBADFD, ILSEQ EILSEQ, MSGSIZE EMSGSIZE, OPNOTSUPP EOPNOTSUPP, NETDOWN
            ENETDOWN, NETUNREACH ENETUNREACH, CONNABORTED ECONNABORTED, CONNRESET ECONNRESET, NOBUFS
            ENOBUFS, NOTCONN ENOTCONN, SHUTDOWN ESHUTDOWN, TOOMANYREFS ETOOMANYREFS, TIMEDOUT
            ETIMEDOUT, CONNREFUSED ECONNREFUSED, HOSTDOWN EHOSTDOWN, HOSTUNREACH EHOSTUNREACH,
            ALREADY EALREADY, STALE ESTALE, DQUOT EDQUOT, CANCELED ECANCELED,
        }
    }

    #[test]
    fn only_1_to_4095_is_an_errno() {
        for number in [i32::MIN, -4095, -1, 0, 4096, 65_537, i32::MAX] {
            assert_eq!(Errno::new(number), None, "{number}");
        }
        for number in 1..=4095 {
            assert_eq!(Errno::new(number).map(Errno::get), Some(number));
        }
    }

    #[test]
    fn exactly_the_errors_of_an_outage_are_one() {
        let outages = (1..=4095)
            .filter_map(Errno::new)
            .filter(|errno| errno.is_outage());
        let numbers: std::vec::Vec<i32> = outages.map(Errno::get).collect();
        assert_eq!(
            numbers,
            [
                11, 12, 23, 24, 32, 100, 101, 103, 104, 105, 107, 110, 111, 112, 113
            ]
        );
    }

    #[test]
    fn shows_its_name_where_it_has_one() {
        assert_eq!(format!("{}", Errno::ESTALE), "ESTALE");
        assert_eq!(format!("{:?}", Errno::new(4000)), "Some(Errno(errno 4000))");
    }
}
