//! A small HTTP origin on loopback with the behaviours and faults that the tests ask for by path.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A file of the origin.
#[derive(Clone)]
pub struct OriginFile {
    pub bytes: Vec<u8>,
    pub etag: Option<String>,
    pub modified: Option<String>,
    pub content_type: &'static str,
}

/// What the origin does.
#[derive(Default)]
pub struct OriginState {
    /// By path as it stands in the request.
    pub files: HashMap<String, OriginFile>,
    /// Path → Location.
    pub redirects: HashMap<String, String>,
    pub authorization: Option<String>,
    pub no_head: bool,
    pub no_ranges: bool,
    /// Answers with this status as long as the count is above 0.
    pub fail: Option<(u16, u32)>,
    /// Method, path and Authorization of each request.
    pub seen: Vec<(Method, String, Option<String>)>,
}

pub struct Origin {
    pub address: SocketAddr,
    pub state: Arc<Mutex<OriginState>>,
    _runtime: tokio::runtime::Runtime,
}

impl Origin {
    pub fn start() -> Origin {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(OriginState::default()));
        let shared = Arc::clone(&state);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&shared);
                let service = hyper::service::service_fn(move |request| {
                    let answer = answer(&mut shared.lock().unwrap(), &request);
                    async move { Ok::<_, Infallible>(answer) }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        Origin {
            address,
            state,
            _runtime: runtime,
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn put(&self, path: &str, bytes: &[u8], etag: Option<&str>, modified: Option<&str>) {
        let file = OriginFile {
            bytes: bytes.to_vec(),
            etag: etag.map(str::to_owned),
            modified: modified.map(str::to_owned),
            content_type: if path.ends_with("json/") {
                "application/json"
            } else {
                "text/html"
            },
        };
        self.state
            .lock()
            .unwrap()
            .files
            .insert(path.to_owned(), file);
    }

    pub fn count(&self, method: &Method, path: &str) -> usize {
        self.state
            .lock()
            .unwrap()
            .seen
            .iter()
            .filter(|(m, p, _)| m == method && p == path)
            .count()
    }
}

fn empty(status: u16) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

fn answer(state: &mut OriginState, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let path = request.uri().path().to_owned();
    let header = |name: HeaderName| {
        request
            .headers()
            .get(name)
            .and_then(|v| v.to_str().ok())
            .map(str::to_owned)
    };
    let authorization = header(hyper::header::AUTHORIZATION);
    state.seen.push((
        request.method().clone(),
        path.clone(),
        authorization.clone(),
    ));
    if let Some((status, count)) = &mut state.fail
        && *count > 0
    {
        *count -= 1;
        return empty(*status);
    }
    if let Some(location) = state.redirects.get(&path) {
        let mut response = empty(301);
        response
            .headers_mut()
            .insert(hyper::header::LOCATION, location.parse().unwrap());
        return response;
    }
    if state.authorization.is_some() && state.authorization != authorization {
        return empty(401);
    }
    if state.no_head && request.method() == Method::HEAD {
        return empty(405);
    }
    let Some(file) = state.files.get(&path) else {
        return empty(404);
    };
    if header(hyper::header::IF_MATCH).is_some_and(|wanted| Some(wanted) != file.etag) {
        return empty(412);
    }
    let range = header(hyper::header::RANGE).filter(|_| !state.no_ranges);
    serve(file, range.as_deref(), request.method())
}

fn serve(file: &OriginFile, range: Option<&str>, method: &Method) -> Response<Full<Bytes>> {
    let mut headers = HeaderMap::new();
    let mut set =
        |name: HeaderName, value: &str| headers.insert(name, HeaderValue::from_str(value).unwrap());
    file.etag
        .iter()
        .for_each(|etag| drop(set(hyper::header::ETAG, etag)));
    file.modified
        .iter()
        .for_each(|modified| drop(set(hyper::header::LAST_MODIFIED, modified)));
    set(hyper::header::CONTENT_TYPE, file.content_type);
    let total = file.bytes.len();
    let (status, body) = match range.and_then(|range| parse_range(range, total)) {
        Some((start, last)) => {
            set(
                hyper::header::CONTENT_RANGE,
                &format!("bytes {start}-{last}/{total}"),
            );
            (206, file.bytes[start..=last].to_vec())
        }
        None if range.is_some() => {
            set(hyper::header::CONTENT_RANGE, &format!("bytes */{total}"));
            (416, Vec::new())
        }
        None => (200, file.bytes.clone()),
    };
    set(hyper::header::CONTENT_LENGTH, &body.len().to_string());
    let mut response = Response::new(if method == Method::HEAD {
        Full::default()
    } else {
        Full::from(body)
    });
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    *response.headers_mut() = headers;
    response
}

fn parse_range(range: &str, total: usize) -> Option<(usize, usize)> {
    let (start, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let (start, last): (usize, usize) = (start.parse().ok()?, last.parse().ok()?);
    (start < total).then_some((start, last.min(total.checked_sub(1)?)))
}

/// A server that sends the same bytes to everybody and hangs up: for answers that no sound server gives.
pub struct RawServer {
    pub address: SocketAddr,
    _runtime: tokio::runtime::Runtime,
}

impl RawServer {
    /// `answer` makes the whole answer from the request's head.
    pub fn start(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> RawServer {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    match stream.read_u8().await {
                        Ok(byte) => head.push(byte),
                        Err(_) => break,
                    }
                }
                let _ = stream
                    .write_all(&answer(&String::from_utf8_lossy(&head)))
                    .await;
                let _ = stream.shutdown().await;
            }
        });
        RawServer {
            address,
            _runtime: runtime,
        }
    }
}
