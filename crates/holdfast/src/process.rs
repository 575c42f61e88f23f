//! This process and others, as the kernel shows them.

use std::fs;

/// Sets the name that `ps` and `top` show (prctl(2) PR_SET_NAME; at most 15 bytes). A distinct name
/// per role keeps `killall` from taking a whole instance at once (H18).
pub fn set_name(name: &std::ffi::CStr) {
    assert!(name.count_bytes() <= 15, "the kernel would cut the name");
    if let Err(errno) = rustix::thread::set_name(name) {
        tracing::warn!(%errno, "cannot set the process name");
    }
}

/// Time since the process `pid` started, in milliseconds, with the resolution of the kernel's clock
/// tick; none if it is gone.
#[must_use]
pub fn age_ms(pid: i32) -> Option<u64> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let started_ms =
        start_ticks(&stat)?.checked_mul(1000)? / rustix::param::clock_ticks_per_second();
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let now_ms =
        u64::try_from(now.tv_sec).ok()? * 1000 + u64::try_from(now.tv_nsec).ok()? / 1_000_000;
    Some(now_ms.saturating_sub(started_ms))
}

/// Field 22 of proc_pid_stat(5). Counted from behind the command's closing parenthesis, because the
/// command itself may hold spaces and parentheses.
fn start_ticks(stat: &[u8]) -> Option<u64> {
    let after = stat.iter().rposition(|&b| b == b')')? + 1;
    let field = stat[after..]
        .split(|b| b.is_ascii_whitespace())
        .filter(|field| !field.is_empty())
        .nth(19)?;
    std::str::from_utf8(field).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_is_found_behind_an_odd_command() {
        let stat = b"42 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 98765 20 21\n";
        assert_eq!(start_ticks(stat), Some(98_765));
        assert_eq!(start_ticks(b"42 (a) S 1"), None);
    }

    #[test]
    fn this_process_is_young_and_init_is_older() {
        let own = age_ms(i32::try_from(std::process::id()).unwrap()).unwrap();
        let init = age_ms(1).unwrap();
        assert!(own <= init, "{own} {init}");
    }
}
