//! The daemon of Holdfast: the process that fetches from origins.
//!
//! It connects to the engine's device socket, grants as many credits as it has idle workers, and answers OPEN (with an
//! object's size and version) and READ (by writing the range into the object's data file). It may die at any
//! instruction: everything it knows it can ask the origin or the engine for again.
//!
//! Layers, an arrow never points up: [`errno`] ← `sources` ← `volumes` ← `object` ← `work` ← `session` ← [`run`].

// One block, in `device::engine_socket`, which says why.
#![deny(unsafe_code)]

mod check;
pub mod device;
pub mod errno;
pub mod manifest;
mod object;
mod retry;
mod run;
mod session;
pub mod sources;
pub mod volume;
mod volumes;
mod work;

pub use check::{CheckError, check};
pub use run::{DaemonConfig, RunError, run};
pub use volume::{Auth, SourceUrl, SourceUrlError, VolumeConfig, VolumeFileError, VolumeOptions};
