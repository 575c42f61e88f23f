//! Holdfast's demonstration run, and the HTTP origin that tests and benches of the other crates use.
//!
//! * [`origin`]: an HTTP/1.1 file server on loopback with directory indexes, ranges, validators, counters and faults that
//!   can be switched while it runs.
//!
//! Invariant: nothing here is part of the data path of a mount; this crate only looks at Holdfast from outside, as a user does.

pub mod origin;
