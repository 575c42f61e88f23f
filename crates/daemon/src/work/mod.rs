//! What a worker does for one request: OPEN ([`open`]) and READ ([`read`]).
//!
//! Invariant: each function sends exactly one answer, unless the object was closed meanwhile; an error it returns is
//! the session's end, a source's failure is an answer.

mod fill;

use std::sync::Arc;

use holdfast_proto::command::OpenAnswer;
use holdfast_proto::key::CookieKey;
use holdfast_proto::listing::{Entry, ListingBuilder};
use holdfast_proto::{ByteRange, Errno, MessageId};
use tokio_util::sync::CancellationToken;

use crate::device::{Device, DeviceError, OpenRequest};
use crate::errno::SourceError;
use crate::object::{Content, Document, Objects, OpenObject};
use crate::retry::retrying;
use crate::sources::{LISTING_BYTES_MAX, LISTING_ENTRIES_MAX};
use crate::volumes::Volumes;

/// An object that the source can serve.
struct Opened {
    content: Content,
    size: u64,
    validator: Vec<u8>,
}

/// Answers an OPEN.
///
/// # Errors
/// [`DeviceError`] when the answer could not be sent.
pub(crate) async fn open(
    device: Arc<dyn Device>,
    volumes: Arc<Volumes>,
    objects: Arc<Objects>,
    request: OpenRequest,
) -> Result<(), DeviceError> {
    match opened(&volumes, &request).await {
        Ok(Opened {
            content,
            size,
            validator,
        }) => {
            let OpenRequest {
                msg_id,
                object_id,
                lease,
                ..
            } = request;
            let object = OpenObject {
                lease,
                content,
                size,
                closed: CancellationToken::new(),
            };
            objects.insert(object_id, Arc::new(object));
            device
                .copen(
                    msg_id,
                    Ok(OpenAnswer {
                        size,
                        validator: Some(validator),
                    }),
                )
                .await
        }
        Err(errno) => device.copen(request.msg_id, Err(errno)).await,
        // The lease is dropped after the answer: the engine need not tell a refusal from a lost lease.
    }
}

async fn opened(volumes: &Volumes, request: &OpenRequest) -> Result<Opened, Errno> {
    let cookie_key = request.cookie_key.as_ref().map_err(|error| {
        tracing::warn!(%error, "an OPEN with a malformed cookie key");
        Errno::EINVAL
    })?;
    let answer = async {
        let source = volumes.source(&request.volume_key)?;
        match cookie_key {
            CookieKey::Entry { path } => {
                let entry = retrying(|| source.entry(path)).await?;
                opened_document(entry_document(entry)?, request)
            }
            CookieKey::Listing { path } => {
                let mut entries = retrying(|| source.list(path)).await?;
                let document = tokio::task::block_in_place(|| listing_document(&mut entries))?;
                opened_document(document, request)
            }
            CookieKey::Data { path, validator } => {
                let size =
                    retrying(|| source.open_check(path, validator, request.expected_size)).await?;
                let content = Content::Data {
                    source,
                    path: path.clone(),
                    validator: validator.to_vec(),
                };
                Ok(Opened {
                    content,
                    size,
                    validator: validator.to_vec(),
                })
            }
        }
    };
    answer.await.map_err(|error: SourceError| {
        tracing::warn!(%error, "OPEN failed");
        error.errno()
    })
}

/// A document that replaces an older one under the same object would mix two listings: ESTALE then (H04).
fn opened_document(content: Vec<u8>, request: &OpenRequest) -> Result<Opened, SourceError> {
    let document = Document::keep(content)?;
    if !request.validator.is_empty() && request.validator != document.validator {
        let place = crate::volumes::place(&request.volume_key);
        return Err(SourceError::Changed {
            place,
            detail: "a listing or entry that is being read".into(),
        });
    }
    Ok(Opened {
        size: document.size,
        validator: document.validator.clone(),
        content: Content::Document(document),
    })
}

fn entry_document(entry: Option<Entry>) -> Result<Vec<u8>, SourceError> {
    match entry {
        None => Ok(ListingBuilder::negative()),
        Some(entry) => build([&entry].into_iter()),
    }
}

/// Sorted by name, so that the same directory gives the same document and the same validator.
fn listing_document(entries: &mut [Entry]) -> Result<Vec<u8>, SourceError> {
    let too_big = |detail: &str| SourceError::TooBig {
        place: "a listing".into(),
        detail: detail.into(),
    };
    if entries.len() > LISTING_ENTRIES_MAX {
        return Err(too_big("more than 16 Mi entries"));
    }
    entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    if let Some(pair) = entries.windows(2).find(|pair| pair[0].name == pair[1].name) {
        let place = String::from_utf8_lossy(&pair[0].name).into_owned();
        return Err(SourceError::Malformed {
            place,
            detail: "the same name twice in one directory".into(),
        });
    }
    let document = build(entries.iter())?;
    if document.len() as u64 > LISTING_BYTES_MAX {
        Err(too_big("more than 1 GiB"))
    } else {
        Ok(document)
    }
}

fn build<'a>(entries: impl Iterator<Item = &'a Entry>) -> Result<Vec<u8>, SourceError> {
    let mut builder = ListingBuilder::new();
    for entry in entries {
        builder
            .push(entry)
            .map_err(|error| SourceError::Malformed {
                place: String::from_utf8_lossy(&entry.name).into_owned(),
                detail: error.to_string(),
            })?;
    }
    Ok(builder.finish())
}

/// Answers a READ. A lease that the engine let go of needs no answer and does not end the session.
///
/// # Errors
/// [`DeviceError`] when the answer could not be sent for another reason.
pub(crate) async fn read(
    object: Arc<OpenObject>,
    msg_id: MessageId,
    range: ByteRange,
) -> Result<(), DeviceError> {
    let answered = tokio::select! {
        () = object.closed.cancelled() => return Ok(()),
        answered = fill::fill(&object, range) => answered,
    };
    let answer = match answered {
        Ok(()) => Ok(()),
        Err(fill::FillError::Source(error)) => {
            tracing::warn!(%error, "READ failed");
            Err(error.errno())
        }
        Err(fill::FillError::Store(errno)) => {
            tracing::warn!(errno = errno.get(), "cannot write to the cache");
            Err(errno)
        }
        Err(fill::FillError::Device(error)) => return ended(error),
    };
    object.lease.complete(msg_id, answer).await.or_else(ended)
}

fn ended(error: DeviceError) -> Result<(), DeviceError> {
    match error {
        DeviceError::Closed => Ok(()),
        error @ (DeviceError::Malformed(_) | DeviceError::Os { .. }) => Err(error),
    }
}
