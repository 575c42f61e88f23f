//! From a request to a response.

use std::convert::Infallible;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT_RANGES, ALLOW, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, LAST_MODIFIED,
    LOCATION, RANGE, WWW_AUTHENTICATE,
};
use hyper::http::response::Builder;
use hyper::{Method, Request, Response, StatusCode};
use rustix::io::Errno;

use super::body::{self, Body, Plan, Pool};
use super::conditional::{self, Validators, Verdict};
use super::faults::{BodyFault, Faults, Instead, Misfortune, Version};
use super::path::RequestPath;
use super::range::{self, Asked};
use super::resource::{Content, File, Found, Root};
use super::stats::Stats;
use super::{EtagStyle, OriginConfig, index};

/// Everything a request needs; shared by all connections.
#[derive(Debug)]
pub(super) struct Handler {
    config: OriginConfig,
    root: Arc<Root>,
    stats: Arc<Stats>,
    faults: Arc<Faults>,
    pool: Pool,
    started: SystemTime,
}

/// The connection is to be closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("closed without an answer, as a fault asked")]
pub(super) struct Closed;

/// A request whose path and method are known to be good.
struct Known {
    path: RequestPath,
    /// The path as counters and faults know it.
    key: Vec<u8>,
    head: bool,
    met: Misfortune,
}

/// What a good answer carries.
struct Payload {
    response: Builder,
    content: Content,
    range: Range<u64>,
    xor: u8,
}

impl Handler {
    pub fn new(config: OriginConfig, root: Root, stats: Arc<Stats>, faults: Arc<Faults>) -> Self {
        let (root, pool, started) = (Arc::new(root), Pool::default(), SystemTime::now());
        Self {
            config,
            root,
            stats,
            faults,
            pool,
            started,
        }
    }

    pub fn count_connection(&self) {
        self.stats.count_connection();
    }

    /// Answers one request.
    pub async fn handle(&self, request: Request<Incoming>) -> Result<Response<Body>, Closed> {
        let head = request.method() == Method::HEAD;
        let path = match RequestPath::parse(request.uri().path()) {
            Ok(path) => path,
            Err(error) => {
                return Ok(self.text(b"", head, StatusCode::BAD_REQUEST, &error.to_string()));
            }
        };
        let mut key = path.relative.clone();
        if path.directory && !key.is_empty() {
            key.push(b'/');
        }
        self.stats.count_request(&key, head);
        let met = self.faults.meet(&key);
        if met.latency > Duration::ZERO {
            tokio::time::sleep(met.latency).await;
        }
        if let Some(instead) = &met.instead {
            return self.misbehave(instead, &key, head).await;
        }
        if let Some(challenge) = self.config.auth.challenge(request.headers()) {
            let mut response =
                self.text(&key, head, StatusCode::UNAUTHORIZED, "credentials needed");
            response.headers_mut().insert(
                WWW_AUTHENTICATE,
                challenge
                    .parse()
                    .expect("a constant that is a header value"),
            );
            return Ok(response);
        }
        let allowed = request.method() == Method::GET || (head && self.config.head);
        if !allowed {
            let mut response = self.text(
                &key,
                head,
                StatusCode::METHOD_NOT_ALLOWED,
                "method not allowed",
            );
            let allow = if self.config.head { "GET, HEAD" } else { "GET" };
            response.headers_mut().insert(
                ALLOW,
                allow.parse().expect("a constant that is a header value"),
            );
            return Ok(response);
        }
        Ok(self
            .answer(
                &request,
                Known {
                    path,
                    key,
                    head,
                    met,
                },
            )
            .await)
    }

    async fn misbehave(
        &self,
        instead: &Instead,
        key: &[u8],
        head: bool,
    ) -> Result<Response<Body>, Closed> {
        match instead {
            Instead::Stall => match std::future::pending::<Infallible>().await {},
            Instead::Drop => Err(Closed),
            Instead::Status(code) => {
                let status = StatusCode::from_u16(*code).expect("checked when the rule was added");
                Ok(self.text(key, head, status, "a fault was asked for"))
            }
            Instead::Redirect(location) => Ok(redirect(StatusCode::FOUND, location)),
        }
    }

    async fn answer(&self, request: &Request<Incoming>, known: Known) -> Response<Body> {
        if let (Some(extra), false) = (
            self.config.extra_files.get(&known.path.relative),
            known.path.directory,
        ) {
            return self.file(request, known, File::in_memory(extra, self.started));
        }
        match self.root.find(&known.path.relative) {
            Ok(Found::File(file)) if !known.path.directory => self.file(request, known, file),
            Ok(Found::File(_)) => self.text(
                &known.key,
                known.head,
                StatusCode::NOT_FOUND,
                "not a directory",
            ),
            Ok(Found::Directory(_)) if !known.path.directory => {
                let query = request
                    .uri()
                    .query()
                    .map(|query| format!("?{query}"))
                    .unwrap_or_default();
                redirect(
                    StatusCode::MOVED_PERMANENTLY,
                    &format!("{}/{query}", request.uri().path()),
                )
            }
            Ok(Found::Directory(directory)) => self.index(known, directory).await,
            Err(error) => self.failure(&known, error),
        }
    }

    fn failure(&self, known: &Known, error: Errno) -> Response<Body> {
        let status = match error {
            Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG => StatusCode::NOT_FOUND,
            Errno::ACCESS | Errno::PERM | Errno::XDEV | Errno::LOOP => StatusCode::FORBIDDEN,
            // An Errno is a number, not an enum of ours: all others are the server's own trouble.
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        self.text(&known.key, known.head, status, &error.to_string())
    }

    async fn index(&self, known: Known, directory: std::os::fd::OwnedFd) -> Response<Body> {
        let style = self.config.index;
        let title = [b"/", known.key.as_slice()].concat();
        let written =
            tokio::task::spawn_blocking(move || index::write(style, &directory, &title)).await;
        match written.unwrap_or(Err(Errno::IO)) {
            Ok(Some(document)) => {
                let response = Response::builder().header(CONTENT_TYPE, document.content_type);
                let content = Bytes::from(document.body);
                let range = 0..length(&content);
                self.send(
                    known,
                    Payload {
                        response,
                        content: Content::Memory(content),
                        range,
                        xor: 0,
                    },
                )
            }
            Ok(None) => self.text(
                &known.key,
                known.head,
                StatusCode::FORBIDDEN,
                "no index here",
            ),
            Err(error) => self.failure(&known, error),
        }
    }

    fn file(&self, request: &Request<Incoming>, known: Known, file: File) -> Response<Body> {
        let version = self.faults.version(&known.key);
        let validators = self.validators(&file, version);
        let mut response = Response::builder().header(CONTENT_TYPE, "application/octet-stream");
        if let Some(etag) = &validators.etag {
            response = response.header(ETAG, etag);
        }
        if let Some(modified) = validators.last_modified {
            response = response.header(LAST_MODIFIED, httpdate::fmt_http_date(modified));
        }
        if self.config.ranges {
            response = response.header(ACCEPT_RANGES, "bytes");
        }
        let asked = match conditional::evaluate(request.headers(), &validators) {
            Verdict::NotModified => {
                return finish(response.status(StatusCode::NOT_MODIFIED), body::empty());
            }
            Verdict::PreconditionFailed => {
                return self.text(
                    &known.key,
                    known.head,
                    StatusCode::PRECONDITION_FAILED,
                    "another version",
                );
            }
            Verdict::ProceedWhole => Asked::Whole,
            Verdict::Proceed => self.asked(request, &known.met, file.size_bytes),
        };
        let size = file.size_bytes;
        let (response, range) = match asked {
            Asked::Whole => (response.status(StatusCode::OK), 0..size),
            Asked::Part(part) => {
                let described = format!("bytes {}-{}/{size}", part.start, part.end - 1);
                (
                    response
                        .status(StatusCode::PARTIAL_CONTENT)
                        .header(CONTENT_RANGE, described),
                    part,
                )
            }
            Asked::Unsatisfiable => {
                let mut refused = self.text(
                    &known.key,
                    known.head,
                    StatusCode::RANGE_NOT_SATISFIABLE,
                    "no such range",
                );
                let described = format!("bytes */{size}")
                    .parse()
                    .expect("digits are a header value");
                refused.headers_mut().insert(CONTENT_RANGE, described);
                return refused;
            }
        };
        self.send(
            known,
            Payload {
                response,
                content: file.content,
                range,
                xor: version.content_xor,
            },
        )
    }

    fn asked(&self, request: &Request<Incoming>, met: &Misfortune, size_bytes: u64) -> Asked {
        // RFC 9110, 14.2: Range means something in GET only.
        if !self.config.ranges || request.method() != Method::GET {
            return Asked::Whole;
        }
        let header = request
            .headers()
            .get(RANGE)
            .and_then(|value| value.to_str().ok());
        match header.map_or(Asked::Whole, |value| range::parse(value, size_bytes)) {
            Asked::Part(part) if met.range_delta_bytes > 0 => {
                let shift = |position: u64| {
                    position
                        .saturating_add(met.range_delta_bytes)
                        .min(size_bytes)
                };
                let part = shift(part.start)..shift(part.end);
                if part.is_empty() {
                    Asked::Unsatisfiable
                } else {
                    Asked::Part(part)
                }
            }
            asked @ (Asked::Whole | Asked::Part(_) | Asked::Unsatisfiable) => asked,
        }
    }

    fn validators(&self, file: &File, version: Version) -> Validators {
        let step = version.validator_step;
        let tag = if step == 0 {
            file.tag.clone()
        } else {
            format!("{}-v{step}", file.tag)
        };
        let etag = match self.config.etag {
            EtagStyle::Strong => Some(format!("\"{tag}\"")),
            EtagStyle::Weak => Some(format!("W/\"{tag}\"")),
            EtagStyle::Absent => None,
        };
        let modified =
            conditional::whole_seconds(file.modified) + Duration::from_secs(u64::from(step));
        Validators {
            etag,
            last_modified: self.config.last_modified.then_some(modified),
        }
    }

    /// Sends content with the length it has, or as a fault says.
    fn send(&self, known: Known, payload: Payload) -> Response<Body> {
        let Payload {
            response,
            content,
            mut range,
            xor,
        } = payload;
        let len = range.end - range.start;
        let announced = len.saturating_add_signed(known.met.content_length_delta_bytes);
        let response = response.header(CONTENT_LENGTH, announced);
        if known.head {
            return finish(response, body::empty());
        }
        let mut fault = known.met.body;
        if announced < len {
            range.end = range.start + announced;
        } else if announced > len && fault.is_none() {
            fault = Some(BodyFault::Drop { after_bytes: len });
        }
        let plan = Plan {
            content,
            range,
            xor,
            fault,
            throttle_bytes_per_second: known.met.throttle_bytes_per_second,
            stats: Arc::clone(&self.stats),
            path: known.key,
            pool: self.pool.clone(),
        };
        finish(response, body::stream(plan))
    }

    fn text(&self, key: &[u8], head: bool, status: StatusCode, text: &str) -> Response<Body> {
        let content = Bytes::from(format!("{status}: {text}\n"));
        let response = Response::builder()
            .status(status)
            .header(CONTENT_TYPE, "text/plain")
            .header(CONTENT_LENGTH, content.len());
        if head {
            return finish(response, body::empty());
        }
        let plan = Plan {
            range: 0..length(&content),
            content: Content::Memory(content),
            xor: 0,
            fault: None,
            throttle_bytes_per_second: None,
            stats: Arc::clone(&self.stats),
            path: key.to_vec(),
            pool: self.pool.clone(),
        };
        finish(response, body::stream(plan))
    }
}

fn redirect(status: StatusCode, location: &str) -> Response<Body> {
    finish(
        Response::builder()
            .status(status)
            .header(LOCATION, location)
            .header(CONTENT_LENGTH, 0),
        body::empty(),
    )
}

fn finish(response: Builder, body: Body) -> Response<Body> {
    response.body(body).unwrap_or_else(|_| {
        // A header value that is none: only a Location given to a fault can be so.
        let mut refused = Response::new(body::empty());
        *refused.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        refused
    })
}

fn length(bytes: &Bytes) -> u64 {
    u64::try_from(bytes.len()).expect("a length in memory fits into 64 bits")
}
