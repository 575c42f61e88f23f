//! The control socket: how the command line asks an engine to serve a mount, and how it is.

pub mod protocol;

mod client;
pub(crate) mod server;

pub use client::{Client, ClientError};
pub use protocol::{EngineStatus, MountReply, MountRequest, OnOutage, PathBytes};

/// Name of the control socket within the run directory.
pub const SOCKET_NAME: &str = "control.sock";
