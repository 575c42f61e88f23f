//! The whole of Holdfast, as its users meet it: real processes, real mounts, real kills.

mod demo;
mod failover;
mod first;
mod misbehaviour;
mod programs;
mod readers;
mod sources;
mod support;
