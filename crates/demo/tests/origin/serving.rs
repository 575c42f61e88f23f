//! What a plain web server does.

use std::collections::BTreeMap;
use std::fs;

use holdfast_demo::origin::{Auth, EtagStyle, IndexStyle, Origin, OriginConfig};

use crate::common::{agent, bytes, get, header, pattern, start, tree};

#[test]
fn whole_files_and_head() {
    let dir = tree();
    let origin = start(dir.path(), |_| {});
    for name in ["file", "big", "empty", "sub/deep dir/x"] {
        let expected = fs::read(dir.path().join(name)).unwrap();
        let url = origin.url_of(name.as_bytes());
        let head = agent().head(&url).call().unwrap();
        assert_eq!(head.status(), 200);
        assert_eq!(header(&head, "content-length"), expected.len().to_string());
        let reply = get(&url, &[]);
        assert_eq!(reply.status(), 200);
        assert_eq!(header(&reply, "accept-ranges"), "bytes");
        assert_eq!(header(&reply, "etag"), header(&head, "etag"));
        assert!(header(&reply, "etag").starts_with('"'));
        assert!(header(&reply, "last-modified").ends_with(" GMT"));
        assert!(bytes(reply) == expected, "{name} differs");
        let stats = origin.stats().path(name.as_bytes());
        assert_eq!((stats.requests, stats.head_requests), (2, 1));
        assert_eq!(stats.body_bytes, u64::try_from(expected.len()).unwrap());
    }
    assert_eq!(origin.stats().requests(), 8);
    assert_eq!(origin.stats().body_bytes(), 3_100_005);
    assert!(origin.stats().connections() >= 1);
    assert_eq!(origin.stats().paths().len(), 4);
    origin.stats().reset();
    assert_eq!(origin.stats().requests() + origin.stats().body_bytes(), 0);
}

#[test]
fn names_of_any_bytes_and_links() {
    let dir = tree();
    let origin = start(dir.path(), |_| {});
    assert_eq!(
        bytes(get(&origin.url_of(b"odd \xff\n?#%\"<&>.bin"), &[])),
        b"odd"
    );
    assert_eq!(bytes(get(&origin.url_of(b"link"), &[])), pattern(100_000));
    assert_eq!(get(&origin.url_of(b"outside"), &[]).status(), 403);
    assert_eq!(get(&origin.url_of(b"dangling"), &[]).status(), 404);
    assert_eq!(get(&origin.url_of(b"none"), &[]).status(), 404);
    assert_eq!(get(&origin.url_of(b"file/x"), &[]).status(), 404);
    assert_eq!(get(&origin.url_of(b"file/"), &[]).status(), 404);
    assert_eq!(get(&format!("{}%2e%2e/x", origin.url()), &[]).status(), 400);
}

#[test]
fn ranges() {
    let dir = tree();
    let origin = start(dir.path(), |_| {});
    let (url, whole) = (origin.url_of(b"big"), pattern(3_000_001));
    for (range, start, end) in [
        ("bytes=0-0", 0, 1),
        ("bytes=4096-8191", 4096, 8192),
        ("bytes=1048575-2500000", 1_048_575, 2_500_001),
        ("bytes=3000000-", 3_000_000, 3_000_001),
        ("bytes=-17", 2_999_984, 3_000_001),
        ("bytes=2999999-99999999", 2_999_999, 3_000_001),
    ] {
        let reply = get(&url, &[("range", range)]);
        assert_eq!(reply.status(), 206, "{range}");
        assert_eq!(
            header(&reply, "content-range"),
            format!("bytes {start}-{}/3000001", end - 1)
        );
        assert!(bytes(reply) == whole[start..end], "{range} differs");
    }
    let beyond = get(&url, &[("range", "bytes=3000001-")]);
    assert_eq!(beyond.status(), 416);
    assert_eq!(header(&beyond, "content-range"), "bytes */3000001");
    assert_eq!(
        get(&origin.url_of(b"empty"), &[("range", "bytes=0-")]).status(),
        416
    );
    let plain = start(dir.path(), |config| config.ranges = false);
    let reply = get(&plain.url_of(b"file"), &[("range", "bytes=5-9")]);
    assert_eq!(reply.status(), 200);
    assert!(reply.headers().get("accept-ranges").is_none());
    assert_eq!(bytes(reply).len(), 100_000);
}

#[test]
fn conditions() {
    let dir = tree();
    let origin = start(dir.path(), |_| {});
    let url = origin.url_of(b"file");
    let first = get(&url, &[]);
    let etag = header(&first, "etag").to_owned();
    let date = header(&first, "last-modified").to_owned();
    let past = "Sun, 06 Nov 1994 08:49:37 GMT";
    let cases: [(&[(&str, &str)], u16); 9] = [
        (&[("if-match", &etag)], 200),
        (&[("if-match", "\"other\"")], 412),
        (&[("if-none-match", &etag)], 304),
        (&[("if-unmodified-since", &date)], 200),
        (&[("if-unmodified-since", past)], 412),
        (&[("if-modified-since", &date)], 304),
        (&[("range", "bytes=0-1"), ("if-range", &etag)], 206),
        (&[("range", "bytes=0-1"), ("if-range", "\"other\"")], 200),
        (&[("range", "bytes=0-1"), ("if-match", "\"other\"")], 412),
    ];
    for (headers, status) in cases {
        assert_eq!(get(&url, headers).status(), status, "{headers:?}");
    }
    origin.faults().change_content(b"file", 0x55);
    let changed = get(&url, &[]);
    assert_ne!(header(&changed, "etag"), etag);
    assert_ne!(header(&changed, "last-modified"), date);
    let expected: Vec<u8> = pattern(100_000).iter().map(|byte| byte ^ 0x55).collect();
    assert!(bytes(changed) == expected);
    assert_eq!(
        get(&url, &[("range", "bytes=0-1"), ("if-match", &etag)]).status(),
        412
    );
    assert_eq!(get(&url, &[("if-unmodified-since", &date)]).status(), 412);
    origin.faults().clear();
    origin.faults().change_content_silently(b"file", 0x55);
    let silent = get(&url, &[("if-match", &etag)]);
    assert_eq!(silent.status(), 200);
    assert!(bytes(silent) == expected);
}

#[test]
fn entity_tags_follow_the_file_and_the_style() {
    let dir = tree();
    let strong = start(dir.path(), |_| {});
    let before = header(&get(&strong.url_of(b"file"), &[]), "etag").to_owned();
    fs::write(dir.path().join("new"), pattern(100_000)).unwrap();
    fs::rename(dir.path().join("new"), dir.path().join("file")).unwrap();
    assert_ne!(header(&get(&strong.url_of(b"file"), &[]), "etag"), before);
    let weak = start(dir.path(), |config| config.etag = EtagStyle::Weak);
    let tag = header(&get(&weak.url_of(b"file"), &[]), "etag").to_owned();
    assert!(tag.starts_with("W/\""));
    assert_eq!(
        get(&weak.url_of(b"file"), &[("if-match", &tag)]).status(),
        412
    );
    let bare = start(dir.path(), |config| {
        (config.etag, config.last_modified) = (EtagStyle::Absent, false)
    });
    let reply = get(&bare.url_of(b"file"), &[]);
    assert!(
        reply.headers().get("etag").is_none() && reply.headers().get("last-modified").is_none()
    );
}

#[test]
fn directories_redirect_and_list() {
    let dir = tree();
    let json = start(dir.path(), |_| {});
    let moved = get(&json.url_of(b"sub/deep dir"), &[]);
    assert_eq!(
        (moved.status().as_u16(), header(&moved, "location")),
        (301, "/sub/deep%20dir/")
    );
    let list = String::from_utf8(bytes(get(&json.url_of(b"sub/"), &[]))).unwrap();
    assert!(
        list.contains("{ \"name\":\"deep dir\", \"type\":\"directory\", \"mtime\":\""),
        "{list}"
    );
    let root = bytes(get(&json.url(), &[]));
    let text = String::from_utf8_lossy(&root);
    assert!(
        text.contains("\"name\":\"big\", \"type\":\"file\"") && text.contains("\"size\":3000001 }"),
        "{text}"
    );
    assert!(
        text.contains("\"name\":\"link\", \"type\":\"file\"")
            && text.contains("\"name\":\"dangling\", \"type\":\"other\"")
    );

    let html = start(dir.path(), |config| config.index = IndexStyle::NginxHtml);
    let text = String::from_utf8_lossy(&bytes(get(&html.url(), &[]))).into_owned();
    assert!(
        text.contains("<a href=\"sub/\">sub/</a>") && text.contains(" 3000001\r\n"),
        "{text}"
    );
    assert!(
        text.contains("<a href=\"odd%20%FF%0A%3F%23%25%22%3C%26%3E.bin\">"),
        "{text}"
    );

    let apache = start(dir.path(), |config| config.index = IndexStyle::ApacheHtml);
    let text = String::from_utf8_lossy(&bytes(get(&apache.url(), &[]))).into_owned();
    assert!(
        text.contains(">2.9M</td>") && text.contains("<a href=\"sub/\">sub/</a>"),
        "{text}"
    );

    let none = start(dir.path(), |config| config.index = IndexStyle::Disabled);
    assert_eq!(get(&none.url(), &[]).status(), 403);
    assert_eq!(get(&none.url_of(b"file"), &[]).status(), 200);
}

#[test]
fn methods_and_credentials() {
    let dir = tree();
    let origin = start(dir.path(), |_| {});
    let refused = agent().post(origin.url_of(b"file")).send("x").unwrap();
    assert_eq!(
        (refused.status().as_u16(), header(&refused, "allow")),
        (405, "GET, HEAD")
    );
    let headless = start(dir.path(), |config| config.head = false);
    assert_eq!(
        agent()
            .head(headless.url_of(b"file"))
            .call()
            .unwrap()
            .status(),
        405
    );
    assert_eq!(get(&headless.url_of(b"file"), &[]).status(), 200);

    let basic = start(dir.path(), |config| {
        config.auth = Auth::Basic {
            user: "Aladdin".into(),
            password: "open sesame".into(),
        };
    });
    let challenged = get(&basic.url_of(b"file"), &[]);
    assert_eq!(
        (
            challenged.status().as_u16(),
            header(&challenged, "www-authenticate")
        ),
        (401, "Basic realm=\"origin\"")
    );
    let sent = [("authorization", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")]; // RFC 7617's example
    assert_eq!(get(&basic.url_of(b"file"), &sent).status(), 200);

    let bearer = start(dir.path(), |config| {
        config.auth = Auth::Bearer {
            token: "t0ken".into(),
        }
    });
    assert_eq!(
        get(
            &bearer.url_of(b"file"),
            &[("authorization", "Bearer other")]
        )
        .status(),
        401
    );
    assert_eq!(
        get(
            &bearer.url_of(b"file"),
            &[("authorization", "Bearer t0ken")]
        )
        .status(),
        200
    );
}

#[test]
fn extra_files_are_served_from_memory() {
    let dir = tree();
    let extra = BTreeMap::from([
        (b".manifest".to_vec(), pattern(700_000).into()),
        (b"file".to_vec(), "hides".into()),
    ]);
    let origin = start(dir.path(), |config| config.extra_files = extra);
    assert!(bytes(get(&origin.url_of(b".manifest"), &[])) == pattern(700_000));
    let reply = get(
        &origin.url_of(b".manifest"),
        &[("range", "bytes=300000-600000")],
    );
    assert_eq!(reply.status(), 206);
    assert!(bytes(reply) == pattern(700_000)[300_000..=600_000]);
    assert_eq!(bytes(get(&origin.url_of(b"file"), &[])), b"hides");
}

#[test]
fn starting_where_it_cannot() {
    let dir = tree();
    assert!(Origin::start(OriginConfig::new(dir.path().join("none"))).is_err());
    assert!(Origin::start(OriginConfig::new(dir.path().join("file"))).is_err());
}

#[tokio::test]
async fn starts_and_stops_inside_a_runtime() {
    let dir = tree();
    let origin = start(dir.path(), |_| {});
    origin.refuse_connections();
    drop(origin);
}
