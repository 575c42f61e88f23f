//! The HTTP source against a real nginx with its two kinds of index. Skipped, and said so, where nginx is not installed.

#[allow(dead_code, reason = "each test crate uses its part")]
mod common;

use std::ffi::OsStr;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::FakeEngine;
use holdfast_proto::Errno;
use holdfast_proto::listing::EntryKind;

const NGINX: &str = "/usr/sbin/nginx";

struct Nginx {
    process: Child,
    port: u16,
    folder: tempfile::TempDir,
}

impl Nginx {
    /// Serves `<folder>/tree` at `/json/` and `/html/`; `None` where there is no nginx.
    fn start() -> Option<Nginx> {
        if !Path::new(NGINX).exists() {
            eprintln!("SKIPPED: {NGINX} is not installed");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("tree");
        fs::create_dir(&tree).unwrap();
        // nginx cannot tell a port it chose itself, so a free one is looked for.
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let config = format!(
            "daemon off; master_process off; pid {0}/pid; error_log {0}/error.log;\n\
             events {{ worker_connections 64; }}\n\
             http {{ access_log {0}/access.log; client_body_temp_path {0}/b; proxy_temp_path {0}/p; fastcgi_temp_path {0}/f;\n\
             uwsgi_temp_path {0}/u; scgi_temp_path {0}/s; sendfile on;\n\
             server {{ listen 127.0.0.1:{port};\n\
             location /json/ {{ alias {0}/tree/; autoindex on; autoindex_format json; }}\n\
             location /html/ {{ alias {0}/tree/; autoindex on; autoindex_exact_size off; }} }} }}\n",
            folder.path().display()
        );
        fs::write(folder.path().join("nginx.conf"), config).unwrap();
        let process = Command::new(NGINX)
            .args(["-e", "stderr", "-c"])
            .arg(folder.path().join("nginx.conf"))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let nginx = Nginx {
            process,
            port,
            folder,
        };
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "nginx does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        Some(nginx)
    }

    fn put(&self, name: &[u8], bytes: &[u8]) {
        fs::write(
            self.folder
                .path()
                .join("tree")
                .join(OsStr::from_bytes(name)),
            bytes,
        )
        .unwrap();
    }

    fn volume(&self, kind: &str) -> String {
        format!("http://127.0.0.1:{}/{kind}/", self.port)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len)
        .map(|i| (i.wrapping_mul(31) ^ (i >> 8)) as u8 ^ seed)
        .collect()
}

#[test]
fn odd_names_through_both_indexes_with_one_version_by_index_and_by_head() {
    let Some(nginx) = Nginx::start() else { return };
    let long = vec![b'y'; 255];
    let names: [&[u8]; 9] = [
        b"plain",
        b"with space",
        b"new\nline",
        b"\xff\xfe",
        b"a?b#c%41&d",
        b"co:lon",
        b"qu\"ote\\",
        "é".as_bytes(),
        &long,
    ];
    for (i, name) in names.iter().enumerate() {
        nginx.put(name, &pattern(i * 70_000, i as u8));
    }
    fs::create_dir(nginx.folder.path().join("tree/sub dir")).unwrap();
    let mut engine = FakeEngine::start(4);
    for kind in ["json", "html"] {
        let volume = nginx.volume(kind);
        let listing = engine.list(&volume, b"").unwrap();
        assert_eq!(listing.len(), names.len() + 1, "{kind}: {listing:?}");
        assert!(
            listing
                .iter()
                .any(|e| e.name == b"sub dir" && e.kind == EntryKind::Directory),
            "{kind}"
        );
        for (i, name) in names.iter().enumerate() {
            let listed = listing.iter().find(|e| e.name == *name).unwrap();
            let entry = engine.entry(&volume, name).unwrap().unwrap();
            assert_eq!(entry.size, Some(i as u64 * 70_000));
            match kind {
                "json" => assert_eq!(&entry, listed, "one version, one cached copy"),
                _ => assert_eq!(listed.size, None, "h13: a rounded size is no size"),
            }
            assert_eq!(
                engine.version(&volume, name, &entry).unwrap(),
                pattern(i * 70_000, i as u8)
            );
        }
        assert_eq!(
            engine.entry(&volume, b"sub dir").unwrap().unwrap().kind,
            EntryKind::Directory
        );
        assert_eq!(engine.list(&volume, b"sub dir").unwrap(), []);
        assert_eq!(engine.list(&volume, b"nothing").unwrap_err(), Errno::ENOENT);
    }
}

#[test]
fn h04_a_file_that_nginx_serves_anew_is_stale() {
    let Some(nginx) = Nginx::start() else { return };
    nginx.put(b"f", &pattern(200_000, 1));
    let mut engine = FakeEngine::start(2);
    let volume = nginx.volume("json");
    let entry = engine.entry(&volume, b"f").unwrap().unwrap();
    assert_eq!(
        engine.version(&volume, b"f", &entry).unwrap(),
        pattern(200_000, 1)
    );
    nginx.put(b"f", &pattern(200_000, 2));
    let file = fs::File::options()
        .write(true)
        .open(nginx.folder.path().join("tree/f"))
        .unwrap();
    file.set_modified(std::time::SystemTime::now() + Duration::from_secs(60))
        .unwrap();
    assert_eq!(
        engine.version(&volume, b"f", &entry).unwrap_err(),
        Errno::ESTALE
    );
}
