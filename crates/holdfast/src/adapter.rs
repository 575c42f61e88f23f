//! The neighbours, each behind one small module: what this crate uses of the engine, the keeper, the
//! daemon, the FUSE transport and the demo. Nothing else in this crate names their types.

pub mod demo;
pub mod engine;
pub mod fuse;
pub mod keeper;
pub mod source;
