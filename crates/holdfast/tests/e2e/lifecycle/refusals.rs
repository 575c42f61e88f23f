//! What cannot be mounted: one clear sentence, and nothing is left.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Output;

use super::{is_mounted, nothing_is_left, one_file};
use crate::origins::serve_plainly;
use crate::support::{Site, can_mount, has_program};

/// The refusal's sentence; panics when it is none, or more than one.
fn sentence(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(output.stdout.is_empty(), "{output:?}");
    said
}

fn refused(site: &Site, source: impl AsRef<OsStr>, wanted: &str) {
    let said = sentence(&site.try_mount(source.as_ref(), &[]));
    assert!(said.contains(wanted), "{wanted:?} is not in {said:?}");
    nothing_is_left(site);
}

/// A server that answers every request with `status`; its thread ends with the process.
fn server(status: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!(
        "http://{}/tree/",
        listener.local_addr().expect("an address")
    );
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let answer =
                format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    url
}

#[test]
fn bad_sources_are_refused_in_one_sentence() {
    if !can_mount("bad_sources_are_refused_in_one_sentence") {
        return;
    }
    let site = one_file();
    let mut missing = OsString::from("dir:");
    missing.push(site.path("missing"));
    refused(&site, missing, "No such file or directory");
    refused(&site, "gopher://x/", "gopher");
    refused(&site, "http://", "http://");
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let closed = format!("http://{}/", free.local_addr().expect("an address"));
    drop(free);
    refused(&site, closed, "efused");
    refused(&site, server("404 Not Found"), "does not exist");
    refused(&site, server("403 Forbidden"), "access refused");
    refused(&site, server("500 Oh"), "failed");
}

#[test]
fn what_is_cached_is_mounted_though_the_source_is_gone() {
    if !can_mount("what_is_cached_is_mounted_though_the_source_is_gone") {
        return;
    }
    let site = one_file();
    let origin = serve_plainly(&site);
    let url = origin.url();
    site.mount(url.as_ref(), &[]);
    let cached = site.mount_point();
    assert_eq!(std::fs::read_dir(&cached).expect("lists").count(), 1);
    assert_eq!(
        std::fs::read(cached.join("file")).expect("reads"),
        b"content"
    );
    site.umount();
    drop(origin);
    let output = site.try_mount(url.as_ref(), &[]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("what is cached can be read"), "{said}");
    assert_eq!(
        std::fs::read(cached.join("file")).expect("reads"),
        b"content"
    );
    site.umount();
    nothing_is_left(&site);
}

/// A source may forget a directory; readdir(3) would take ENOENT for its end.
#[test]
fn a_listing_that_is_gone_does_not_look_empty() {
    if !can_mount("a_listing_that_is_gone_does_not_look_empty") {
        return;
    }
    let site = one_file();
    let sub = site.source().join("sub");
    std::fs::create_dir(&sub).expect("a directory");
    std::fs::write(sub.join("file"), "content").expect("a file");
    site.mount_dir(&[]);
    let dir = site.mount_point().join("sub");
    assert!(dir.is_dir());
    std::fs::remove_dir_all(&sub).expect("removes");
    let listed = std::fs::read_dir(&dir).and_then(|names| names.collect::<Result<Vec<_>, _>>());
    let site_log = site.log();
    site.umount();
    let error = listed.expect_err(&site_log);
    assert_eq!(error.kind(), std::io::ErrorKind::StaleNetworkFileHandle);
}

#[test]
fn bad_directories_are_refused_in_one_sentence() {
    if !can_mount("bad_directories_are_refused_in_one_sentence") {
        return;
    }
    let site = one_file();
    let mut source = OsString::from("dir:");
    source.push(site.source());
    let dir = site.mount_point();
    std::fs::remove_dir(&dir).expect("removes");
    refused(&site, &source, "mkdir -p");
    std::fs::write(&dir, "").expect("a file");
    refused(&site, &source, "not a directory");
    std::fs::remove_file(&dir).expect("removes");
    std::fs::create_dir(&dir).expect("a directory");
    site.mount(&source, &[]);
    let said = sentence(&site.try_mount(&source, &[]));
    assert!(said.contains("already"), "{said}");
    assert!(is_mounted(&dir), "the first mount stays");
    site.umount();
    let output = site.holdfast().arg("umount").arg(&dir).output();
    let said = sentence(&output.expect("holdfast runs"));
    assert!(said.contains("not a Holdfast mount"), "{said}");
    nothing_is_left(&site);
}

#[test]
fn a_run_directory_that_others_may_enter_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    if !can_mount("a_run_directory_that_others_may_enter_is_refused") {
        return;
    }
    let site = one_file();
    let run = site.path("run");
    for mode in [0o755, 0o710, 0o777] {
        std::fs::set_permissions(&run, PermissionsExt::from_mode(mode)).expect("a mode");
        let mut source = OsString::from("dir:");
        source.push(site.source());
        sentence(&site.try_mount(&source, &[]));
    }
    std::fs::set_permissions(&run, PermissionsExt::from_mode(0o700)).expect("a mode");
    nothing_is_left(&site);
    site.mount_dir(&[]);
    let run_dir = site.run_dir();
    assert_eq!(
        run_dir.metadata().expect("it is").permissions().mode() & 0o777,
        0o700
    );
    for entry in std::fs::read_dir(&run_dir).expect("lists") {
        let entry = entry.expect("an entry");
        let mode = entry.metadata().expect("it is").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{:?} is open to others", entry.path());
    }
    site.umount();
}

/// H22: the engine holds the descriptor before mount(2); when that fails it must let go of it.
#[test]
fn h22_an_engine_forgets_a_descriptor_that_could_not_be_mounted() {
    let test = "h22_an_engine_forgets_a_descriptor_that_could_not_be_mounted";
    if !can_mount(test) || !has_program(test, "setpriv") {
        return;
    }
    let site = one_file();
    let mut source = OsString::from("dir:");
    source.push(site.source());
    let output = std::process::Command::new("setpriv")
        .args(["--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin"])
        .arg(env!("CARGO_BIN_EXE_holdfast"))
        .args(["mount", "--idle-exit", "1s", "--cache-dir"])
        .arg(site.cache())
        .arg("--log")
        .arg(site.path("log"))
        .arg(source)
        .arg(site.mount_point())
        .env("HOLDFAST_RUN_DIR", site.path("run"))
        .output()
        .expect("setpriv runs");
    let said = sentence(&output);
    assert!(said.contains("SYS_ADMIN"), "{said}");
    nothing_is_left(&site);
    let log = site.log();
    assert!(log.contains("a mount ended"), "{log}");
    assert!(!log.contains("never mounted"), "{log}");
}
