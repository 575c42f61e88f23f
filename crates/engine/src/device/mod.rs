//! The device: a listening Unix socket where daemons come for requests and bring their answers.
//!
//! One thread, one epoll(7). It alone touches sessions and leases; other threads change the core
//! and wake it. It never blocks on a socket (H15).

pub(crate) mod command;
pub(crate) mod delivery;
pub(crate) mod event_loop;
pub(crate) mod session;
pub(crate) mod socket;

/// Name of the device socket within the run directory.
pub const SOCKET_NAME: &str = "device.sock";
