//! The engine: the process of Holdfast that plays the kernel.
//!
//! It serves FUSE mounts from the cache and hands what is missing to daemons over the device
//! socket. It fetches nothing itself: no network, no decompression, no parsing of what strangers
//! wrote beyond the protocol.
#![forbid(unsafe_code)]

pub mod control;
