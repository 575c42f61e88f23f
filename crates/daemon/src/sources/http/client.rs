//! The HTTP client: addresses, credentials, and the one place where its failures become [`SourceError`]s.
//!
//! Invariants: names of any bytes travel percent-encoded; credentials go to the volume's own host only (reqwest drops
//! them when a redirect leads to another); no error or log line holds a query (signed URLs) or a credential.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use reqwest::header::{ACCEPT_ENCODING, CONTENT_ENCODING};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use url::Url;

use crate::errno::{Outage, SourceError};
use crate::volume::Auth;

/// What is escaped in a name: all but RFC 3986's unreserved characters.
const NAME_ESCAPES: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest silence of a server; a slow server that keeps sending is honest (H19).
const SILENCE_TIMEOUT: Duration = Duration::from_secs(20);
/// Most redirects in a row.
const REDIRECTS_MAX: usize = 10;

/// A client with a volume's credentials.
#[derive(Debug, Clone)]
pub(super) struct Client {
    http: reqwest::Client,
    auth: Auth,
}

impl Client {
    /// A client for a volume.
    ///
    /// # Errors
    /// [`SourceError::Unsupported`] when TLS cannot be set up, or for S3 keys.
    pub(super) fn new(base: &Url, auth: &Auth) -> Result<Client, SourceError> {
        let unsupported = |detail: String| SourceError::Unsupported {
            place: place(base),
            detail,
        };
        if matches!(auth, Auth::S3 { .. }) {
            return Err(unsupported("S3 keys do not fit an HTTP source".into()));
        }
        let http = reqwest::Client::builder()
            .http1_only()
            .user_agent(concat!("holdfast/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(SILENCE_TIMEOUT)
            .redirect(reqwest::redirect::Policy::limited(REDIRECTS_MAX))
            .build()
            .map_err(|e| unsupported(innermost(&e)))?;
        Ok(Client {
            http,
            auth: auth.clone(),
        })
    }

    /// A request with the volume's credentials, for plain bytes.
    pub(super) fn request(&self, method: Method, url: &Url) -> RequestBuilder {
        let request = self
            .http
            .request(method, url.clone())
            .header(ACCEPT_ENCODING, "identity");
        match &self.auth {
            Auth::None | Auth::S3 { .. } => request,
            Auth::Basic { user, password } => request.basic_auth(user, Some(password)),
            Auth::Bearer { token } => request.bearer_auth(token),
        }
    }
}

/// Sends a request and sorts out what is no answer.
///
/// # Errors
/// [`SourceError::Outage`] when the server cannot be reached, [`SourceError::Protocol`] when it does not speak HTTP or
/// encodes the body though asked not to.
pub(super) async fn send(request: RequestBuilder, url: &Url) -> Result<Response, SourceError> {
    let response = request.send().await.map_err(|e| request_error(&e, url))?;
    match response.headers().get(CONTENT_ENCODING) {
        Some(encoding) if encoding != "identity" => Err(SourceError::Protocol {
            place: place(url),
            detail: format!("encoded as {encoding:?} though plain bytes were asked for"),
        }),
        Some(_) | None => Ok(response),
    }
}

/// The address of `name` below `directory`.
pub(super) fn child(directory: &Url, path: &[u8], is_directory: bool) -> Url {
    let mut url = directory.clone();
    let mut text = url.path().to_owned();
    for (i, name) in path
        .split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty())
        .enumerate()
    {
        if i > 0 {
            text.push('/');
        }
        text.extend(percent_encode(name, NAME_ESCAPES));
    }
    if is_directory && !text.ends_with('/') {
        text.push('/');
    }
    url.set_path(&text);
    url
}

/// The address for people: without query, which may hold a signature.
pub(super) fn place(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.into()
}

/// What a status that is no success means.
pub(super) fn status_error(status: StatusCode, url: &Url) -> SourceError {
    let place = place(url);
    match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => SourceError::NotFound { place },
        StatusCode::UNAUTHORIZED
        | StatusCode::FORBIDDEN
        | StatusCode::PROXY_AUTHENTICATION_REQUIRED => SourceError::Denied { place },
        StatusCode::PRECONDITION_FAILED => SourceError::Changed {
            place,
            detail: "412".into(),
        },
        StatusCode::RANGE_NOT_SATISFIABLE => SourceError::Changed {
            place,
            detail: "416: the file became shorter".into(),
        },
        StatusCode::REQUEST_TIMEOUT
        | StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => SourceError::Outage {
            place,
            outage: Outage::Busy,
            detail: status.to_string(),
        },
        status if status.is_server_error() => SourceError::Failed {
            place,
            detail: status.to_string(),
        },
        status => SourceError::Protocol {
            place,
            detail: format!("unexpected status {status}"),
        },
    }
}

/// Why a request got no answer.
pub(super) fn request_error(error: &reqwest::Error, url: &Url) -> SourceError {
    let (place, detail) = (place(url), innermost(error));
    let kind = io_kind(error);
    let outage = match kind {
        _ if error.is_timeout() => Outage::Timeout,
        _ if error.is_redirect() || error.is_builder() => {
            return SourceError::Protocol { place, detail };
        }
        Some(io::ErrorKind::ConnectionRefused) => Outage::Refused,
        Some(io::ErrorKind::TimedOut) => Outage::Timeout,
        Some(io::ErrorKind::InvalidData) => return SourceError::Protocol { place, detail },
        _ if error.is_connect() => Outage::Unreachable,
        _ => Outage::Reset,
    };
    SourceError::Outage {
        place,
        outage,
        detail,
    }
}

/// Why a body broke off; `missing_bytes` as far as known.
pub(super) fn body_error(error: &reqwest::Error, url: &Url, missing_bytes: u64) -> SourceError {
    let (place, detail) = (place(url), innermost(error));
    match io_kind(error) {
        _ if error.is_timeout() => SourceError::Outage {
            place,
            outage: Outage::Timeout,
            detail,
        },
        Some(io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted) => {
            SourceError::Outage {
                place,
                outage: Outage::Reset,
                detail,
            }
        }
        _ => SourceError::Short {
            place,
            missing_bytes,
        },
    }
}

fn io_kind(error: &reqwest::Error) -> Option<io::ErrorKind> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>()
            && error.get_ref().is_none()
        {
            return Some(error.kind());
        }
        cause = error.source();
    }
    None
}

/// The innermost cause's words: the outer ones repeat the URL with its query.
fn innermost(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    match innermost.downcast_ref::<reqwest::Error>() {
        Some(_) if error.is_redirect() => "too many redirects".into(),
        Some(_) => "the request failed".into(),
        None => innermost.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_any_bytes_become_one_segment_each() {
        let base = Url::parse("http://h/t/").unwrap();
        assert_eq!(
            child(&base, b"a b/c?#%\n\xff", false).as_str(),
            "http://h/t/a%20b/c%3F%23%25%0A%FF"
        );
        assert_eq!(child(&base, b"", true).as_str(), "http://h/t/");
        assert_eq!(child(&base, b"d", true).as_str(), "http://h/t/d/");
        assert_eq!(child(&base, b"...", false).as_str(), "http://h/t/...");
    }

    #[test]
    fn a_place_shows_no_query() {
        assert_eq!(
            place(&Url::parse("https://h/f?sig=secret").unwrap()),
            "https://h/f"
        );
    }
}
