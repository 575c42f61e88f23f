//! Names: what the numbers given to the kernel stand for, and how names become entries.

pub mod journal;
pub mod metadata;
pub mod node;
pub mod resolve;
pub mod table;
