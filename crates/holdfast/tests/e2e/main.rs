//! The whole of Holdfast, as its users meet it: real processes, real mounts, real kills.

mod chaos;
mod demo;
mod engine_death;
mod failover;
mod fake;
mod first;
mod full_disk;
mod lifecycle;
mod misbehaviour;
mod moments;
mod origins;
mod programs;
mod readers;
mod readers_blocked;
mod readers_stuck;
mod sources;
mod sources_auth;
mod sources_big;
mod sources_change;
mod support;
