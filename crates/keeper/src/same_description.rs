//! Whether two descriptors are one open file description.
//!
//! rustix and the standard library have no call for it, so this small module asks the kernel by libc.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd};

/// fcntl(2) command of Linux 6.10 (`include/uapi/linux/fcntl.h`: `F_LINUX_SPECIFIC_BASE` + 3).
const F_DUPFD_QUERY: libc::c_int = 1027;
/// `enum kcmp_type` in `include/uapi/linux/kcmp.h`.
const KCMP_FILE: libc::c_int = 0;

/// True if both surely are the same open file description. Where the kernel cannot tell (no `F_DUPFD_QUERY`, no
/// kcmp(2)), they count as different: one copy too many harms nobody.
pub(crate) fn is_same_description(first: BorrowedFd<'_>, second: BorrowedFd<'_>) -> bool {
    // SAFETY: F_DUPFD_QUERY takes a descriptor number by value and reads no memory; both numbers are open, since they are
    // borrowed for the call.
    match unsafe { libc::fcntl(first.as_raw_fd(), F_DUPFD_QUERY, second.as_raw_fd()) } {
        0 => false,
        1 => true,
        _ => is_same_by_kcmp(first, second),
    }
}

fn is_same_by_kcmp(first: BorrowedFd<'_>, second: BorrowedFd<'_>) -> bool {
    let own_pid = rustix::process::getpid().as_raw_pid();
    // SAFETY: kcmp(2) takes five integers by value and touches no memory of the caller.
    let order = unsafe {
        libc::syscall(
            libc::SYS_kcmp,
            own_pid,
            own_pid,
            KCMP_FILE,
            first.as_raw_fd(),
            second.as_raw_fd(),
        )
    };
    order == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{MemfdFlags, memfd_create};
    use std::os::fd::AsFd;

    #[test]
    fn a_dup_is_the_same_and_another_file_is_not() {
        let file = memfd_create("same", MemfdFlags::CLOEXEC).expect("memfd");
        let other = memfd_create("same", MemfdFlags::CLOEXEC).expect("memfd");
        let dup = file.try_clone().expect("dup");
        for same in [is_same_description, is_same_by_kcmp] {
            assert!(same(file.as_fd(), dup.as_fd()));
            assert!(!same(file.as_fd(), other.as_fd()));
        }
    }
}
