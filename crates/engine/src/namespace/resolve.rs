//! From a directory and a name to an entry, by the cheapest way that is exact (H13).
//!
//! 1. A listing at hand that is not too old answers at once, also that there is no such name.
//! 2. Else the name's own entry is fetched: opening one path never lists its directory.
//! 3. A listing that does not know a file's exact size is no answer: step 2.
//!
//! A directory of which many names are asked for has its listing fetched besides, for the next.

use std::time::Duration;

use holdfast_proto::Errno;
use holdfast_proto::key::{CookieKey, RelativePath};
use holdfast_proto::listing::{Entry, EntryKind};

use crate::engine::Engine;
use crate::hub::Need;
use crate::mount::Mount;

use super::metadata::{Failure, Look};

/// What a name turned out to be.
#[derive(Debug)]
pub enum Resolved {
    /// It exists.
    Entry {
        /// Its path.
        path: RelativePath,
        /// What it is; the size of a file is known.
        entry: Entry,
        /// How long the kernel may believe it.
        valid: Duration,
    },
    /// It does not exist.
    Absent {
        /// How long the kernel may believe it.
        valid: Duration,
    },
    /// Wait for this and ask again.
    Wait(Need),
    /// Nobody can say.
    Refused(Errno),
}

/// Looks `name` up in the directory `parent`; `failure` is how the caller's last wait went.
pub fn resolve(
    engine: &Engine,
    mount: &Mount,
    parent: &RelativePath,
    name: &[u8],
    failure: Option<&Failure>,
) -> Resolved {
    let path = match parent.join(name) {
        Ok(path) => path,
        Err(error) => {
            tracing::debug!(%error, "a name that no source can have");
            return Resolved::Refused(Errno::ENAMETOOLONG);
        }
    };
    let entry_key = CookieKey::Entry { path: path.clone() };
    let listing_key = CookieKey::Listing {
        path: parent.clone(),
    };
    let ttl = mount.request.metadata_ttl();
    if !engine.metadata.is_distrusted(&mount.volume, &entry_key)
        && let Some(found) = in_listing(engine, mount, &listing_key, &path, name, Some(ttl))
    {
        return found;
    }
    match engine.metadata.look(engine, mount, &entry_key, failure) {
        Look::Ready(document, valid) if document.listing.is_negative() => {
            Resolved::Absent { valid }
        }
        Look::Ready(document, valid) => {
            let entry = document.listing.single().map(|entry| entry.to_entry());
            match entry.filter(|entry| entry.name == name && is_exact(entry)) {
                Some(entry) => Resolved::Entry { path, entry, valid },
                None => {
                    tracing::error!(?path, "the entry a daemon gave has another name or no size");
                    Resolved::Refused(Errno::EIO)
                }
            }
        }
        Look::Wait(need) => Resolved::Wait(need),
        // Better an old listing than none.
        Look::Refused(errno) => in_listing(engine, mount, &listing_key, &path, name, None)
            .unwrap_or(match errno {
                Errno::ENOENT => Resolved::Absent {
                    valid: Duration::ZERO,
                },
                other => Resolved::Refused(other),
            }),
    }
}

/// The answer of the directory's listing, if it is at hand and knows.
fn in_listing(
    engine: &Engine,
    mount: &Mount,
    listing: &CookieKey,
    path: &RelativePath,
    name: &[u8],
    ttl: Option<Duration>,
) -> Option<Resolved> {
    let (document, valid) = engine.metadata.at_hand(engine, mount, listing, ttl)?;
    let Some(entry) = document.listing.find(name) else {
        return Some(Resolved::Absent { valid });
    };
    let entry = entry.to_entry();
    is_exact(&entry).then(|| Resolved::Entry {
        path: path.clone(),
        entry,
        valid,
    })
}

/// A rounded or missing size would truncate the file for its readers.
fn is_exact(entry: &Entry) -> bool {
    match entry.kind {
        EntryKind::File => entry.size.is_some(),
        EntryKind::Directory | EntryKind::Symlink { .. } => true,
    }
}
