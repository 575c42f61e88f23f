//! Each kind of source shows the tree that is behind it: names, kinds, bytes, and what else it can tell.

use std::ffi::OsStr;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use holdfast_demo::origin::{Fault, FaultRule, IndexStyle, Scope};

use crate::origins::{
    Depth, assert_same, plant, plant_links, plant_raw_bytes, put, serve, serve_plainly,
};
use crate::support::{Site, can_mount, eventually, has_program};

fn a_tree_by_index(test: &str, index: IndexStyle) {
    if !can_mount(test) {
        return;
    }
    let site = Site::new();
    plant(&site.source());
    if index != IndexStyle::NginxJson {
        plant_raw_bytes(&site.source()); // JSON has no way to say them
    }
    let origin = serve(&site, |config| config.index = index);
    site.mount(OsStr::new(&origin.url()), &[]);
    assert_same(&site.source(), &site.mount_point(), Depth::Content);
    let absent = std::fs::metadata(site.mount_point().join("deep/absent"));
    assert_eq!(
        absent.expect_err("absent").kind(),
        std::io::ErrorKind::NotFound
    );
    site.umount();
}

#[test]
fn a_tree_by_nginx_json() {
    a_tree_by_index("a_tree_by_nginx_json", IndexStyle::NginxJson);
}

#[test]
fn a_tree_by_nginx_html() {
    a_tree_by_index("a_tree_by_nginx_html", IndexStyle::NginxHtml);
}

#[test]
fn h13_a_tree_by_apache_html_whose_sizes_are_rounded() {
    a_tree_by_index(
        "h13_a_tree_by_apache_html_whose_sizes_are_rounded",
        IndexStyle::ApacheHtml,
    );
}

/// Modes and times that no default would guess.
fn set_modes_and_times(root: &Path) {
    let modes = [
        ("plain", 0o640),
        ("with space", 0o4755),
        ("deep", 0o2711),
        ("empty dir", 0o555),
    ];
    for (n, (name, mode)) in modes.into_iter().enumerate() {
        let file = std::fs::File::open(root.join(name)).expect("opens");
        file.set_permissions(PermissionsExt::from_mode(mode))
            .expect("a mode");
        let mtime = SystemTime::UNIX_EPOCH + Duration::new(1_000_000 + n as u64, 123_456_789);
        file.set_modified(mtime).expect("a time");
    }
}

fn plant_everything(root: &Path) {
    plant(root);
    plant_raw_bytes(root);
    plant_links(root);
    set_modes_and_times(root);
}

#[test]
fn a_directory_with_modes_times_links_and_raw_names() {
    if !can_mount("a_directory_with_modes_times_links_and_raw_names") {
        return;
    }
    let site = Site::new();
    plant_everything(&site.source());
    site.mount_dir(&[]);
    assert_same(&site.source(), &site.mount_point(), Depth::Everything);
    site.umount();
}

#[test]
fn a_file_url_is_the_directory_it_names() {
    if !can_mount("a_file_url_is_the_directory_it_names") {
        return;
    }
    let site = Site::new();
    plant_everything(&site.source());
    let url = format!("file://{}", site.source().display());
    site.mount(OsStr::new(&url), &[]);
    assert_same(&site.source(), &site.mount_point(), Depth::Everything);
    site.umount();
}

#[test]
fn a_manifest_tells_everything_where_the_server_has_no_index() {
    if !can_mount("a_manifest_tells_everything_where_the_server_has_no_index") {
        return;
    }
    let site = Site::new();
    plant_everything(&site.source());
    let origin = serve(&site, |config| config.index = IndexStyle::Disabled);
    let written = site.holdfast().arg("manifest").arg(site.source()).output();
    assert!(written.expect("holdfast runs").status.success());
    site.mount(OsStr::new(&origin.url()), &[]);
    assert_same(&site.source(), &site.mount_point(), Depth::Everything);
    site.umount();
}

#[test]
fn a_manifest_may_lie_elsewhere() {
    if !can_mount("a_manifest_may_lie_elsewhere") {
        return;
    }
    let site = Site::new();
    std::fs::create_dir(site.source().join("data")).expect("a directory");
    plant_everything(&site.source().join("data"));
    let list = site.source().join("list.jsonl");
    let mut command = site.holdfast();
    command
        .arg("manifest")
        .arg("--output")
        .arg(&list)
        .arg(site.source().join("data"));
    assert!(command.status().expect("holdfast runs").success());
    let origin = serve(&site, |config| config.index = IndexStyle::Disabled);
    let url = format!("{}data/", origin.url());
    site.mount(OsStr::new(&url), &["--manifest", "../list.jsonl"]);
    assert_same(
        &site.source().join("data"),
        &site.mount_point(),
        Depth::Everything,
    );
    site.umount();
}

#[test]
fn one_file_is_a_directory_with_one_name() {
    if !can_mount("one_file_is_a_directory_with_one_name") {
        return;
    }
    let site = Site::new();
    let bytes = put(&site, b"the one", 1, 700_001);
    put(&site, b"another", 2, 10);
    let origin = serve(&site, |config| config.index = IndexStyle::Disabled);
    site.mount(OsStr::new(&origin.url_of(b"the one")), &[]);
    let names: Vec<_> = std::fs::read_dir(site.mount_point())
        .expect("lists")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(names, ["the one"]);
    assert!(std::fs::read(site.mount_point().join("the one")).expect("reads") == bytes);
    assert!(!site.mount_point().join("another").exists());
    site.umount();
}

#[test]
fn redirects_are_followed_for_trees_and_files() {
    if !can_mount("redirects_are_followed_for_trees_and_files") {
        return;
    }
    let site = Site::new();
    std::fs::create_dir(site.source().join("real")).expect("a directory");
    let bytes = put(&site, b"real/file", 1, 300_001);
    let target = serve_plainly(&site);
    let front = serve_plainly(&site);
    for path in ["file", "sub file"] {
        let location = target.url_of(b"real/file");
        let rule = FaultRule::always(Fault::Redirect { location });
        front
            .faults()
            .add(rule.on(Scope::Path(format!("real/{path}").into_bytes())));
    }
    // Without the slash: led to the tree by the server.
    let url = format!("{}real", front.url());
    site.mount(OsStr::new(&url), &[]);
    for path in ["file", "sub file"] {
        let read = std::fs::read(site.mount_point().join(path)).expect("reads");
        assert!(read == bytes, "{path}");
    }
    assert!(target.stats().path(b"real/file").body_bytes >= 300_001);
    assert_eq!(front.stats().path(b"real/sub file").body_bytes, 0);
    site.umount();
}

struct Nginx(Child);

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// nginx at `/json/`, `/html/` and `/rounded/`, each the site's source; and its port.
fn nginx(site: &Site) -> (Nginx, u16) {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = free.local_addr().expect("bound").port();
    drop(free); // nginx cannot tell a port that it chose by itself
    let dir = site.path("nginx");
    std::fs::create_dir(&dir).expect("a directory");
    let (dir, source) = (
        dir.display().to_string(),
        site.source().display().to_string(),
    );
    let user = if rustix::process::geteuid().is_root() {
        "user root;"
    } else {
        ""
    };
    let config = format!(
        "{user} daemon off; master_process off; pid {dir}/pid; error_log {dir}/error.log;\n\
         events {{ worker_connections 64; }}\n\
         http {{ access_log off; client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; \
         fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s; sendfile on;\n\
         server {{ listen 127.0.0.1:{port}; autoindex on;\n\
         location /json/ {{ alias {source}/; autoindex_format json; }}\n\
         location /html/ {{ alias {source}/; autoindex_exact_size on; }}\n\
         location /rounded/ {{ alias {source}/; autoindex_exact_size off; }} }} }}\n"
    );
    let path = site.path("nginx.conf");
    std::fs::write(&path, config).expect("a configuration");
    let mut command = Command::new("/usr/sbin/nginx");
    command
        .args(["-e", "stderr", "-c"])
        .arg(path)
        .stderr(Stdio::null());
    let server = Nginx(command.spawn().expect("nginx starts"));
    eventually("nginx listens", || {
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    (server, port)
}

#[test]
fn a_real_nginx_with_each_of_its_indexes() {
    let test = "a_real_nginx_with_each_of_its_indexes";
    if !can_mount(test) || !has_program(test, "nginx") {
        return;
    }
    let site = Site::new();
    plant(&site.source());
    let (_server, port) = nginx(&site);
    for index in ["json", "html", "rounded"] {
        let url = format!("http://127.0.0.1:{port}/{index}/");
        site.mount(OsStr::new(&url), &[]);
        assert_same(&site.source(), &site.mount_point(), Depth::Content);
        site.umount();
    }
}
