//! The manifest of a tree as this source keeps it: fetched at first use, looked at again after a while.
//!
//! Invariant: a manifest that is there but broken is an error, never "no manifest": falling back to the index would
//! change the tree's names and versions behind the reader's back. Only a manifest that nobody named (the default
//! place) may be absent or something else altogether.

use std::sync::Arc;
use std::time::Duration;

use holdfast_proto::key::RelativePath;
use holdfast_proto::listing::{Entry, EntryKind};
use reqwest::header::{
    ETAG, HeaderMap, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED,
};
use reqwest::{Method, StatusCode};
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::Url;

use super::client::{Client, place, send, status_error};
use super::version::{Mark, Version};
use super::whole_body;
use crate::errno::SourceError;
use crate::manifest::{FILE_NAME, MANIFEST_BYTES_MAX, Manifest, ManifestError};

/// A manifest is asked for again after this long.
const FRESH: Duration = Duration::from_secs(10);
/// An absent one is looked for again after this long.
const ABSENT: Duration = Duration::from_secs(60);

/// Where the manifest is looked for.
#[derive(Debug)]
enum Place {
    /// Nowhere.
    Off,
    /// At the default place: may be absent.
    Default(Url),
    /// Where the user said: must be there.
    Named(Url),
}

/// What is known of the manifest.
#[derive(Debug)]
enum Known {
    Nothing,
    Absent {
        since: Instant,
    },
    Present {
        tree: Arc<Tree>,
        mark: Option<HeaderValue>,
        modified: Option<HeaderValue>,
        since: Instant,
    },
}

/// The manifest of an HTTP tree.
#[derive(Debug)]
pub(super) struct TrustedManifest {
    place: Place,
    known: Mutex<Known>,
}

/// A manifest whose entries have validators.
#[derive(Debug)]
pub(super) struct Tree(Manifest);

impl TrustedManifest {
    /// The manifest of the tree at `base` as `option` of the volume says.
    ///
    /// # Errors
    /// [`SourceError::Unsupported`] when the option is no address.
    pub(super) fn new(base: &Url, option: Option<&str>) -> Result<TrustedManifest, SourceError> {
        let unsupported = |e: url::ParseError| SourceError::Unsupported {
            place: place(base),
            detail: format!("manifest: {e}"),
        };
        let place = match option {
            Some("") => Place::Off,
            Some(address) => Place::Named(base.join(address).map_err(unsupported)?),
            None => Place::Default(base.join(FILE_NAME).map_err(unsupported)?),
        };
        Ok(TrustedManifest {
            place,
            known: Mutex::new(Known::Nothing),
        })
    }

    /// The manifest, or `None` when the tree has none. Callers at the same time share one request.
    ///
    /// # Errors
    /// What the server or the manifest has to say; see the module's invariant.
    pub(super) async fn get(&self, client: &Client) -> Result<Option<Arc<Tree>>, SourceError> {
        let url = match &self.place {
            Place::Off => return Ok(None),
            Place::Default(url) | Place::Named(url) => url,
        };
        let mut known = self.known.lock().await;
        match &*known {
            Known::Absent { since } if since.elapsed() < ABSENT => return Ok(None),
            Known::Present { tree, since, .. } if since.elapsed() < FRESH => {
                return Ok(Some(Arc::clone(tree)));
            }
            Known::Nothing | Known::Absent { .. } | Known::Present { .. } => {}
        }
        self.refresh(client, url, &mut known).await?;
        Ok(match &*known {
            Known::Nothing | Known::Absent { .. } => None,
            Known::Present { tree, .. } => Some(Arc::clone(tree)),
        })
    }

    async fn refresh(
        &self,
        client: &Client,
        url: &Url,
        known: &mut Known,
    ) -> Result<(), SourceError> {
        let mut request = client.request(Method::GET, url);
        if let Known::Present { mark, modified, .. } = known {
            request = request.headers(conditions(mark.as_ref(), modified.as_ref()));
        }
        let response = send(request, url).await?;
        let since = Instant::now();
        match (response.status(), &mut *known) {
            (StatusCode::NOT_MODIFIED, Known::Present { since: old, .. }) => *old = since,
            (StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::FORBIDDEN, _)
                if self.may_be_absent() =>
            {
                *known = Known::Absent { since };
            }
            (StatusCode::OK, _) => {
                let (mark, modified) = (
                    response.headers().get(ETAG).cloned(),
                    response.headers().get(LAST_MODIFIED).cloned(),
                );
                let document = whole_body(response, url, MANIFEST_BYTES_MAX).await?;
                *known = match tokio::task::block_in_place(|| Manifest::parse(&document)) {
                    Ok(manifest) => Known::Present {
                        tree: Arc::new(Tree(manifest)),
                        mark,
                        modified,
                        since,
                    },
                    Err(ManifestError::NotAManifest) if self.may_be_absent() => {
                        Known::Absent { since }
                    }
                    Err(error) => {
                        return Err(SourceError::Malformed {
                            place: place(url),
                            detail: error.to_string(),
                        });
                    }
                };
            }
            (status, _) => return Err(status_error(status, url)),
        }
        Ok(())
    }

    fn may_be_absent(&self) -> bool {
        matches!(self.place, Place::Default(_))
    }
}

fn conditions(mark: Option<&HeaderValue>, modified: Option<&HeaderValue>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    match (mark, modified) {
        (Some(mark), _) => drop(headers.insert(IF_NONE_MATCH, mark.clone())),
        (None, Some(modified)) => drop(headers.insert(IF_MODIFIED_SINCE, modified.clone())),
        (None, None) => {}
    }
    headers
}

impl Tree {
    /// The entry of a path other than the root.
    pub(super) fn entry(&self, path: &RelativePath) -> Option<Entry> {
        self.0.entry(path).map(with_validator)
    }

    /// The entries of a directory.
    pub(super) fn list(&self, path: &RelativePath) -> Option<Vec<Entry>> {
        self.0
            .list(path)
            .map(|entries| entries.map(with_validator).collect())
    }
}

/// A file's version is its size and its mtime in seconds: what the server's Last-Modified can be compared with.
fn with_validator(entry: &Entry) -> Entry {
    let mut entry = entry.clone();
    if let (EntryKind::File, Some(size)) = (&entry.kind, entry.size) {
        let mark = entry
            .mtime
            .map_or(Mark::SizeOnly, |mtime| Mark::Manifest(mtime.s));
        entry.validator = Version { size, mark }.encode();
    }
    entry
}
