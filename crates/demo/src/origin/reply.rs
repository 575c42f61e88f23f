//! Responses: files with their validators and ranges, texts, redirects.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, LAST_MODIFIED, LOCATION,
    RANGE,
};
use hyper::http::response::Builder;
use hyper::{Method, Request, Response, StatusCode};

use super::EtagStyle;
use super::body::{self, Body, Plan};
use super::conditional::{self, Validators, Verdict};
use super::handler::{Handler, Known};
use super::misfortune::{BodyFault, Misfortune, Version};
use super::range::{self, Asked};
use super::resource::{Content, File};

/// What a good answer carries.
pub(super) struct Payload {
    pub response: Builder,
    pub content: Content,
    pub range: Range<u64>,
    pub xor: u8,
}

impl Handler {
    pub(super) fn file(
        &self,
        request: &Request<Incoming>,
        known: Known,
        file: File,
    ) -> Response<Body> {
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

    pub(super) fn asked(
        &self,
        request: &Request<Incoming>,
        met: &Misfortune,
        size_bytes: u64,
    ) -> Asked {
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

    pub(super) fn validators(&self, file: &File, version: Version) -> Validators {
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
    pub(super) fn send(&self, known: Known, payload: Payload) -> Response<Body> {
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

    pub(super) fn text(
        &self,
        key: &[u8],
        head: bool,
        status: StatusCode,
        text: &str,
    ) -> Response<Body> {
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

pub(super) fn redirect(status: StatusCode, location: &str) -> Response<Body> {
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

pub(super) fn length(bytes: &Bytes) -> u64 {
    u64::try_from(bytes.len()).expect("a length in memory fits into 64 bits")
}
