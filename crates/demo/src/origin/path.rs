//! Request paths: percent-decoding to bytes, and back.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};

/// Everything but RFC 3986's unreserved characters and the separator.
const ENCODED: AsciiSet = NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');
/// The same without the separator: for one name.
const NAME_ENCODED: AsciiSet = ENCODED.add(b'/');

/// A decoded request path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RequestPath {
    /// Relative to the root, no slash at either end; empty for the root.
    pub relative: Vec<u8>,
    /// Whether the request named a directory (a slash at the end).
    pub directory: bool,
}

/// A request path that no file can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum PathError {
    /// Does not begin with a slash.
    #[error("the path does not begin with a slash")]
    NotAbsolute,
    /// A NUL byte, or a component `.` or `..`, or an empty one.
    #[error("the path has a component that no file can have")]
    BadComponent,
}

impl RequestPath {
    /// Decodes the path part of a request target.
    pub fn parse(encoded: &str) -> Result<Self, PathError> {
        let after_slash = encoded.strip_prefix('/').ok_or(PathError::NotAbsolute)?;
        let mut relative: Vec<u8> = percent_decode_str(after_slash).collect();
        if relative.is_empty() {
            return Ok(Self {
                relative,
                directory: true,
            });
        }
        let directory = relative.last() == Some(&b'/');
        if directory {
            relative.pop();
        }
        let good =
            |name: &[u8]| !name.is_empty() && name != b"." && name != b".." && !name.contains(&0);
        if !relative.split(|byte| *byte == b'/').all(good) {
            return Err(PathError::BadComponent);
        }
        Ok(Self {
            relative,
            directory,
        })
    }
}

/// Percent-encodes a path of raw bytes for a URL; slashes stay.
#[must_use]
pub fn encode_path(path: &[u8]) -> String {
    percent_encode(path, &ENCODED).to_string()
}

/// Percent-encodes one name for an `href`.
pub(super) fn encode_name(name: &[u8]) -> String {
    percent_encode(name, &NAME_ENCODED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_survive_encoding_and_decoding() {
        let name: Vec<u8> = (1..=255).filter(|byte| *byte != b'/').collect();
        let parsed = RequestPath::parse(&format!("/{}", encode_path(&name))).unwrap();
        assert_eq!(
            parsed,
            RequestPath {
                relative: name,
                directory: false
            }
        );
    }

    #[test]
    fn directories_end_in_a_slash() {
        let parsed = RequestPath::parse("/a%20b/c/").unwrap();
        assert_eq!(
            parsed,
            RequestPath {
                relative: b"a b/c".to_vec(),
                directory: true
            }
        );
        assert_eq!(
            RequestPath::parse("/").unwrap(),
            RequestPath {
                relative: Vec::new(),
                directory: true
            }
        );
    }

    #[test]
    fn paths_no_file_can_have_are_refused() {
        for bad in [
            "/..",
            "/a/../b",
            "/a/./b",
            "/a//b",
            "/%2e%2e/x",
            "/a%00b",
            "//",
        ] {
            assert_eq!(
                RequestPath::parse(bad),
                Err(PathError::BadComponent),
                "{bad}"
            );
        }
        assert_eq!(RequestPath::parse("*"), Err(PathError::NotAbsolute));
    }
}
