//! Sources: where a volume's names and bytes come from.
//!
//! Invariant (H04): a version is named by a validator that the source itself made; [`Source::read`] yields bytes of
//! exactly that version or an error, never a blend.

pub mod dir;
pub mod http;
pub mod s3;

use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Stream;
use holdfast_proto::ByteRange;
use holdfast_proto::key::RelativePath;
use holdfast_proto::listing::Entry;

use crate::errno::SourceError;
use crate::volume::{SourceUrl, VolumeConfig};

/// A range's bytes as they come.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, SourceError>> + Send>>;

/// Most entries that a listing may have.
pub const LISTING_ENTRIES_MAX: usize = 16 << 20;
/// Most bytes that a listing document may have.
pub const LISTING_BYTES_MAX: u64 = 1 << 30;

/// Where a volume's names and bytes come from.
#[async_trait]
pub trait Source: std::fmt::Debug + Send + Sync {
    /// Attributes, exact size and validator of one name; `None` when there is no such name (H13). The entry of the
    /// root is named [`ROOT_NAME`].
    ///
    /// # Errors
    /// [`SourceError`] of the origin: outage, refusal, malformed answer.
    async fn entry(&self, path: &RelativePath) -> Result<Option<Entry>, SourceError>;

    /// Asks, as cheaply as can be and at most for a first page, whether the root can be listed.
    ///
    /// # Errors
    /// As [`Source::list`].
    async fn check(&self) -> Result<(), SourceError> {
        match self.entry(&RelativePath::root()).await? {
            Some(_) => Ok(()),
            None => Err(SourceError::NotFound {
                place: "the root".into(),
            }),
        }
    }

    /// All entries of a directory, in any order. Entries whose size the origin only rounds have no size (H13).
    ///
    /// # Errors
    /// As [`Source::entry`], and NotFound, NotADirectory, TooBig.
    async fn list(&self, path: &RelativePath) -> Result<Vec<Entry>, SourceError>;

    /// Checks, as far as it costs nothing in [`Source::read`] anyway, that the file is there in the version
    /// `validator`, and gives its size in bytes.
    ///
    /// # Errors
    /// As [`Source::entry`], and NotFound, IsADirectory, Changed.
    async fn open_check(
        &self,
        path: &RelativePath,
        validator: &[u8],
        expected_size: Option<u64>,
    ) -> Result<u64, SourceError>;

    /// The bytes of `range` of the file in the version `validator`, which is `size` bytes long. The stream may end
    /// early ([`SourceError::Short`] is the caller's to raise); it never yields more than `range` holds.
    ///
    /// # Errors
    /// As [`Source::open_check`], from here or from the stream.
    async fn read(
        &self,
        path: &RelativePath,
        validator: &[u8],
        size: u64,
        range: ByteRange,
    ) -> Result<ByteStream, SourceError>;
}

/// The name that the root's own entry has: the root has none, but a record needs one.
pub const ROOT_NAME: &[u8] = b"root";

/// Builds the source of a volume; nothing is asked of the origin yet.
///
/// # Errors
/// [`SourceError::Unsupported`] when the volume's credentials or options do not fit the source.
pub fn connect(url: &SourceUrl, config: &VolumeConfig) -> Result<Arc<dyn Source>, SourceError> {
    match url {
        SourceUrl::Directory(root) => Ok(Arc::new(dir::DirSource::new(root.clone()))),
        SourceUrl::Http(url) => Ok(Arc::new(http::HttpSource::new(url.clone(), config)?)),
        SourceUrl::S3(url) => Ok(Arc::new(s3::S3Source::new(url, config)?)),
    }
}
