//! The program curl as a client.

use std::process::{Command, Stdio};

use holdfast_demo::origin::{Auth, Fault, FaultRule};

use crate::common::{pattern, start, tree};

fn curl(args: &[&str]) -> std::process::Output {
    let bounded = [
        "--silent",
        "--show-error",
        "--max-time",
        "60",
        "--noproxy",
        "*",
    ];
    Command::new("curl")
        .args(bounded)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("curl runs")
}

#[test]
fn curl_agrees() {
    if Command::new("curl").arg("--version").output().is_err() {
        eprintln!("skipped: the program curl is not installed");
        return;
    }
    let dir = tree();
    let origin = start(dir.path(), |config| {
        config.auth = Auth::Basic {
            user: "u".into(),
            password: "p".into(),
        };
    });
    let url = origin.url_of(b"big");
    assert!(curl(&["--user", "u:p", &url]).stdout == pattern(3_000_001));
    assert!(
        curl(&["--user", "u:p", "--range", "100-299999", &url]).stdout
            == pattern(3_000_001)[100..300_000]
    );
    let both = curl(&[
        "--user",
        "u:p",
        &url,
        "--next",
        "--user",
        "u:p",
        &origin.url_of(b"file"),
    ]);
    assert_eq!(both.stdout.len(), 3_100_001);
    assert_eq!(curl(&["--fail", &url]).status.code(), Some(22)); // 401
    let listed = curl(&["--user", "u:p", "--location", &origin.url_of(b"sub")]);
    assert!(
        String::from_utf8(listed.stdout)
            .unwrap()
            .contains("\"deep dir\"")
    );
    let body = "%{http_code} %header{content-length}";
    let head = curl(&[
        "--user",
        "u:p",
        "--head",
        "--output",
        "/dev/null",
        "--write-out",
        body,
        &url,
    ]);
    assert_eq!(String::from_utf8(head.stdout).unwrap(), "200 3000001");
    origin
        .faults()
        .add(FaultRule::always(Fault::DropInBody { after_bytes: 5000 }));
    assert_eq!(curl(&["--user", "u:p", &url]).status.code(), Some(18)); // partial file
    origin.refuse_connections();
    assert_eq!(curl(&["--user", "u:p", &url]).status.code(), Some(7)); // could not connect
}
