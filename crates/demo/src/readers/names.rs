//! Compares names, kinds, sizes and link targets of the mount with the sample.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::{FileEnd, Kind, Shared};
use crate::sample::Sample;

/// Compares the whole tree; a read of a directory, an attribute or a link that is wrong counts as a failed read.
pub(super) fn check(shared: &Shared) -> FileEnd {
    let mut end = FileEnd::Compared;
    for (directory, expected) in listings(&shared.config.sample) {
        if shared.stopped() {
            return FileEnd::Stopped;
        }
        if let Err(error) = check_directory(&shared.config.mount.join(&directory), &expected) {
            end = shared.failed(Kind::Sequential, &directory, &error);
        }
    }
    for link in &shared.config.sample.links {
        let path = shared.config.mount.join(&link.path);
        match std::fs::read_link(&path) {
            Ok(target) if target.as_os_str() == link.target => {}
            Ok(target) => {
                end = shared.failed(
                    Kind::Sequential,
                    &link.path,
                    &format!("is a link to {target:?}"),
                )
            }
            Err(error) => end = shared.failed(Kind::Sequential, &link.path, &error),
        }
    }
    for file in &shared.config.sample.files {
        match std::fs::symlink_metadata(shared.config.mount.join(&file.path)) {
            Ok(found) if found.is_file() && found.len() == file.size_bytes => {}
            Ok(found) => {
                end = shared.failed(
                    Kind::Sequential,
                    &file.path,
                    &format!("shows {} bytes", found.len()),
                )
            }
            Err(error) => end = shared.failed(Kind::Sequential, &file.path, &error),
        }
        if shared.stopped() {
            return FileEnd::Stopped;
        }
    }
    end
}

fn check_directory(directory: &Path, expected: &BTreeSet<OsString>) -> io::Result<()> {
    let found: io::Result<BTreeSet<OsString>> = std::fs::read_dir(directory)?
        .map(|entry| Ok(entry?.file_name()))
        .collect();
    let mut found = found?;
    // The manifest lies in the root beside the sample; it may show or not.
    found.retain(|name| {
        expected.contains(name) || !name.as_encoded_bytes().starts_with(b".holdfast-manifest")
    });
    if found == *expected {
        return Ok(());
    }
    let missing: Vec<_> = expected.difference(&found).take(3).collect();
    let extra: Vec<_> = found.difference(expected).take(3).collect();
    Err(io::Error::other(format!(
        "wrong names: missing {missing:?}, extra {extra:?}"
    )))
}

/// The names that each directory has.
fn listings(sample: &Sample) -> BTreeMap<PathBuf, BTreeSet<OsString>> {
    let mut listings = BTreeMap::from([(PathBuf::new(), BTreeSet::new())]);
    listings.extend(
        sample
            .directories
            .iter()
            .map(|path| (path.clone(), BTreeSet::new())),
    );
    let files = sample.files.iter().map(|file| &file.path);
    let links = sample.links.iter().map(|link| &link.path);
    for path in sample.directories.iter().chain(files).chain(links) {
        let parent = path.parent().expect("no path of a sample is empty");
        let name = path
            .file_name()
            .expect("no path of a sample ends in ..")
            .to_owned();
        listings.entry(parent.to_owned()).or_default().insert(name);
    }
    listings
}
