//! Origins for tests, and what a mount of one is compared with.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use holdfast_demo::origin::{IndexStyle, Origin, OriginConfig};

use crate::support::{Site, noise};

/// An HTTP origin of the site's source directory.
pub fn serve(site: &Site, change: impl FnOnce(&mut OriginConfig)) -> Origin {
    let mut config = OriginConfig::new(site.source());
    change(&mut config);
    Origin::start(config).expect("an origin")
}

/// An origin with exact listings.
pub fn serve_plainly(site: &Site) -> Origin {
    serve(site, |config| config.index = IndexStyle::NginxJson)
}

/// Writes a file of the site's source; returns its bytes.
pub fn put(site: &Site, name: &[u8], seed: u64, len: usize) -> Vec<u8> {
    let bytes = noise(seed, len);
    std::fs::write(site.source().join(OsStr::from_bytes(name)), &bytes).expect("a file");
    bytes
}

/// A tree with all that UTF-8 can name: nested, empty, large and small, with names that need escapes.
pub fn plant(root: &Path) {
    std::fs::create_dir_all(root.join("deep/er/still")).expect("directories");
    std::fs::create_dir(root.join("empty dir")).expect("a directory");
    let long = "x".repeat(255);
    let names = [
        "plain",
        "with space",
        "a?b#c%41&d;e+f=g\"h'<i>",
        "new\nline",
        "tab\tand\\back",
        "deep/er/still/ütf-8 ☃",
        &long,
    ];
    for (seed, name) in names.iter().enumerate() {
        let bytes = noise(seed as u64, 1_000 + seed * 77_777);
        std::fs::write(root.join(name), bytes).expect("a file");
    }
    std::fs::write(root.join("deep/empty"), b"").expect("a file");
    // Of more than two digits, so that an index that rounds gets it wrong.
    std::fs::write(root.join("deep/big"), noise(99, 1_234_567)).expect("a file");
}

/// Names that are not UTF-8, for the sources that can have them.
pub fn plant_raw_bytes(root: &Path) {
    std::fs::write(root.join(OsStr::from_bytes(b"\xff\xfe raw")), b"raw").expect("a file");
    let all: Vec<u8> = (1..=255).filter(|byte| *byte != b'/').collect();
    std::fs::write(root.join(OsStr::from_bytes(&all)), b"every byte").expect("a file");
}

/// Symbolic links of all kinds.
pub fn plant_links(root: &Path) {
    symlink("plain", root.join("link")).expect("a link");
    symlink("deep/er", root.join("link to dir")).expect("a link");
    symlink("nowhere/at all", root.join("dangling")).expect("a link");
    symlink(OsStr::from_bytes(b"\xfe\nodd"), root.join("odd target")).expect("a link");
}

/// What is compared of one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// `d`, `f` or `l`.
    pub kind: char,
    /// Size of files.
    pub size: Option<u64>,
    /// Permission bits; not of links.
    pub mode: Option<u32>,
    /// Seconds and nanoseconds.
    pub mtime: Option<(i64, i64)>,
    /// Where a link leads.
    pub target: Option<PathBuf>,
    /// blake3 of a file's bytes.
    pub content: Option<String>,
}

/// How much of a tree a source can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Names, kinds, bytes.
    Content,
    /// Modes and times too.
    Everything,
}

/// All names under `root` (itself not) and their facts.
pub fn facts(root: &Path, depth: Depth) -> BTreeMap<OsString, Facts> {
    let mut found = BTreeMap::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(root.join(&dir)).expect("lists") {
            let relative = dir.join(entry.expect("an entry").file_name());
            let facts = facts_of(&root.join(&relative), depth);
            if facts.kind == 'd' {
                todo.push(relative.clone());
            }
            let double = found.insert(relative.into_os_string(), facts);
            assert!(double.is_none(), "listed twice");
        }
    }
    found
}

fn facts_of(path: &Path, depth: Depth) -> Facts {
    let metadata = std::fs::symlink_metadata(path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
    let (file, link) = (metadata.is_file(), metadata.is_symlink());
    let all = depth == Depth::Everything;
    let content = || {
        let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
        assert_eq!(bytes.len() as u64, metadata.len(), "{path:?}");
        blake3::hash(&bytes).to_hex().to_string()
    };
    Facts {
        kind: match (file, link) {
            (true, _) => 'f',
            (_, true) => 'l',
            _ => 'd',
        },
        size: file.then_some(metadata.len()),
        mode: (all && !link).then_some(metadata.mode() & 0o7777),
        mtime: all.then_some((metadata.mtime(), metadata.mtime_nsec())),
        target: link.then(|| std::fs::read_link(path).expect("a link's target")),
        content: file.then(content),
    }
}

/// Asserts that the mount shows just what `root` holds.
pub fn assert_same(root: &Path, mounted: &Path, depth: Depth) {
    let (mut expected, seen) = (facts(root, depth), facts(mounted, depth));
    // A manifest describes the tree and is no part of it.
    expected.remove(OsStr::new(".holdfast-manifest.jsonl"));
    for (name, facts) in &expected {
        assert_eq!(seen.get(name), Some(facts), "{name:?}");
    }
    let foreign: Vec<_> = seen
        .keys()
        .filter(|name| !expected.contains_key(*name))
        .collect();
    assert!(foreign.is_empty(), "not in the source: {foreign:?}");
}
