//! Sources that ask who we are, S3, and several sources at once.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use holdfast_demo::origin::{Auth, Origin};
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::origins::{Depth, assert_same, facts, put, serve, serve_plainly};
use crate::support::{Site, can_mount, noise};

const USER: &str = "me";
const SECRET: &str = "hunter2-not-on-a-command-line";

fn basic() -> Auth {
    Auth::Basic {
        user: USER.into(),
        password: SECRET.into(),
    }
}

fn bearer() -> Auth {
    Auth::Bearer {
        token: SECRET.into(),
    }
}

/// No process shows the secret, and no file of the site does to others.
fn assert_secret_is_kept(site: &Site) {
    for entry in std::fs::read_dir("/proc").expect("lists") {
        // Read from outside, not by the process's own memory when that is at fault: only ours.
        let path = entry.expect("an entry").path();
        let comm = std::fs::read_to_string(path.join("comm")).unwrap_or_default();
        if comm.starts_with("holdfast") {
            let arguments = std::fs::read(path.join("cmdline")).unwrap_or_default();
            let shown = String::from_utf8_lossy(&arguments).contains(SECRET);
            assert!(!shown, "{} shows it", path.display());
        }
    }
    assert!(!site.log().contains(SECRET), "the log holds it");
    let run = site.run_dir();
    assert_eq!(
        std::fs::metadata(&run).expect("stats").permissions().mode() & 0o077,
        0
    );
    for entry in std::fs::read_dir(run.join("volumes")).expect("lists") {
        let mode = entry
            .expect("an entry")
            .metadata()
            .expect("stats")
            .permissions()
            .mode();
        assert_eq!(mode & 0o077, 0, "a volume's file can be read by others");
    }
}

fn with_credentials(test: &str, auth: Auth, variables: &[(&str, &str)], file: Option<&str>) {
    if !can_mount(test) {
        return;
    }
    let site = Site::new();
    let bytes = put(&site, b"file", 1, 100_000);
    let origin = serve(&site, |config| config.auth = auth);
    let url = origin.url();
    let refused = site.try_mount(OsStr::new(&url), &[]);
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success(), "mounted without credentials");
    assert!(words.contains("access refused"), "{words}");
    let mut command = site.mount_command(OsStr::new(&url), &site.mount_point(), &[]);
    command.envs(variables.iter().copied());
    if let Some(line) = file {
        let path = site.path("auth");
        std::fs::write(&path, line).expect("a file");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("a mode");
        command.arg("--auth-file").arg(path);
    }
    let output = command.output().expect("holdfast runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(std::fs::read(site.mount_point().join("file")).expect("reads") == bytes);
    assert_secret_is_kept(&site);
    site.umount();
}

#[test]
fn basic_credentials_from_the_environment() {
    let variables = [
        ("HOLDFAST_HTTP_USER", USER),
        ("HOLDFAST_HTTP_PASSWORD", SECRET),
    ];
    with_credentials(
        "basic_credentials_from_the_environment",
        basic(),
        &variables,
        None,
    );
}

#[test]
fn a_bearer_token_from_the_environment() {
    let variables = [("HOLDFAST_HTTP_BEARER", SECRET)];
    with_credentials(
        "a_bearer_token_from_the_environment",
        bearer(),
        &variables,
        None,
    );
}

#[test]
fn basic_credentials_from_a_file() {
    let line = format!("{USER}:{SECRET}\n");
    with_credentials("basic_credentials_from_a_file", basic(), &[], Some(&line));
}

#[test]
fn a_bearer_token_from_a_file() {
    with_credentials("a_bearer_token_from_a_file", bearer(), &[], Some(SECRET));
}

struct S3 {
    address: SocketAddr,
    _runtime: tokio::runtime::Runtime,
}

/// An S3 server of the site's source directory: its directories are buckets.
fn s3(site: &Site) -> S3 {
    let files = s3s_fs::FileSystem::new(site.source()).expect("a server");
    let mut builder = s3s::service::S3ServiceBuilder::new(files);
    builder.set_auth(s3s::auth::SimpleAuth::from_single("AKEXAMPLE", SECRET));
    let service = builder.build();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let bound = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"));
    let listener = bound.expect("a port");
    let address = listener.local_addr().expect("bound");
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service.clone();
            tokio::spawn(async move {
                let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    S3 {
        address,
        _runtime: runtime,
    }
}

fn plant_keys(root: &Path) {
    std::fs::create_dir_all(root.join("deep/er dé")).expect("directories");
    let names = ["a b+c&d", "ütf ☃", "deep/er dé/inner", "deep/big"];
    for (seed, name) in names.iter().enumerate() {
        let bytes = noise(seed as u64, 10 + seed * 900_001);
        std::fs::write(root.join(name), bytes).expect("a file");
    }
    std::fs::write(root.join("empty"), b"").expect("a file");
}

#[test]
fn a_prefix_of_an_s3_bucket() {
    if !can_mount("a_prefix_of_an_s3_bucket") {
        return;
    }
    let site = Site::new();
    let root = site.source().join("bucket/pre/fix");
    plant_keys(&root);
    std::fs::write(site.source().join("bucket/outside"), b"x").expect("a file");
    let server = s3(&site);
    for (prefix, shown) in [
        ("bucket/pre/fix", &root),
        ("bucket", &site.source().join("bucket")),
    ] {
        let address = server.address;
        let url = format!("s3://{prefix}?endpoint=http://{address}&region=us-east-1");
        let mut command = site.mount_command(OsStr::new(&url), &site.mount_point(), &[]);
        command
            .env("AWS_ACCESS_KEY_ID", "AKEXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", SECRET);
        let output = command.output().expect("holdfast runs");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert_same(shown, &site.mount_point(), Depth::Content);
        assert_secret_is_kept(&site);
        site.umount();
    }
}

fn mount_besides(site: &Site, source: &OsStr) -> std::path::PathBuf {
    let second = site.path("mount2");
    std::fs::create_dir(&second).expect("a directory");
    let output = site
        .mount_command(source, &second, &[])
        .output()
        .expect("holdfast runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    second
}

fn umount_besides(site: &Site, dir: &Path) {
    let output = site
        .holdfast()
        .arg("umount")
        .arg(dir)
        .output()
        .expect("holdfast runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn mounted_origin(site: &Site) -> Origin {
    let origin = serve_plainly(site);
    site.mount(OsStr::new(&origin.url()), &[]);
    origin
}

#[test]
fn two_sources_share_an_instance() {
    if !can_mount("two_sources_share_an_instance") {
        return;
    }
    let site = Site::new();
    put(&site, b"file", 1, 400_000);
    let _origin = mounted_origin(&site);
    let other = site.path("other");
    plant_keys(&other);
    let second = mount_besides(&site, format!("dir:{}", other.display()).as_ref());
    assert_eq!(site.instances().len(), 1);
    assert_eq!(
        site.instances()[0]["mounts"].as_array().map(Vec::len),
        Some(2)
    );
    assert_same(&site.source(), &site.mount_point(), Depth::Content);
    assert_same(&other, &second, Depth::Everything);
    umount_besides(&site, &second);
    assert_same(&site.source(), &site.mount_point(), Depth::Content);
    site.umount();
}

#[test]
fn a_source_mounted_twice_is_fetched_once() {
    if !can_mount("a_source_mounted_twice_is_fetched_once") {
        return;
    }
    let site = Site::new();
    put(&site, b"file", 1, 400_000);
    let origin = mounted_origin(&site);
    let second = mount_besides(&site, OsStr::new(&origin.url()));
    let facts = [&second, &site.mount_point()].map(|dir| facts(dir, Depth::Content));
    assert_eq!(facts[0], facts[1]);
    assert_eq!(origin.stats().path(b"file").body_bytes, 400_000);
    umount_besides(&site, &second);
    assert_same(&site.source(), &site.mount_point(), Depth::Content);
    site.umount();
}
