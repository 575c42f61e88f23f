//! Manifests: a tree's names, kinds, sizes, times, modes and links in one file, for servers whose index tells less.
//!
//! Format, version 1: JSON lines in UTF-8, each ended by a newline.
//! * First line: `{"holdfast_manifest":1}`.
//! * One line per name: `{"path":"a/b","kind":"file","size":5,"mode":420,"mtime":[1700000000,0]}`; `kind` is `file`,
//!   `directory` or `symlink` (then `"target"`); `size` in bytes, files only; `mode` the permission bits in decimal,
//!   may be missing; `mtime` seconds and nanoseconds since 1970, may be missing for others than files.
//!   In `path` and `target`, `%`, control characters and bytes that are not UTF-8 are percent-encoded.
//!   Lines come in any order; a directory that is only a part of paths need not have a line.
//! * Last line: `{"end":<number of names>}`, so that a manifest cut short is known as such.
//!
//! Invariant: a [`Manifest`] in memory is whole, without doubles, and every path in it is a valid one.

mod write;

use std::collections::HashMap;

use holdfast_proto::key::RelativePath;
use holdfast_proto::listing::{Entry, EntryKind, Mtime};
use percent_encoding::{percent_decode_str, percent_encode_byte};
use serde::{Deserialize, Serialize};

pub use write::{WriteError, Written, write, write_to};

/// Name of the manifest in a tree's root.
pub const FILE_NAME: &str = ".holdfast-manifest.jsonl";
/// Largest manifest that is read, in bytes.
pub const MANIFEST_BYTES_MAX: u64 = 1 << 30;
/// Most names in a manifest.
pub const NAMES_MAX: usize = 16 << 20;
/// Version of the format.
const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    holdfast_manifest: u32,
}

#[derive(Debug, Serialize, Deserialize)]
struct End {
    end: usize,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    File,
    Directory,
    Symlink,
}

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    path: String,
    kind: Kind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mode: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mtime: Option<(i64, u32)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target: Option<String>,
}

/// Why bytes are no manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// The first line is not that of a manifest of version 1.
    #[error("not a manifest of version 1")]
    NotAManifest,
    /// A line cannot be understood.
    #[error("line {line}: {detail}")]
    Line {
        /// Its number, counted from 1.
        line: usize,
        /// What is wrong.
        detail: String,
    },
    /// The last line is missing or counts otherwise.
    #[error("cut short, or without its last line")]
    Truncated,
    /// More than [`NAMES_MAX`] names.
    #[error("more than 16 Mi names")]
    TooManyNames,
}

/// A tree as its manifest tells it.
#[derive(Debug, Default)]
pub struct Manifest {
    directories: HashMap<RelativePath, HashMap<Vec<u8>, Entry>>,
}

impl Manifest {
    /// Parses a manifest. The entries' validators are empty: how a version is proven is the source's matter.
    ///
    /// # Errors
    /// See [`ManifestError`]; each variant says when.
    pub fn parse(document: &[u8]) -> Result<Manifest, ManifestError> {
        let body = document
            .strip_suffix(b"\n")
            .ok_or(ManifestError::NotAManifest)?;
        let lines: Vec<&[u8]> = body
            .split(|byte| *byte == b'\n')
            .take(NAMES_MAX + 3)
            .collect();
        let mut lines = lines.into_iter().enumerate();
        match lines.next().map(|(_, line)| serde_json::from_slice(line)) {
            Some(Ok(Head {
                holdfast_manifest: VERSION,
            })) => {}
            Some(Ok(Head { .. }) | Err(_)) | None => return Err(ManifestError::NotAManifest),
        }
        let Some((_, last)) = lines.next_back() else {
            return Err(ManifestError::Truncated);
        };
        let End { end } = serde_json::from_slice(last).map_err(|_| ManifestError::Truncated)?;
        if end > NAMES_MAX {
            return Err(ManifestError::TooManyNames);
        }
        if lines.len() != end {
            return Err(ManifestError::Truncated);
        }
        let mut manifest = Manifest::default();
        manifest
            .directories
            .insert(RelativePath::root(), HashMap::new());
        for (index, line) in lines {
            manifest.add(line).map_err(|detail| ManifestError::Line {
                line: index + 1,
                detail,
            })?;
        }
        Ok(manifest)
    }

    fn add(&mut self, line: &[u8]) -> Result<(), String> {
        let line: Line = serde_json::from_slice(line).map_err(|e| e.to_string())?;
        let path: Vec<u8> = percent_decode_str(&line.path).collect();
        let path = RelativePath::new(&path).map_err(|e| e.to_string())?;
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err("the empty path".into());
        };
        let kind = match (line.kind, line.target) {
            (Kind::File, _) if line.size.is_none() => return Err("a file without a size".into()),
            (Kind::File, _) => EntryKind::File,
            (Kind::Directory, _) => EntryKind::Directory,
            (Kind::Symlink, Some(target)) => EntryKind::Symlink {
                target: percent_decode_str(&target).collect(),
            },
            (Kind::Symlink, None) => return Err("a link without a target".into()),
        };
        let mtime = line.mtime.map(|(s, ns)| Mtime { s, ns });
        let size = if kind == EntryKind::File {
            line.size
        } else {
            None
        };
        if kind == EntryKind::Directory {
            self.directories.entry(path.clone()).or_default();
        }
        self.add_parents(&parent)?;
        let entry = Entry {
            name: name.to_vec(),
            kind,
            size,
            mode: line.mode,
            mtime,
            validator: Vec::new(),
        };
        let siblings = self.directories.entry(parent).or_default();
        match siblings.get(name) {
            // A directory may have been implied by a path before its own line came.
            Some(old)
                if old.kind != EntryKind::Directory
                    || entry.kind != EntryKind::Directory
                    || old.mtime.is_some() =>
            {
                return Err("the same path twice".into());
            }
            Some(_) | None => siblings.insert(name.to_vec(), entry),
        };
        Ok(())
    }

    /// Sees to it that a directory and all above it have entries.
    fn add_parents(&mut self, directory: &RelativePath) -> Result<(), String> {
        let mut at = directory.clone();
        while let (Some(parent), Some(name)) = (at.parent(), at.file_name()) {
            let siblings = self.directories.entry(parent.clone()).or_default();
            let entry = siblings.entry(name.to_vec()).or_insert_with(|| Entry {
                name: name.to_vec(),
                kind: EntryKind::Directory,
                size: None,
                mode: None,
                mtime: None,
                validator: Vec::new(),
            });
            if entry.kind != EntryKind::Directory {
                return Err("a path below something that is no directory".into());
            }
            self.directories.entry(at).or_default();
            at = parent;
        }
        Ok(())
    }

    /// The entry of a path other than the root.
    #[must_use]
    pub fn entry(&self, path: &RelativePath) -> Option<&Entry> {
        self.directories
            .get(&path.parent()?)?
            .get(path.file_name()?)
    }

    /// The entries of a directory, in no order; `None` when there is no such directory.
    pub fn list(&self, path: &RelativePath) -> Option<impl Iterator<Item = &Entry>> {
        self.directories.get(path).map(HashMap::values)
    }
}

/// Bytes of a name or target as the format's text. Own code because the crate's encoders escape all of non-ASCII, which
/// would make most of the world's names unreadable.
fn encoded(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c == '%' || c.is_ascii_control() {
                text.push_str(percent_encode_byte(u8::try_from(c).expect("ASCII")));
            } else {
                text.push(c);
            }
        }
        chunk
            .invalid()
            .iter()
            .for_each(|byte| text.push_str(percent_encode_byte(*byte)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(bytes: &[u8]) -> RelativePath {
        RelativePath::new(bytes).unwrap()
    }

    #[test]
    fn any_bytes_survive_the_text() {
        for bytes in [
            &b"plain"[..],
            b"50%",
            "é\u{1F600}".as_bytes(),
            b"\xff\n\x7f\xc3",
            b"a\"b\\c",
        ] {
            assert_eq!(
                percent_decode_str(&encoded(bytes)).collect::<Vec<u8>>(),
                bytes
            );
        }
        assert_eq!(encoded("é%".as_bytes()), "é%25");
    }

    #[test]
    fn implied_directories_are_there_and_doubles_are_refused() {
        let document = "{\"holdfast_manifest\":1}\n{\"path\":\"a/b/c\",\"kind\":\"file\",\"size\":3}\n{\"path\":\"a\",\"kind\":\"directory\",\"mtime\":[1,0]}\n{\"end\":2}\n";
        let manifest = Manifest::parse(document.as_bytes()).unwrap();
        assert_eq!(manifest.entry(&path(b"a/b/c")).unwrap().size, Some(3));
        assert_eq!(
            manifest.entry(&path(b"a")).unwrap().mtime,
            Some(Mtime { s: 1, ns: 0 })
        );
        assert_eq!(manifest.list(&path(b"a")).unwrap().count(), 1);
        assert!(manifest.list(&path(b"a/b/c")).is_none());
        let double = document.replace(
            "{\"path\":\"a\",\"kind\":\"directory\",\"mtime\":[1,0]}",
            "{\"path\":\"a/b/c\",\"kind\":\"file\",\"size\":3}",
        );
        assert!(matches!(
            Manifest::parse(double.as_bytes()),
            Err(ManifestError::Line { line: 3, .. })
        ));
    }

    #[test]
    fn a_manifest_cut_short_is_refused() {
        let whole = b"{\"holdfast_manifest\":1}\n{\"path\":\"a\",\"kind\":\"file\",\"size\":3}\n{\"end\":1}\n";
        assert!(Manifest::parse(whole).is_ok());
        for len in 0..whole.len() {
            assert!(Manifest::parse(&whole[..len]).is_err(), "{len}");
        }
        assert_eq!(
            Manifest::parse(b"<html>\n").unwrap_err(),
            ManifestError::NotAManifest
        );
    }
}
