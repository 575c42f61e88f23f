//! The S3 source against a real S3 server program on loopback, through a daemon and the device socket.

#[allow(dead_code, reason = "each test crate uses its part")]
mod common;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use common::{FakeEngine, data_key};
use holdfast_daemon::{Auth, SourceUrl, VolumeConfig};
use holdfast_proto::Errno;
use holdfast_proto::listing::EntryKind;
use hyper_util::rt::{TokioExecutor, TokioIo};

const KEY_ID: &str = "AKEXAMPLE";
const SECRET: &str = "example-secret";

struct Server {
    address: SocketAddr,
    root: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
}

impl Server {
    fn start() -> Server {
        let root = tempfile::tempdir().unwrap();
        let files = s3s_fs::FileSystem::new(root.path()).unwrap();
        let mut builder = s3s::service::S3ServiceBuilder::new(files);
        builder.set_auth(s3s::auth::SimpleAuth::from_single(KEY_ID, SECRET));
        let service = builder.build();
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
            while let Ok((stream, _)) = listener.accept().await {
                let service = service.clone();
                tokio::spawn(async move {
                    let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Server {
            address,
            root,
            _runtime: runtime,
        }
    }

    fn put(&self, key: &str, bytes: &[u8]) {
        let path = self.root.path().join("bucket").join(key);
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn volume(&self, prefix: &str) -> String {
        let url = format!("s3://bucket/{prefix}?endpoint=http://{}", self.address);
        SourceUrl::parse(url.as_ref()).unwrap().volume_key()
    }
}

fn configure(engine: &FakeEngine, volume: &str, secret: &str) {
    let mut config = VolumeConfig::new(&SourceUrl::parse(volume.as_ref()).unwrap());
    config.auth = Auth::S3 {
        access_key_id: KEY_ID.into(),
        secret_access_key: secret.into(),
        session_token: None,
    };
    engine.configure(&config);
}

fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len)
        .map(|i| (i.wrapping_mul(31) ^ (i >> 8)) as u8 ^ seed)
        .collect()
}

#[test]
fn listings_entries_and_ranges_of_a_prefix() {
    let server = Server::start();
    let bytes = pattern(3_000_000, 1);
    server.put("pre/fix/big file", &bytes);
    server.put("pre/fix/dé/inner", b"inner");
    server.put("pre/fix/empty", b"");
    server.put("pre/outside", b"x");
    let mut engine = FakeEngine::start(4);
    let volume = server.volume("pre/fix");
    configure(&engine, &volume, SECRET);
    let listing = engine.list(&volume, b"").unwrap();
    let names: Vec<_> = listing
        .iter()
        .map(|e| String::from_utf8_lossy(&e.name).into_owned())
        .collect();
    assert_eq!(names, ["big file", "dé", "empty"]);
    assert_eq!(listing[1].kind, EntryKind::Directory);
    assert_eq!(engine.content(&volume, b"big file").unwrap(), bytes);
    assert_eq!(
        engine.content(&volume, "dé/inner".as_bytes()).unwrap(),
        b"inner"
    );
    assert_eq!(engine.content(&volume, b"empty").unwrap(), b"");
    assert_eq!(engine.list(&volume, "dé".as_bytes()).unwrap().len(), 1);
    assert_eq!(
        engine
            .entry(&volume, "dé".as_bytes())
            .unwrap()
            .unwrap()
            .kind,
        EntryKind::Directory
    );
    assert_eq!(engine.entry(&volume, b"nothing").unwrap(), None);
    assert_eq!(engine.entry(&volume, b"\xff").unwrap(), None);
    assert_eq!(engine.credits, 4);
}

#[test]
fn h04_an_object_that_changes_is_stale() {
    let server = Server::start();
    server.put("f", &pattern(100_000, 1));
    let mut engine = FakeEngine::start(2);
    let volume = server.volume("");
    configure(&engine, &volume, SECRET);
    let entry = engine.entry(&volume, b"f").unwrap().unwrap();
    let mut object = engine
        .open(
            &volume,
            &data_key(b"f", &entry),
            entry.size,
            &entry.validator,
        )
        .unwrap();
    assert_eq!(
        engine.read(&mut object, 0, 4096).unwrap(),
        &pattern(100_000, 1)[..4096]
    );
    server.put("f", &pattern(100_000, 2));
    assert_eq!(
        engine.read(&mut object, 4096, 4096).unwrap_err(),
        Errno::ESTALE
    );
}

#[test]
fn wrong_keys_are_eacces_and_a_server_that_is_gone_is_an_outage() {
    let server = Server::start();
    server.put("f", b"x");
    let mut engine = FakeEngine::start(2);
    let volume = server.volume("");
    configure(&engine, &volume, "wrong");
    assert_eq!(engine.entry(&volume, b"f").unwrap_err(), Errno::EACCES);
    configure(&engine, &volume, SECRET);
    assert_eq!(engine.content(&volume, b"f").unwrap(), b"x");
    drop(server);
    assert!(engine.entry(&volume, b"f").unwrap_err().is_outage());
}
