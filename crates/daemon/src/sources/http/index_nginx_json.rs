//! nginx's JSON directory index (`autoindex_format json`): exact sizes, mtimes to the second.
//!
//! nginx writes names as the bytes they are, so the document need not be UTF-8; serde_json reads strings as bytes then.

use std::fmt;

use holdfast_proto::listing::{Entry, EntryKind, Mtime};
use serde::Deserialize;
use serde::de::{Deserializer, Visitor};

use super::version::{Mark, Version, http_date};

/// One element of the index.
#[derive(Debug, Deserialize)]
struct Item {
    name: Name,
    #[serde(rename = "type")]
    kind: Kind,
    #[serde(default)]
    mtime: Option<String>,
    #[serde(default)]
    size: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    File,
    Directory,
    /// Sockets, devices, pipes, broken links.
    Other,
}

/// A name of any bytes.
#[derive(Debug)]
struct Name(Vec<u8>);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Name, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Name;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Name, E> {
                Ok(Name(bytes.to_vec()))
            }
            fn visit_str<E>(self, text: &str) -> Result<Name, E> {
                Ok(Name(text.as_bytes().to_vec()))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

/// The entries of an index.
///
/// # Errors
/// What is wrong with the document, in words.
pub(super) fn parse(document: &[u8]) -> Result<Vec<Entry>, String> {
    let items: Vec<Item> = serde_json::from_slice(document).map_err(|e| e.to_string())?;
    Ok(items.into_iter().filter_map(entry).collect())
}

fn entry(item: Item) -> Option<Entry> {
    let modified = item.mtime.as_deref().and_then(http_date);
    let (kind, size, validator) = match (item.kind, item.size, modified) {
        (Kind::File, Some(size), Some(modified)) => (
            EntryKind::File,
            Some(size),
            Version {
                size,
                mark: Mark::Modified(modified),
            }
            .encode(),
        ),
        // Without both no version can be named: the entry must be asked for.
        (Kind::File, _, _) => (EntryKind::File, None, Vec::new()),
        (Kind::Directory, _, _) => (EntryKind::Directory, None, Vec::new()),
        (Kind::Other, _, _) => return None,
    };
    Some(Entry {
        name: item.name.0,
        kind,
        size,
        mode: None,
        mtime: modified.map(|s| Mtime { s, ns: 0 }),
        validator,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_directories_and_names_of_any_bytes() {
        let document = b"[\n{ \"name\":\"d\\u00e9\", \"type\":\"directory\", \"mtime\":\"Sun, 06 Nov 1994 08:49:37 GMT\" },\n\
            { \"name\":\"\xff\\n\", \"type\":\"file\", \"mtime\":\"Sun, 06 Nov 1994 08:49:37 GMT\", \"size\":7 },\n\
            { \"name\":\"s\", \"type\":\"other\", \"mtime\":\"Sun, 06 Nov 1994 08:49:37 GMT\" }\n]\n";
        let entries = parse(document).unwrap();
        assert_eq!(entries.len(), 2);
        assert_eq!(
            (entries[0].name.as_slice(), &entries[0].kind),
            ("dé".as_bytes(), &EntryKind::Directory)
        );
        assert_eq!(
            (entries[1].name.as_slice(), entries[1].size),
            (&b"\xff\n"[..], Some(7))
        );
        assert_eq!(entries[1].validator, b"http1:m:7:784111777");
        assert!(parse(b"[{\"name\":\"x\"").is_err());
        assert_eq!(parse(b"[\n]\n").unwrap(), []);
    }
}
