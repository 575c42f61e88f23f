//! The descriptor store, as systemd.service(5) `FileDescriptorStoreMax=` and sd_pid_notify_with_fds(3) describe it.
//!
//! Invariants: never more than the bound; many descriptors may share a name; a descriptor whose open file is held already
//! is not stored twice (a successor may store again what it inherited); order is the order of storing.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::config::InheritedDescriptors;
use crate::same_description::is_same_description;

/// The most descriptors that a keeper holds (its limit of open files may make it fewer).
pub const DESCRIPTORS_MAX: usize = 4096;

#[derive(Debug)]
struct Stored {
    name: String,
    descriptor: OwnedFd,
}

/// What became of a descriptor that was to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is held now.
    Stored,
    /// Its open file was held already; this copy is closed.
    Duplicate,
    /// The store is full; it is closed.
    Full,
}

/// Descriptors by name.
#[derive(Debug)]
pub(crate) struct DescriptorStore {
    stored: Vec<Stored>,
    descriptors_max: usize,
}

impl DescriptorStore {
    pub(crate) fn new(descriptors_max: usize) -> DescriptorStore {
        DescriptorStore {
            stored: Vec::new(),
            descriptors_max,
        }
    }

    /// Takes one descriptor in.
    pub(crate) fn keep(&mut self, name: &str, descriptor: OwnedFd) -> Outcome {
        if self
            .stored
            .iter()
            .any(|held| is_same_description(held.descriptor.as_fd(), descriptor.as_fd()))
        {
            return Outcome::Duplicate;
        }
        if self.stored.len() >= self.descriptors_max {
            return Outcome::Full;
        }
        self.stored.push(Stored {
            name: name.to_owned(),
            descriptor,
        });
        Outcome::Stored
    }

    /// Closes all descriptors of a name; says how many there were.
    pub(crate) fn remove(&mut self, name: &str) -> usize {
        let before = self.stored.len();
        self.stored.retain(|held| held.name != name);
        before - self.stored.len()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.stored.iter().map(|held| held.name.as_str())
    }

    /// Those that a role inherits, in the order of storing.
    pub(crate) fn select(&self, inherits: &InheritedDescriptors) -> Vec<(&str, BorrowedFd<'_>)> {
        let wanted = |name: &str| match inherits {
            InheritedDescriptors::None => false,
            InheritedDescriptors::All => true,
            InheritedDescriptors::Named(names) => names.iter().any(|wanted| wanted == name),
        };
        let chosen = self.stored.iter().filter(|held| wanted(&held.name));
        chosen
            .map(|held| (held.name.as_str(), held.descriptor.as_fd()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{MemfdFlags, memfd_create};

    fn memfd() -> OwnedFd {
        memfd_create("store-test", MemfdFlags::CLOEXEC).expect("memfd")
    }

    #[test]
    fn names_are_shared_removed_together_and_selected_in_order() {
        let mut store = DescriptorStore::new(8);
        for name in ["fuse", "journal", "fuse"] {
            assert_eq!(store.keep(name, memfd()), Outcome::Stored);
        }
        let chosen = store.select(&InheritedDescriptors::Named(vec!["fuse".into()]));
        assert_eq!(
            chosen.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
            ["fuse", "fuse"]
        );
        assert_eq!(store.select(&InheritedDescriptors::None).len(), 0);
        assert_eq!(store.select(&InheritedDescriptors::All).len(), 3);
        assert_eq!((store.remove("fuse"), store.remove("fuse")), (2, 0));
        assert_eq!(store.names().collect::<Vec<_>>(), ["journal"]);
    }

    #[test]
    fn the_same_open_file_is_held_once_and_the_bound_holds() {
        let mut store = DescriptorStore::new(2);
        let first = memfd();
        let copy = first.try_clone().expect("dup");
        assert_eq!(store.keep("a", first), Outcome::Stored);
        assert_eq!(store.keep("b", copy), Outcome::Duplicate);
        assert_eq!(store.keep("a", memfd()), Outcome::Stored);
        assert_eq!(store.keep("a", memfd()), Outcome::Full);
    }
}
