//! The file system: FUSE requests answered from names and objects.
//!
//! [`serve`] receives and answers at once what can be; what needs bytes that are not there
//! becomes a [`waiting::Waiting`], which [`perform`] tries again when they are.

pub mod attributes;
pub mod directory;
pub mod interrupts;
pub mod lookup;
pub mod outcome;
pub mod perform;
pub mod read;
pub mod serve;
pub mod waiting;
