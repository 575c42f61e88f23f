//! From a request to a response.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, WWW_AUTHENTICATE};
use hyper::{Method, Request, Response, StatusCode};
use rustix::io::Errno;

use super::body::{Body, Pool};
use super::faults::Faults;
use super::misfortune::{Instead, Misfortune};
use super::path::RequestPath;
use super::reply::{Payload, length, redirect};
use super::resource::{Content, File, Found, Root};
use super::stats::Stats;
use super::{OriginConfig, index};

/// Everything a request needs; shared by all connections.
#[derive(Debug)]
pub(super) struct Handler {
    pub(super) config: OriginConfig,
    pub(super) root: Arc<Root>,
    pub(super) stats: Arc<Stats>,
    pub(super) faults: Arc<Faults>,
    pub(super) pool: Pool,
    pub(super) started: SystemTime,
}

/// The connection is to be closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("closed without an answer, as a fault asked")]
pub(super) struct Closed;

/// A request whose path and method are known to be good.
pub(super) struct Known {
    pub path: RequestPath,
    /// The path as counters and faults know it.
    pub key: Vec<u8>,
    pub head: bool,
    pub met: Misfortune,
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
}
