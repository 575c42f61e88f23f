//! The engine: the process of Holdfast that plays the kernel.
//!
//! It serves FUSE mounts from the cache and hands what is missing to daemons over the device
//! socket. It fetches nothing itself: no network, no decompression, no parsing of what strangers
//! wrote beyond the protocol.
//!
//! # A read, from end to end
//! 1. `fs::serve` receives READ from the kernel. Present bytes are answered at once.
//! 2. Otherwise the request becomes a `fs::waiting::Waiting` in the `hub`, and `core` makes an
//!    OPEN or READ of it for some daemon.
//! 3. `device` hands that out and takes the answer in: the store is marked, then `core` told.
//! 4. `core` names the readers whose bytes are there; `fs::perform` answers them.
//!
//! Names take the same way: listings and entries are objects too (`namespace::metadata`).
#![forbid(unsafe_code)]

pub mod control;
mod descriptors;
mod device;
mod failovers;
mod fs;
mod hub;
mod listing_index;
mod mount;
mod mounting;
mod namespace;
mod objects;
mod read_ahead;

mod engine;
mod run;
mod status;
mod waker;

pub use run::{EngineConfig, RunError, run};
