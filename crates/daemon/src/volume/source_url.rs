//! The SOURCE argument, parsed, and its canonical form.
//!
//! Invariant: the canonical form ([`SourceUrl::volume_key`]) parses to the same [`SourceUrl`] again and holds no secret.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, CONTROLS, percent_decode, percent_encode};
use url::Url;

/// Longest volume key, in bytes.
pub const VOLUME_KEY_BYTES_MAX: usize = 4096;
/// What is escaped in the path of a canonical `file://` source.
const FILE_PATH_ESCAPES: &AsciiSet = &CONTROLS.add(b'%').add(b' ').add(b'?').add(b'#');

/// Where a volume's bytes come from, parsed from the SOURCE argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceUrl {
    /// A directory, or a single file, of this machine or a network file system: an absolute path.
    Directory(PathBuf),
    /// A tree (the path ends in `/`) or a single file behind HTTP or HTTPS. No user, no password, no fragment.
    Http(Url),
    /// A bucket of an S3-compatible store.
    S3(S3Url),
}

/// A prefix of an S3 bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Url {
    /// The bucket's name.
    pub bucket: String,
    /// Key prefix without leading or trailing slash; empty for the whole bucket.
    pub prefix: String,
    /// The server, e.g. `http://127.0.0.1:9000`; the usual environment or AWS when absent.
    pub endpoint: Option<String>,
    /// The region; the usual environment when absent.
    pub region: Option<String>,
}

/// Why a SOURCE is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceUrlError {
    /// None of the known schemes.
    #[error("a source is dir:/path, file:///path, http://…, https://… or s3://bucket/prefix")]
    UnknownScheme,
    /// Not a well-formed URL of its scheme.
    #[error("not a well-formed source: {0}")]
    Malformed(String),
    /// User or password inside the URL.
    #[error("a source must not hold a user or password: give them by the environment or a file")]
    SecretInUrl,
    /// A query where none makes sense, or an unknown parameter.
    #[error("unknown parameter in the source: {0}")]
    UnknownParameter(String),
    /// The canonical form is longer than [`VOLUME_KEY_BYTES_MAX`] or holds a NUL.
    #[error("the source is longer than 4096 bytes or holds a NUL byte")]
    TooLong,
}

impl SourceUrl {
    /// Parses a SOURCE argument. A relative `dir:` path is taken from the current directory; `file:///path` is an
    /// alias of `dir:` with percent-escapes.
    ///
    /// # Errors
    /// See [`SourceUrlError`]; each variant says when.
    pub fn parse(source: &OsStr) -> Result<SourceUrl, SourceUrlError> {
        let bytes = source.as_bytes();
        let parsed = if let Some(path) = bytes.strip_prefix(b"dir:") {
            parse_directory(path)
        } else if bytes.starts_with(b"file:") {
            parse_file_url(bytes)
        } else {
            let text = source
                .to_str()
                .ok_or_else(|| SourceUrlError::Malformed("not UTF-8".into()))?;
            match text
                .split_once("://")
                .map(|(scheme, _)| scheme.to_ascii_lowercase())
                .as_deref()
            {
                Some("http" | "https") => parse_http(text),
                Some("s3") => parse_s3(text),
                Some(_) | None => Err(SourceUrlError::UnknownScheme),
            }
        }?;
        let key = parsed.volume_key();
        if key.len() > VOLUME_KEY_BYTES_MAX || key.as_bytes().contains(&0) {
            Err(SourceUrlError::TooLong)
        } else {
            Ok(parsed)
        }
    }

    /// The canonical form: the volume key. `dir:` paths that are not UTF-8 or hold control characters are written
    /// as `file://` with percent-escapes.
    #[must_use]
    pub fn volume_key(&self) -> String {
        match self {
            SourceUrl::Directory(path) => directory_key(path),
            SourceUrl::Http(url) => url.as_str().to_owned(),
            SourceUrl::S3(s3) => s3.canonical(),
        }
    }

    /// The same source with the symbolic links of a `dir:` path resolved, so that one directory has one key.
    ///
    /// # Errors
    /// What realpath(3) says of a `dir:` path: it does not exist, or may not be looked at.
    pub fn resolved(self) -> io::Result<SourceUrl> {
        match self {
            SourceUrl::Directory(path) => Ok(SourceUrl::Directory(fs::canonicalize(path)?)),
            SourceUrl::Http(url) => Ok(SourceUrl::Http(url)),
            SourceUrl::S3(s3) => Ok(SourceUrl::S3(s3)),
        }
    }
}

impl S3Url {
    fn canonical(&self) -> String {
        let mut url = Url::parse("s3://bucket/").expect("a constant URL is well formed");
        url.set_path(&self.prefix);
        for (name, value) in [("endpoint", &self.endpoint), ("region", &self.region)] {
            if let Some(value) = value {
                url.query_pairs_mut().append_pair(name, value);
            }
        }
        url.as_str()
            .replacen("s3://bucket", &format!("s3://{}", self.bucket), 1)
    }
}

fn directory_key(path: &Path) -> String {
    match path.to_str() {
        Some(text) if !text.contains(|c: char| c.is_control()) => format!("dir:{text}"),
        Some(_) | None => format!(
            "file://{}",
            percent_encode(path.as_os_str().as_bytes(), FILE_PATH_ESCAPES)
        ),
    }
}

fn parse_directory(path: &[u8]) -> Result<SourceUrl, SourceUrlError> {
    let path = std::path::absolute(OsStr::from_bytes(path))
        .map_err(|e| SourceUrlError::Malformed(e.to_string()))?;
    // `components` drops the trailing slash and doubled slashes, which name the same directory.
    Ok(SourceUrl::Directory(path.components().collect()))
}

fn parse_file_url(bytes: &[u8]) -> Result<SourceUrl, SourceUrlError> {
    let rest = bytes
        .strip_prefix(b"file://")
        .ok_or_else(|| SourceUrlError::Malformed("file: needs file:///path".into()))?;
    let path = rest.strip_prefix(b"localhost").unwrap_or(rest);
    if !path.starts_with(b"/") {
        return Err(SourceUrlError::Malformed(
            "file: needs an absolute path, file:///path".into(),
        ));
    }
    let decoded: Vec<u8> = percent_decode(path).collect();
    parse_directory(std::ffi::OsString::from_vec(decoded).as_bytes())
}

fn parse_http(text: &str) -> Result<SourceUrl, SourceUrlError> {
    let mut url = Url::parse(text).map_err(|e| SourceUrlError::Malformed(e.to_string()))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(SourceUrlError::SecretInUrl);
    }
    url.set_fragment(None);
    if url.path().ends_with('/') && url.query().is_some() {
        return Err(SourceUrlError::UnknownParameter(
            "a tree takes no query".into(),
        ));
    }
    Ok(SourceUrl::Http(url))
}

fn parse_s3(text: &str) -> Result<SourceUrl, SourceUrlError> {
    let url = Url::parse(text).map_err(|e| SourceUrlError::Malformed(e.to_string()))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(SourceUrlError::SecretInUrl);
    }
    let bucket = url
        .host_str()
        .filter(|b| !b.is_empty())
        .ok_or_else(|| SourceUrlError::Malformed("no bucket".into()))?;
    let prefix = percent_decode(url.path().as_bytes())
        .decode_utf8()
        .map_err(|_| SourceUrlError::Malformed("the prefix is not UTF-8".into()))?;
    let mut s3 = S3Url {
        bucket: bucket.to_owned(),
        prefix: prefix.trim_matches('/').to_owned(),
        endpoint: None,
        region: None,
    };
    for (name, value) in url.query_pairs() {
        match name.as_ref() {
            "endpoint" => s3.endpoint = Some(value.trim_end_matches('/').to_owned()),
            "region" => s3.region = Some(value.into_owned()),
            other => return Err(SourceUrlError::UnknownParameter(other.to_owned())),
        }
    }
    Ok(SourceUrl::S3(s3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<SourceUrl, SourceUrlError> {
        SourceUrl::parse(OsStr::new(text))
    }

    #[test]
    fn canonical_forms_parse_to_themselves() {
        for (given, canonical) in [
            ("dir:/srv//data/", "dir:/srv/data"),
            ("file:///srv/a%20b", "dir:/srv/a b"),
            ("file:///srv/a%0Ab", "file:///srv/a%0Ab"),
            ("file:///srv/%FF", "file:///srv/%FF"),
            ("HTTP://Example.org:80/tree/", "http://example.org/tree/"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/"),
            ("https://h/file.iso?x=1#frag", "https://h/file.iso?x=1"),
            ("s3://bucket/a/b/", "s3://bucket/a/b"),
            ("s3://bucket/", "s3://bucket"),
            (
                "s3://b/p?region=r&endpoint=http://h:9/",
                "s3://b/p?endpoint=http%3A%2F%2Fh%3A9&region=r",
            ),
        ] {
            let parsed = parse(given).unwrap();
            assert_eq!(parsed.volume_key(), canonical, "{given}");
            assert_eq!(parse(canonical).unwrap(), parsed, "{given}");
        }
    }

    #[test]
    fn bad_sources_are_refused() {
        assert_eq!(parse("ftp://x/"), Err(SourceUrlError::UnknownScheme));
        assert_eq!(parse("/srv/data"), Err(SourceUrlError::UnknownScheme));
        assert_eq!(parse("http://user:pw@h/"), Err(SourceUrlError::SecretInUrl));
        assert!(matches!(
            parse("s3://b/?color=red"),
            Err(SourceUrlError::UnknownParameter(_))
        ));
        assert!(matches!(
            parse("http://h/tree/?x"),
            Err(SourceUrlError::UnknownParameter(_))
        ));
        assert_eq!(
            parse(&format!("dir:/{}", "x".repeat(5000))),
            Err(SourceUrlError::TooLong)
        );
    }
}
