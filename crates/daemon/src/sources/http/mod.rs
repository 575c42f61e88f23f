//! The `http://` and `https://` source: a tree (its listings from the server's index or from a manifest) or one file.
//!
//! Built on reqwest, not on OpenDAL's HTTP service: that one hides the answer's headers (no ETag of a range, no
//! Content-Range, no final address of a redirect), cannot list, and cannot name paths that are not UTF-8.
//!
//! Invariant (H04): bytes are taken only from answers that show the version asked for; see `version`.
//! Limits: what the server's index hides (nginx hides names that begin with a dot) is not listed, though it can be
//! opened by name; a directory is known by the server's redirect to its name with a slash.

mod body;
mod client;
mod index_html;
mod index_nginx_json;
mod trusted_manifest;
mod version;

use async_trait::async_trait;
use futures_util::StreamExt;
use holdfast_proto::ByteRange;
use holdfast_proto::key::{RelativePath, check_name};
use holdfast_proto::listing::{Entry, EntryKind, Mtime};
use reqwest::header::{ALLOW, CONTENT_TYPE, HeaderMap, RANGE};
use reqwest::{Method, Response, StatusCode};
use tokio::sync::OnceCell;
use url::Url;

use self::client::{Client, body_error, child, place, send, status_error};
use self::trusted_manifest::TrustedManifest;
use self::version::{Version, last_modified};
use super::{ByteStream, LISTING_BYTES_MAX, LISTING_ENTRIES_MAX, ROOT_NAME, Source};
use crate::errno::SourceError;
use crate::volume::VolumeConfig;

/// A tree or a file behind HTTP.
#[derive(Debug)]
pub struct HttpSource {
    client: Client,
    url: Url,
    layout: OnceCell<Layout>,
    manifest_option: Option<String>,
}

/// What the source's address leads to.
#[derive(Debug)]
enum Layout {
    Tree {
        base: Url,
        manifest: Box<TrustedManifest>,
    },
    /// One file: the tree has one entry, named as the address's last segment.
    File { name: Vec<u8> },
}

/// What a name turned out to be.
enum Probe {
    Absent,
    Directory {
        mtime: Option<i64>,
    },
    File {
        version: Version,
        mtime: Option<i64>,
    },
}

impl HttpSource {
    /// The tree or file at `url`; the server is not asked yet.
    ///
    /// # Errors
    /// [`SourceError::Unsupported`] when TLS cannot be set up or the credentials are no HTTP ones.
    pub fn new(url: Url, config: &VolumeConfig) -> Result<HttpSource, SourceError> {
        let client = Client::new(&url, &config.auth)?;
        Ok(HttpSource {
            client,
            url,
            layout: OnceCell::new(),
            manifest_option: config.options.manifest.clone(),
        })
    }

    async fn layout(&self) -> Result<&Layout, SourceError> {
        self.layout.get_or_try_init(|| self.find_layout()).await
    }

    async fn find_layout(&self) -> Result<Layout, SourceError> {
        if self.url.path().ends_with('/') {
            return self.tree(self.url.clone());
        }
        match self.probe(&self.url).await? {
            Probe::Absent => Err(SourceError::NotFound {
                place: place(&self.url),
            }),
            Probe::Directory { .. } => self.tree(child(&self.url, b"", true)),
            Probe::File { .. } => Ok(Layout::File {
                name: file_name(&self.url)?,
            }),
        }
    }

    fn tree(&self, base: Url) -> Result<Layout, SourceError> {
        let manifest = TrustedManifest::new(&base, self.manifest_option.as_deref())?;
        Ok(Layout::Tree {
            base,
            manifest: Box::new(manifest),
        })
    }

    /// The address of a file, for reading.
    async fn file_url(&self, path: &RelativePath) -> Result<Url, SourceError> {
        match self.layout().await? {
            Layout::Tree { base, .. } => Ok(child(base, path.as_bytes(), false)),
            Layout::File { name } if path.as_bytes() == name => Ok(self.url.clone()),
            Layout::File { .. } => Err(SourceError::NotFound {
                place: place(&self.url),
            }),
        }
    }

    /// Asks what is at `url`: by HEAD, or by a GET of one byte where HEAD is not allowed or tells no length.
    async fn probe(&self, url: &Url) -> Result<Probe, SourceError> {
        let response = send(self.client.request(Method::HEAD, url), url).await?;
        let no_head = matches!(
            response.status(),
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED
        );
        // Many programs answer HEAD with "Content-Length: 0" whatever GET would give: not believed unasked.
        let no_length = response.status().is_success()
            && body::length(response.headers()).is_none_or(|length| length == 0);
        let unanswered = no_head || (no_length && !is_directory(&response, url));
        if !unanswered {
            return probed(&response, url, body::length(response.headers()));
        }
        tracing::debug!(url = %place(url), allow = ?response.headers().get(ALLOW), "HEAD does not do, asking by GET");
        let response = send(
            self.client
                .request(Method::GET, url)
                .header(RANGE, "bytes=0-0"),
            url,
        )
        .await?;
        let size = match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                body::content_range(response.headers()).and_then(|(_, _, total)| total)
            }
            // An empty file has no byte 0: `Content-Range: bytes */0`.
            StatusCode::RANGE_NOT_SATISFIABLE => return empty_file(&response, url),
            _ => body::length(response.headers()),
        };
        probed(&response, url, size)
    }

    async fn fetch_listing(&self, url: &Url) -> Result<Vec<Entry>, SourceError> {
        let response = send(self.client.request(Method::GET, url), url).await?;
        if response.status() != StatusCode::OK {
            return Err(status_error(response.status(), url));
        }
        let base = response.url().clone();
        if !base.path().ends_with('/') {
            return Err(SourceError::NotADirectory { place: place(url) });
        }
        let kind = response
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok())
            .unwrap_or("")
            .to_ascii_lowercase();
        let document = whole_body(response, url, LISTING_BYTES_MAX).await?;
        let parse = move || match kind.split(';').next().map(str::trim) {
            Some("application/json") => index_nginx_json::parse(&document),
            Some("text/html" | "application/xhtml+xml") => index_html::parse(&document, &base),
            other => Err(format!("a directory index of type {other:?}")),
        };
        let entries =
            tokio::task::block_in_place(parse).map_err(|detail| SourceError::Malformed {
                place: place(url),
                detail,
            })?;
        if entries.len() > LISTING_ENTRIES_MAX {
            return Err(SourceError::TooBig {
                place: place(url),
                detail: "more than 16 Mi entries".into(),
            });
        }
        Ok(entries
            .into_iter()
            .filter(|entry| check_listed_name(entry, url))
            .collect())
    }

    async fn probed_entry(&self, url: &Url, name: Vec<u8>) -> Result<Option<Entry>, SourceError> {
        let entry = |kind, size, mtime: Option<i64>, validator| {
            Some(Entry {
                name,
                kind,
                size,
                mode: None,
                mtime: mtime.map(|s| Mtime { s, ns: 0 }),
                validator,
            })
        };
        Ok(match self.probe(url).await? {
            Probe::Absent => None,
            Probe::Directory { mtime } => entry(EntryKind::Directory, None, mtime, Vec::new()),
            Probe::File { version, mtime } => {
                entry(EntryKind::File, Some(version.size), mtime, version.encode())
            }
        })
    }
}

#[async_trait]
impl Source for HttpSource {
    async fn entry(&self, path: &RelativePath) -> Result<Option<Entry>, SourceError> {
        let layout = match self.layout().await {
            Err(SourceError::NotFound { .. }) if !path.is_root() => return Ok(None),
            layout => layout?,
        };
        let Some(name) = path.file_name() else {
            return Ok(Some(root_entry()));
        };
        match layout {
            Layout::File { name: only } if path.as_bytes() == only => {
                self.probed_entry(&self.url, only.clone()).await
            }
            Layout::File { .. } => Ok(None),
            Layout::Tree { base, manifest } => match manifest.get(&self.client).await? {
                Some(manifest) => Ok(manifest.entry(path)),
                None => {
                    self.probed_entry(&child(base, path.as_bytes(), false), name.to_vec())
                        .await
                }
            },
        }
    }

    async fn check(&self) -> Result<(), SourceError> {
        let Layout::Tree { base, manifest } = self.layout().await? else {
            return Ok(());
        };
        if manifest.get(&self.client).await?.is_some() {
            return Ok(());
        }
        // The body, which may be long, is not waited for.
        let response = send(self.client.request(Method::GET, base), base).await?;
        if response.status() == StatusCode::OK {
            Ok(())
        } else {
            Err(status_error(response.status(), base))
        }
    }

    async fn list(&self, path: &RelativePath) -> Result<Vec<Entry>, SourceError> {
        match self.layout().await? {
            Layout::File { name } if path.is_root() => Ok(self
                .probed_entry(&self.url, name.clone())
                .await?
                .into_iter()
                .collect()),
            Layout::File { .. } => Err(SourceError::NotFound {
                place: place(&self.url),
            }),
            Layout::Tree { base, manifest } => {
                let url = child(base, path.as_bytes(), true);
                match manifest.get(&self.client).await? {
                    Some(manifest) => match manifest.list(path) {
                        Some(entries) => Ok(entries),
                        None => Err(SourceError::NotFound { place: place(&url) }),
                    },
                    None => self.fetch_listing(&url).await,
                }
            }
        }
    }

    async fn open_check(
        &self,
        path: &RelativePath,
        validator: &[u8],
        expected: Option<u64>,
    ) -> Result<u64, SourceError> {
        let url = self.file_url(path).await?;
        // Every ranged GET proves the version, so a round trip now would prove nothing more.
        let version = parse_version(validator, &url)?;
        match expected {
            Some(expected) if expected != version.size => Err(SourceError::Changed {
                place: place(&url),
                detail: format!("size {expected}, the version has {}", version.size),
            }),
            Some(_) | None => Ok(version.size),
        }
    }

    async fn read(
        &self,
        path: &RelativePath,
        validator: &[u8],
        _size: u64,
        range: ByteRange,
    ) -> Result<ByteStream, SourceError> {
        let url = self.file_url(path).await?;
        let version = parse_version(validator, &url)?;
        body::read(&self.client, &url, &version, range).await
    }
}

fn parse_version(validator: &[u8], url: &Url) -> Result<Version, SourceError> {
    let unknown = || SourceError::Changed {
        place: place(url),
        detail: "the version wanted is not one of this source".into(),
    };
    Version::parse(validator).ok_or_else(unknown)
}

fn root_entry() -> Entry {
    let name = ROOT_NAME.to_vec();
    Entry {
        name,
        kind: EntryKind::Directory,
        size: None,
        mode: None,
        mtime: None,
        validator: Vec::new(),
    }
}

fn file_name(url: &Url) -> Result<Vec<u8>, SourceError> {
    let last = url
        .path_segments()
        .and_then(|mut segments| segments.next_back())
        .unwrap_or("");
    let name: Vec<u8> = percent_encoding::percent_decode_str(last).collect();
    match check_name(&name) {
        Ok(()) => Ok(name),
        Err(error) => Err(SourceError::Unsupported {
            place: place(url),
            detail: error.to_string(),
        }),
    }
}

fn check_listed_name(entry: &Entry, url: &Url) -> bool {
    let sound = check_name(&entry.name);
    if let Err(error) = sound {
        tracing::warn!(url = %place(url), name = %entry.name.escape_ascii(), %error, "left out of the listing");
    }
    sound.is_ok()
}

/// Whether the server led us to the same name with a slash.
fn is_directory(response: &Response, asked: &Url) -> bool {
    response.url().path().ends_with('/') && !asked.path().ends_with('/')
}

fn probed(response: &Response, url: &Url, size: Option<u64>) -> Result<Probe, SourceError> {
    let headers: &HeaderMap = response.headers();
    let mtime = last_modified(headers);
    match response.status() {
        StatusCode::NOT_FOUND | StatusCode::GONE => Ok(Probe::Absent),
        _ if is_directory(response, url) => Ok(Probe::Directory { mtime }),
        StatusCode::OK | StatusCode::PARTIAL_CONTENT => {
            let Some(size) = size else {
                return Err(SourceError::Unsupported {
                    place: place(url),
                    detail: "the server tells no length".into(),
                });
            };
            Ok(Probe::File {
                version: Version::of(headers, size),
                mtime,
            })
        }
        status => Err(status_error(status, url)),
    }
}

fn empty_file(response: &Response, url: &Url) -> Result<Probe, SourceError> {
    let is_empty = response
        .headers()
        .get(reqwest::header::CONTENT_RANGE)
        // RFC 9110, 15.5.17: a server need not say it. There is no byte 0, or it would have come.
        .is_none_or(|range| range == "bytes */0");
    if !is_empty {
        return Err(status_error(response.status(), url));
    }
    Ok(Probe::File {
        version: Version::of(response.headers(), 0),
        mtime: last_modified(response.headers()),
    })
}

/// A body as one piece of at most `bytes_max`.
async fn whole_body(response: Response, url: &Url, bytes_max: u64) -> Result<Vec<u8>, SourceError> {
    let announced = body::length(response.headers());
    let mut document = Vec::with_capacity(
        usize::try_from(announced.unwrap_or(0).min(1 << 20)).expect("at most 1 MiB"),
    );
    let mut body = response.bytes_stream();
    while let Some(piece) = body.next().await {
        let missing_bytes = announced.map_or(0, |all| all.saturating_sub(document.len() as u64));
        let piece = piece.map_err(|e| body_error(&e, url, missing_bytes))?;
        if (document.len() + piece.len()) as u64 > bytes_max {
            tracing::warn!(url = %place(url), bytes_max, "too big");
            return Err(SourceError::TooBig {
                place: place(url),
                detail: format!("more than {bytes_max} bytes"),
            });
        }
        document.extend_from_slice(&piece);
    }
    Ok(document)
}
