//! Ranged GETs: what is asked, what may come back, and the stream of exactly the wanted bytes.
//!
//! Invariants: a 206 is taken only when its Content-Range begins where asked and states the version's size; a 200 is
//! the whole file and is cut to the range; a body that is longer than announced is an error, never an answer.

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use holdfast_proto::ByteRange;
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderMap, RANGE};
use reqwest::{Method, Response, StatusCode};
use url::Url;

use super::client::{Client, body_error, place, send, status_error};
use super::version::Version;
use crate::errno::SourceError;
use crate::sources::ByteStream;

/// Where in a body the wanted bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Window {
    skip: u64,
    take: u64,
    /// Whether more bytes may follow (a whole file) or must not.
    more_may_follow: bool,
}

/// The bytes of `range` of the file at `url`, in `version`.
///
/// # Errors
/// [`SourceError::Changed`] for another version, [`SourceError::Protocol`] for a wrong answer, and what
/// [`send`] and [`status_error`] say.
pub(super) async fn read(
    client: &Client,
    url: &Url,
    version: &Version,
    range: ByteRange,
) -> Result<ByteStream, SourceError> {
    let request = client
        .request(Method::GET, url)
        .header(RANGE, format!("bytes={}-{}", range.offset, range.end() - 1));
    let response = send(version.condition(request), url).await?;
    let window = window(&response, url, version, range)?;
    Ok(cut(response, url.clone(), window))
}

fn window(
    response: &Response,
    url: &Url,
    version: &Version,
    range: ByteRange,
) -> Result<Window, SourceError> {
    let protocol = |detail: String| SourceError::Protocol {
        place: place(url),
        detail,
    };
    let changed = |detail: String| SourceError::Changed {
        place: place(url),
        detail,
    };
    let headers = response.headers();
    let window = match response.status() {
        StatusCode::PARTIAL_CONTENT => {
            let (start, last, total) = content_range(headers)
                .ok_or_else(|| protocol("206 without a Content-Range".into()))?;
            if total.is_some_and(|total| total != version.size) {
                return Err(changed(format!(
                    "size: wanted {}, got {total:?}",
                    version.size
                )));
            }
            // Fewer bytes than asked for are allowed; the rest is asked for again.
            if start != range.offset || last >= range.end() || last < start {
                return Err(protocol(format!(
                    "asked for bytes {range}, got {start}-{last}"
                )));
            }
            Window {
                skip: 0,
                take: last - start + 1,
                more_may_follow: false,
            }
        }
        StatusCode::OK => {
            if length(headers).is_some_and(|length| length != version.size) {
                return Err(changed(format!(
                    "size: wanted {}, got {:?}",
                    version.size,
                    length(headers)
                )));
            }
            Window {
                skip: range.offset,
                take: range.len,
                more_may_follow: true,
            }
        }
        status => return Err(status_error(status, url)),
    };
    version.check(headers).map_err(changed)?;
    match length(headers) {
        Some(length) if !window.more_may_follow && length != window.take => Err(protocol(format!(
            "a range of {} bytes with a Content-Length of {length}",
            window.take
        ))),
        Some(_) | None => Ok(window),
    }
}

/// `bytes <start>-<last>/<total or *>`.
pub(super) fn content_range(headers: &HeaderMap) -> Option<(u64, u64, Option<u64>)> {
    let text = headers
        .get(CONTENT_RANGE)?
        .to_str()
        .ok()?
        .strip_prefix("bytes ")?;
    let (range, total) = text.split_once('/')?;
    let (start, last) = range.split_once('-')?;
    let total = if total == "*" {
        None
    } else {
        Some(total.parse().ok()?)
    };
    Some((start.parse().ok()?, last.parse().ok()?, total))
}

/// Content-Length as the server wrote it (also of an answer to HEAD).
pub(super) fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn cut(response: Response, url: Url, window: Window) -> ByteStream {
    let body = response.bytes_stream();
    Box::pin(stream::try_unfold(
        (body, window),
        move |(mut body, mut window)| {
            let url = url.clone();
            async move {
                loop {
                    if window.take == 0 && window.more_may_follow {
                        return Ok(None);
                    }
                    let Some(piece) = body.next().await else {
                        return Ok(None);
                    };
                    let piece = piece.map_err(|e| {
                    tracing::warn!(url = %place(&url), missing_bytes = window.take, "the body ended before its announced length");
                    body_error(&e, &url, window.take)
                })?;
                    let wanted = window.advance(piece, &url)?;
                    if !wanted.is_empty() {
                        return Ok(Some((wanted, (body, window))));
                    }
                }
            }
        },
    ))
}

impl Window {
    /// The wanted part of the body's next piece.
    fn advance(&mut self, mut piece: Bytes, url: &Url) -> Result<Bytes, SourceError> {
        let skipped = usize::try_from(self.skip)
            .unwrap_or(usize::MAX)
            .min(piece.len());
        self.skip -= skipped as u64;
        let mut wanted = piece.split_off(skipped);
        if wanted.len() as u64 > self.take {
            if !self.more_may_follow {
                let detail = "more bytes than its Content-Range says".to_owned();
                return Err(SourceError::Protocol {
                    place: place(url),
                    detail,
                });
            }
            wanted.truncate(usize::try_from(self.take).expect("less than a piece"));
        }
        self.take -= wanted.len() as u64;
        Ok(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_read_strictly() {
        let of = |text: &str| {
            content_range(
                &[(CONTENT_RANGE, text.parse().unwrap())]
                    .into_iter()
                    .collect(),
            )
        };
        assert_eq!(of("bytes 0-9/20"), Some((0, 9, Some(20))));
        assert_eq!(of("bytes 5-9/*"), Some((5, 9, None)));
        for bad in [
            "bytes */20",
            "bytes 0-9",
            "items 0-9/20",
            "bytes 0-9/x",
            "bytes -9/20",
        ] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_window_skips_takes_and_refuses_the_surplus() {
        let url = Url::parse("http://h/f").unwrap();
        let mut whole = Window {
            skip: 3,
            take: 4,
            more_may_follow: true,
        };
        assert_eq!(whole.advance(Bytes::from_static(b"01"), &url).unwrap(), "");
        assert_eq!(
            whole.advance(Bytes::from_static(b"234"), &url).unwrap(),
            "34"
        );
        assert_eq!(
            whole.advance(Bytes::from_static(b"56789"), &url).unwrap(),
            "56"
        );
        let mut part = Window {
            skip: 0,
            take: 2,
            more_may_follow: false,
        };
        assert!(part.advance(Bytes::from_static(b"012"), &url).is_err());
    }
}
