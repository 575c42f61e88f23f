//! The `s3://` source, by OpenDAL: a prefix of a bucket as a tree.
//!
//! Invariant (H04): a version is ETag and size; every read carries `If-Match`, and the answer's own ETag and size are
//! compared, since not every server obeys it. Keys that cannot be paths (empty components, `.` and `..`) are not shown,
//! and the log says so; where a key and a prefix have one name, a listing shows the prefix. S3 has no modes and no
//! links, and its keys are UTF-8, so no other names exist.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt};
use holdfast_proto::ByteRange;
use holdfast_proto::key::{RelativePath, check_name};
use holdfast_proto::listing::{Entry, EntryKind, Mtime};
use opendal::layers::{RetryLayer, TimeoutLayer};
use opendal::services::S3;
use opendal::{ErrorKind, Metadata, Operator};

use super::{ByteStream, LISTING_ENTRIES_MAX, ROOT_NAME, Source};
use crate::errno::{Outage, SourceError};
use crate::retry::RETRIES_MAX;
use crate::volume::{Auth, S3Url, SourceUrl, VolumeConfig};

/// Longest wait for an answer to one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest silence inside a body.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(20);
/// Region of servers that have none.
const REGION_DEFAULT: &str = "us-east-1";

/// A prefix of a bucket.
#[derive(Debug)]
pub struct S3Source {
    operator: Operator,
    place: String,
}

/// A version of an object.
#[derive(Debug, PartialEq, Eq)]
struct Version<'a> {
    size: u64,
    etag: &'a str,
}

impl S3Source {
    /// The prefix at `url`; the server is not asked yet.
    ///
    /// # Errors
    /// [`SourceError::Unsupported`] when OpenDAL refuses the settings or the credentials are no S3 ones.
    pub fn new(url: &S3Url, config: &VolumeConfig) -> Result<S3Source, SourceError> {
        opendal::install_default();
        let place = SourceUrl::S3(url.clone()).volume_key();
        let unsupported = |detail: String| SourceError::Unsupported {
            place: place.clone(),
            detail,
        };
        let mut builder = S3::default()
            .bucket(&url.bucket)
            .root(&format!("/{}", url.prefix));
        if let Some(endpoint) = &url.endpoint {
            builder = builder.endpoint(endpoint);
        }
        builder = match &url.region {
            Some(region) => builder.region(region),
            // With an endpoint of one's own there is often no region, and the environment's would be another's.
            None if url.endpoint.is_some() => builder.region(REGION_DEFAULT),
            None => builder,
        };
        builder = match &config.auth {
            Auth::None if config.options.anonymous => builder.skip_signature(),
            Auth::None => builder,
            Auth::S3 {
                access_key_id,
                secret_access_key,
                session_token,
            } => {
                let builder = builder
                    .access_key_id(access_key_id)
                    .secret_access_key(secret_access_key);
                let builder = builder.disable_config_load().disable_ec2_metadata();
                session_token
                    .iter()
                    .fold(builder, |builder, token| builder.session_token(token))
            }
            Auth::Basic { .. } | Auth::Bearer { .. } => {
                return Err(unsupported("S3 takes S3 keys".into()));
            }
        };
        let operator = Operator::new(builder).map_err(|e| unsupported(e.message().to_owned()))?;
        let timeout = TimeoutLayer::new()
            .with_timeout(REQUEST_TIMEOUT)
            .with_io_timeout(SILENCE_TIMEOUT);
        let retry = RetryLayer::new()
            .with_jitter()
            .with_max_times(RETRIES_MAX)
            .with_min_delay(Duration::from_millis(100));
        Ok(S3Source {
            operator: operator.layer(timeout).layer(retry),
            place,
        })
    }

    fn place(&self, path: &RelativePath) -> String {
        format!("{}{path}", self.place)
    }

    fn error(&self, error: &opendal::Error, path: &RelativePath) -> SourceError {
        source_error(error, self.place(path))
    }

    async fn object(&self, path: &RelativePath) -> Result<Option<Entry>, SourceError> {
        let (Some(key), Some(name)) = (key(path), path.file_name()) else {
            return Ok(None);
        };
        match self.operator.stat(key).await {
            Ok(metadata) if metadata.is_file() => Ok(Some(file(name, &metadata))),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.error(&error, path)),
        }
    }

    /// Whether any key lies below `path`.
    async fn is_prefix(&self, path: &RelativePath) -> Result<bool, SourceError> {
        let Some(key) = key(path) else {
            return Ok(false);
        };
        let lister = self.operator.lister_with(&format!("{key}/")).limit(2).await;
        let mut lister = match lister {
            Ok(lister) => lister,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(self.error(&error, path)),
        };
        match lister.next().await {
            None => Ok(false),
            Some(Ok(_)) => Ok(true),
            Some(Err(error)) if error.kind() == ErrorKind::NotFound => Ok(false),
            Some(Err(error)) => Err(self.error(&error, path)),
        }
    }

    fn listed(&self, entry: &opendal::Entry, prefix: &str, path: &RelativePath) -> Option<Entry> {
        let name = entry
            .path()
            .strip_prefix(prefix)?
            .trim_end_matches('/')
            .as_bytes();
        // The marker object of the directory itself.
        if name.is_empty() {
            return None;
        }
        if let Err(error) = check_name(name) {
            tracing::warn!(place = %self.place(path), key = entry.path(), %error, "left out of the listing");
            return None;
        }
        Some(if entry.metadata().is_dir() {
            directory(name)
        } else {
            file(name, entry.metadata())
        })
    }
}

#[async_trait]
impl Source for S3Source {
    async fn entry(&self, path: &RelativePath) -> Result<Option<Entry>, SourceError> {
        let Some(name) = path.file_name() else {
            return Ok(Some(directory(ROOT_NAME)));
        };
        match self.object(path).await {
            Ok(Some(entry)) => Ok(Some(entry)),
            Ok(None) => Ok(self.is_prefix(path).await?.then(|| directory(name))),
            // Servers that keep objects in a file system fail on HEAD of what is a directory there.
            Err(
                error @ SourceError::GaveUp {
                    outage: Outage::Busy,
                    ..
                },
            ) => match self.is_prefix(path).await {
                Ok(true) => Ok(Some(directory(name))),
                Ok(false) | Err(_) => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    async fn check(&self) -> Result<(), SourceError> {
        let root = RelativePath::root();
        let failed = |e: opendal::Error| self.error(&e, &root);
        let mut lister = self
            .operator
            .lister_with("/")
            .limit(1)
            .await
            .map_err(failed)?;
        // An empty bucket or prefix is a good source.
        lister.try_next().await.map_err(failed)?;
        Ok(())
    }

    async fn list(&self, path: &RelativePath) -> Result<Vec<Entry>, SourceError> {
        let Some(key) = key(path) else {
            return Err(SourceError::NotFound {
                place: self.place(path),
            });
        };
        let prefix = if key.is_empty() {
            String::new()
        } else {
            format!("{key}/")
        };
        let asked = if prefix.is_empty() { "/" } else { &prefix };
        let mut lister = self
            .operator
            .lister_with(asked)
            .await
            .map_err(|e| self.error(&e, path))?;
        let mut entries: Vec<Entry> = Vec::new();
        let mut seen_any = false;
        while let Some(entry) = lister.try_next().await.map_err(|e| self.error(&e, path))? {
            seen_any = true;
            if entries.len() >= LISTING_ENTRIES_MAX {
                return Err(SourceError::TooBig {
                    place: self.place(path),
                    detail: "more than 16 Mi keys".into(),
                });
            }
            entries.extend(self.listed(&entry, &prefix, path));
        }
        if !seen_any && !path.is_root() {
            return Err(SourceError::NotFound {
                place: self.place(path),
            });
        }
        // Directories first within a name, so that they win over an object of the same name.
        entries.sort_unstable_by(|a, b| {
            a.name
                .cmp(&b.name)
                .then_with(|| is_file(a).cmp(&is_file(b)))
        });
        entries.dedup_by(|later, earlier| later.name == earlier.name);
        Ok(entries)
    }

    async fn open_check(
        &self,
        path: &RelativePath,
        validator: &[u8],
        _expected: Option<u64>,
    ) -> Result<u64, SourceError> {
        // Every read carries If-Match, so a round trip now would prove nothing more.
        Ok(self.version(path, validator)?.size)
    }

    async fn read(
        &self,
        path: &RelativePath,
        validator: &[u8],
        _size: u64,
        range: ByteRange,
    ) -> Result<ByteStream, SourceError> {
        let wanted = self.version(path, validator)?;
        let Some(key) = key(path) else {
            return Err(SourceError::NotFound {
                place: self.place(path),
            });
        };
        let error = |e: opendal::Error| self.error(&e, path);
        let reader = self
            .operator
            .reader_with(key)
            .if_match(wanted.etag)
            .await
            .map_err(error)?;
        let range = range.offset..range.end();
        let mut bytes = reader.into_bytes_stream(range).await.map_err(error)?;
        // Not every server obeys If-Match: the answer itself must show the version.
        let metadata = bytes.metadata().await.map_err(error)?;
        let got = Version {
            size: metadata.content_length(),
            etag: metadata.etag().unwrap_or(""),
        };
        if got != wanted {
            let detail = format!("wanted {wanted:?}, got {got:?}");
            return Err(SourceError::Changed {
                place: self.place(path),
                detail,
            });
        }
        let place = self.place(path);
        Ok(Box::pin(
            bytes.map_err(move |error| stream_error(&error, &place)),
        ))
    }
}

impl S3Source {
    fn version<'a>(
        &self,
        path: &RelativePath,
        validator: &'a [u8],
    ) -> Result<Version<'a>, SourceError> {
        let unknown = || SourceError::Changed {
            place: self.place(path),
            detail: "the version wanted is not one of this source".into(),
        };
        Version::parse(validator).ok_or_else(unknown)
    }
}

impl<'a> Version<'a> {
    fn encode(&self) -> Vec<u8> {
        format!("s3v1:{}:{}", self.size, self.etag).into_bytes()
    }

    fn parse(validator: &'a [u8]) -> Option<Version<'a>> {
        let (size, etag) = std::str::from_utf8(validator)
            .ok()?
            .strip_prefix("s3v1:")?
            .split_once(':')?;
        Some(Version {
            size: size.parse().ok()?,
            etag,
        })
    }
}

/// The key of a path below the source's prefix; `None` for names that are not UTF-8 and so do not exist.
fn key(path: &RelativePath) -> Option<&str> {
    std::str::from_utf8(path.as_bytes()).ok()
}

fn is_file(entry: &Entry) -> bool {
    entry.kind == EntryKind::File
}

fn directory(name: &[u8]) -> Entry {
    Entry {
        name: name.to_vec(),
        kind: EntryKind::Directory,
        size: None,
        mode: None,
        mtime: None,
        validator: Vec::new(),
    }
}

fn file(name: &[u8], metadata: &Metadata) -> Entry {
    let size = metadata.content_length();
    let validator = metadata.etag().map(|etag| Version { size, etag }.encode());
    Entry {
        name: name.to_vec(),
        kind: EntryKind::File,
        // Without a version in the listing the entry must be asked for.
        size: validator.is_some().then_some(size),
        mode: None,
        // Whole seconds: HEAD tells no more, and both must agree.
        mtime: metadata.last_modified().map(|time| Mtime {
            s: time.into_inner().as_second(),
            ns: 0,
        }),
        validator: validator.unwrap_or_default(),
    }
}

/// OpenDAL hands a failure inside a stream on as an I/O error.
fn stream_error(error: &std::io::Error, place: &str) -> SourceError {
    match error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<opendal::Error>())
    {
        Some(error) => source_error(error, place.to_owned()),
        None => SourceError::GaveUp {
            place: place.to_owned(),
            outage: Outage::Reset,
            detail: error.to_string(),
        },
    }
}

/// The one map of OpenDAL's kinds; its enum is open, so what is new counts as a failure of the origin.
fn source_error(error: &opendal::Error, place: String) -> SourceError {
    // The message alone: the full text holds addresses and headers of the request.
    let detail = error.message().to_owned();
    match error.kind() {
        ErrorKind::NotFound => SourceError::NotFound { place },
        ErrorKind::PermissionDenied => SourceError::Denied { place },
        ErrorKind::IsADirectory => SourceError::IsADirectory { place },
        ErrorKind::NotADirectory => SourceError::NotADirectory { place },
        ErrorKind::ConditionNotMatch | ErrorKind::RangeNotSatisfied => {
            SourceError::Changed { place, detail }
        }
        ErrorKind::RateLimited => SourceError::GaveUp {
            place,
            outage: Outage::Busy,
            detail,
        },
        ErrorKind::Unsupported | ErrorKind::ConfigInvalid => {
            SourceError::Unsupported { place, detail }
        }
        _ => match outage(error) {
            Some(outage) => SourceError::GaveUp {
                place,
                outage,
                detail,
            },
            None => SourceError::Failed { place, detail },
        },
    }
}

/// OpenDAL does not tell kinds of outage apart; the causes below it do.
fn outage(error: &opendal::Error) -> Option<Outage> {
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        match inner
            .downcast_ref::<std::io::Error>()
            .map(std::io::Error::kind)
        {
            Some(std::io::ErrorKind::ConnectionRefused) => return Some(Outage::Refused),
            Some(std::io::ErrorKind::TimedOut) => return Some(Outage::Timeout),
            Some(std::io::ErrorKind::ConnectionReset) => return Some(Outage::Reset),
            Some(_) | None => {}
        }
        cause = inner.source();
    }
    match std::error::Error::source(error) {
        Some(_) => Some(Outage::Unreachable),
        // No cause below: the server did answer, and OpenDAL counts the answer among those that may pass (500 and kin).
        None => (error.is_temporary() || error.is_persistent()).then_some(Outage::Busy),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_round_trip() {
        let version = Version {
            size: 5,
            etag: "\"a:b\"",
        };
        assert_eq!(Version::parse(&version.encode()), Some(version));
        assert_eq!(Version::parse(b"http1:e:5:x"), None);
    }
}
