//! Versions of a file behind HTTP: how they are named, asked for and recognised.
//!
//! Invariants (H04): a version's text decides the request's condition and what the answer must show; the server's
//! obedience is not trusted, the answer's own headers are compared too.
//!
//! nginx makes its ETag from mtime and size alone. Such an ETag says no more than the two, so the version is named by
//! them: then a name in nginx's JSON index and the same name asked for by HEAD have one version, and one cached copy.

use reqwest::RequestBuilder;
use reqwest::header::{ETAG, HeaderMap, HeaderName, IF_MATCH, IF_UNMODIFIED_SINCE, LAST_MODIFIED};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A version of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Version {
    /// Length of the file, in bytes.
    pub(super) size: u64,
    /// What else tells it from others.
    pub(super) mark: Mark,
}

/// What tells a version from others of the same size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mark {
    /// A strong ETag, with its quotes.
    Etag(String),
    /// Last-Modified, in seconds since 1970; must be shown by every answer.
    Modified(i64),
    /// A weak ETag, with `W/` and quotes; must be shown by every answer.
    WeakEtag(String),
    /// The mtime that a manifest states; compared where the server shows one.
    Manifest(i64),
    /// The server tells nothing but the size.
    SizeOnly,
}

impl Version {
    /// The version that an answer's headers show, its file being `size` bytes long.
    pub(super) fn of(headers: &HeaderMap, size: u64) -> Version {
        let modified = last_modified(headers);
        let mark = match (text(headers, &ETAG), modified) {
            (Some(etag), Some(modified)) if is_nginx_etag(etag, modified, size) => {
                Mark::Modified(modified)
            }
            (Some(etag), _) if etag.starts_with('"') => Mark::Etag(etag.to_owned()),
            (_, Some(modified)) => Mark::Modified(modified),
            (Some(etag), None) if etag.starts_with("W/") => Mark::WeakEtag(etag.to_owned()),
            (Some(_) | None, None) => Mark::SizeOnly,
        };
        Version { size, mark }
    }

    /// The validator.
    pub(super) fn encode(&self) -> Vec<u8> {
        let size = self.size;
        match &self.mark {
            Mark::Etag(etag) => format!("http1:e:{size}:{etag}"),
            Mark::Modified(modified) => format!("http1:m:{size}:{modified}"),
            Mark::WeakEtag(etag) => format!("http1:w:{size}:{etag}"),
            Mark::Manifest(modified) => format!("http1:f:{size}:{modified}"),
            Mark::SizeOnly => format!("http1:s:{size}:"),
        }
        .into_bytes()
    }

    /// The version that [`Version::encode`] named; `None` for anything else.
    pub(super) fn parse(validator: &[u8]) -> Option<Version> {
        let text = std::str::from_utf8(validator)
            .ok()?
            .strip_prefix("http1:")?;
        let (kind, rest) = text.split_once(':')?;
        let (size, mark) = rest.split_once(':')?;
        let size = size.parse().ok()?;
        let mark = match kind {
            "e" => Mark::Etag(mark.to_owned()),
            "m" => Mark::Modified(mark.parse().ok()?),
            "w" => Mark::WeakEtag(mark.to_owned()),
            "f" => Mark::Manifest(mark.parse().ok()?),
            "s" if mark.is_empty() => Mark::SizeOnly,
            _ => return None,
        };
        Some(Version { size, mark })
    }

    /// Asks the server to answer for this version only.
    pub(super) fn condition(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.mark {
            Mark::Etag(etag) => request.header(IF_MATCH, etag),
            Mark::Modified(modified) => match since_epoch(*modified) {
                Some(time) => request.header(IF_UNMODIFIED_SINCE, httpdate::fmt_http_date(time)),
                None => request,
            },
            Mark::WeakEtag(_) | Mark::Manifest(_) | Mark::SizeOnly => request,
        }
    }

    /// Compares an answer's headers with this version.
    ///
    /// # Errors
    /// What differs, in words.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), String> {
        let differs = |what: &str, wanted: &str, got: Option<String>| {
            Err(format!(
                "{what}: wanted {wanted}, got {}",
                got.unwrap_or_else(|| "none".into())
            ))
        };
        let etag = text(headers, &ETAG);
        let modified = last_modified(headers);
        match &self.mark {
            // A server may leave the ETag out of a 206 to a request with If-Match; it may not send another.
            Mark::Etag(wanted) if etag.is_some_and(|etag| etag != wanted) => {
                differs("ETag", wanted, etag.map(str::to_owned))
            }
            Mark::WeakEtag(wanted) if etag != Some(wanted) => {
                differs("ETag", wanted, etag.map(str::to_owned))
            }
            Mark::Modified(wanted) if modified != Some(*wanted) => differs(
                "Last-Modified",
                &wanted.to_string(),
                modified.map(|m| m.to_string()),
            ),
            Mark::Manifest(wanted) if modified.is_some_and(|modified| modified != *wanted) => {
                differs(
                    "Last-Modified (the manifest's mtime)",
                    &wanted.to_string(),
                    modified.map(|m| m.to_string()),
                )
            }
            Mark::Etag(_)
            | Mark::WeakEtag(_)
            | Mark::Modified(_)
            | Mark::Manifest(_)
            | Mark::SizeOnly => Ok(()),
        }
    }
}

/// Last-Modified, in seconds since 1970.
pub(super) fn last_modified(headers: &HeaderMap) -> Option<i64> {
    text(headers, &LAST_MODIFIED).and_then(http_date)
}

/// An HTTP date, in seconds since 1970.
pub(super) fn http_date(date: &str) -> Option<i64> {
    let time = httpdate::parse_http_date(date).ok()?;
    i64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_secs()).ok()
}

fn since_epoch(seconds: i64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(seconds).ok()?))
}

fn is_nginx_etag(etag: &str, modified: i64, size: u64) -> bool {
    etag == format!("\"{modified:x}-{size:x}\"")
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.clone(), value.parse().unwrap()))
            .collect()
    }

    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const SECONDS: i64 = 784_111_777;

    #[test]
    fn validators_round_trip() {
        for mark in [
            Mark::Etag("\"a:b\"".into()),
            Mark::Modified(SECONDS),
            Mark::WeakEtag("W/\"x\"".into()),
            Mark::Manifest(-5),
            Mark::SizeOnly,
        ] {
            let version = Version { size: 77, mark };
            assert_eq!(Version::parse(&version.encode()), Some(version));
        }
        for bad in [
            &b""[..],
            b"http1:e:x:y",
            b"http1:z:1:",
            b"http1:s:1:x",
            b"\xff",
        ] {
            assert_eq!(Version::parse(bad), None);
        }
    }

    #[test]
    fn the_strongest_mark_names_the_version() {
        let nginx = format!("\"{SECONDS:x}-{:x}\"", 10);
        let of = |pairs: &[(HeaderName, &str)]| Version::of(&headers(pairs), 10).mark;
        assert_eq!(
            of(&[(ETAG, "\"x\""), (LAST_MODIFIED, DATE)]),
            Mark::Etag("\"x\"".into())
        );
        assert_eq!(
            of(&[(ETAG, &nginx), (LAST_MODIFIED, DATE)]),
            Mark::Modified(SECONDS)
        );
        assert_eq!(
            of(&[(ETAG, "W/\"x\""), (LAST_MODIFIED, DATE)]),
            Mark::Modified(SECONDS)
        );
        assert_eq!(of(&[(ETAG, "W/\"x\"")]), Mark::WeakEtag("W/\"x\"".into()));
        assert_eq!(of(&[]), Mark::SizeOnly);
    }

    #[test]
    fn h04_other_headers_than_the_versions_are_noticed() {
        let etag = Version {
            size: 1,
            mark: Mark::Etag("\"x\"".into()),
        };
        assert!(etag.check(&headers(&[(ETAG, "\"x\"")])).is_ok());
        assert!(etag.check(&headers(&[(ETAG, "\"y\"")])).is_err());
        let modified = Version {
            size: 1,
            mark: Mark::Modified(SECONDS),
        };
        assert!(modified.check(&headers(&[(LAST_MODIFIED, DATE)])).is_ok());
        assert!(
            modified
                .check(&headers(&[(
                    LAST_MODIFIED,
                    "Sun, 06 Nov 1994 08:49:38 GMT"
                )]))
                .is_err()
        );
        assert!(modified.check(&headers(&[])).is_err());
    }
}
