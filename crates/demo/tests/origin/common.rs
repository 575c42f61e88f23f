//! A tree to serve, and a client.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use holdfast_demo::origin::{Origin, OriginConfig};
use ureq::http::Response;
use ureq::{Agent, Body};

pub type Reply = Response<Body>;

pub fn agent() -> Agent {
    // Bounded, so that a test that goes wrong ends.
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false);
    config
        .timeout_global(Some(Duration::from_secs(60)))
        .build()
        .into()
}

pub fn get(url: &str, headers: &[(&str, &str)]) -> Reply {
    let request = headers
        .iter()
        .fold(agent().get(url), |request, (name, value)| {
            request.header(*name, *value)
        });
    request.call().expect("a response")
}

pub fn header<'a>(reply: &'a Reply, name: &str) -> &'a str {
    reply
        .headers()
        .get(name)
        .unwrap_or_else(|| panic!("no {name} header"))
        .to_str()
        .expect("text")
}

pub fn bytes(mut reply: Reply) -> Vec<u8> {
    reply
        .body_mut()
        .with_config()
        .limit(u64::MAX)
        .read_to_vec()
        .expect("a whole body")
}

pub fn pattern(len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| u8::try_from((i * 7 + i / 251) % 256).unwrap())
        .collect()
}

pub fn tree() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("sub/deep dir")).unwrap();
    fs::write(dir.path().join("file"), pattern(100_000)).unwrap();
    fs::write(dir.path().join("big"), pattern(3_000_001)).unwrap();
    fs::write(dir.path().join("empty"), b"").unwrap();
    fs::write(dir.path().join("sub/deep dir/x"), b"deep").unwrap();
    fs::write(
        dir.path()
            .join(std::ffi::OsStr::from_bytes(b"odd \xff\n?#%\"<&>.bin")),
        b"odd",
    )
    .unwrap();
    std::os::unix::fs::symlink("file", dir.path().join("link")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("outside")).unwrap();
    std::os::unix::fs::symlink("nowhere", dir.path().join("dangling")).unwrap();
    dir
}

pub fn start(root: &Path, change: impl FnOnce(&mut OriginConfig)) -> Origin {
    let mut config = OriginConfig::new(root);
    change(&mut config);
    Origin::start(config).expect("an origin")
}
