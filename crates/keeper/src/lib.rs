//! Holdfast's **keeper**: the process that starts the engine and the daemons, restarts them without ever giving up, and
//! holds the descriptors that must outlive a process.
//!
//! To its children the keeper is a service manager that speaks systemd's own protocols, so that the same children run
//! under systemd units without a keeper:
//! * `$NOTIFY_SOCKET` (sd_notify(3)): `READY=1`, `STATUS=`, `STOPPING=1`, `WATCHDOG=1`, `WATCHDOG=trigger`, `BARRIER=1`;
//! * the descriptor store (sd_pid_notify_with_fds(3), systemd.service(5) `FileDescriptorStoreMax=`): `FDSTORE=1`,
//!   `FDNAME=`, `FDSTOREREMOVE=1`;
//! * descriptor passing at start (sd_listen_fds(3)): `$LISTEN_PID`, `$LISTEN_FDS`, `$LISTEN_FDNAMES`;
//! * `$WATCHDOG_USEC`, `$WATCHDOG_PID` (sd_watchdog_enabled(3)).
//!
//! Invariants:
//! * A notification counts only if the kernel says (`SCM_CREDENTIALS`) that a live child of this keeper sent it; before a
//!   child is declared dead all that it sent while it lived has been taken in.
//! * Nothing polls: deaths come through pidfds, signals through a self-pipe; a timer runs only while something is due.
//! * A dead process is followed by a successor for ever; only the wind-down ends that.
//! * Children do not die with the keeper (no `PR_SET_PDEATHSIG`): a keeper's death must not cost a reader anything.
//! * The keeper is no child subreaper: an orphan of a child is not the keeper's to end or to wait for. In a container
//!   whose PID 1 does not reap, run with an init (`--init`).
//!
//! What the descriptors mean is none of the keeper's business.
#![deny(unsafe_code)]

mod config;
mod event_loop;
mod fork;
mod keeper;
mod notify;
mod notify_socket;
mod restart;
mod run_dir;
mod same_description;
mod signals;
mod slot;
mod spawn;
pub mod status;
mod status_socket;
mod store;
mod watchdog;

pub use config::{ConfigError, InheritedDescriptors, KeeperConfig, Role, RoleConfig};
pub use keeper::{ExitReason, RunError, run};
pub use run_dir::RunDirError;
pub use spawn::PrepareError;
pub use store::DESCRIPTORS_MAX;
