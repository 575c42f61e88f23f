//! What a broken web server does.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use holdfast_demo::origin::{Fault, FaultRule, Origin, Scope};

use crate::common::{agent, bytes, get, header, pattern, start, tree};

#[test]
fn faults_before_the_answer() {
    let dir = tree();
    let origin = start(dir.path(), |_| {});
    let url = origin.url_of(b"file");
    let only_file = || Scope::Path(b"file".to_vec());
    origin.faults().add(
        FaultRule::always(Fault::Status { code: 503 })
            .on(only_file())
            .times(1),
    );
    assert_eq!(get(&url, &[]).status(), 503);
    assert_eq!(get(&url, &[]).status(), 200);
    let id = origin.faults().add(
        FaultRule::always(Fault::Redirect {
            location: "/big".into(),
        })
        .on(only_file()),
    );
    let moved = get(&url, &[]);
    assert_eq!(
        (moved.status().as_u16(), header(&moved, "location")),
        (302, "/big")
    );
    assert!(origin.faults().remove(id));
    let id = origin
        .faults()
        .add(FaultRule::always(Fault::Drop).on(only_file()));
    assert!(agent().get(&url).call().is_err());
    assert_eq!(get(&origin.url_of(b"big"), &[]).status(), 200);
    assert!(origin.faults().remove(id));
    let latency = Duration::from_millis(50);
    origin
        .faults()
        .add(FaultRule::always(Fault::Latency(latency)));
    let before = std::time::Instant::now();
    assert_eq!(get(&url, &[]).status(), 200);
    assert!(before.elapsed() >= latency);
}

#[test]
fn faults_in_the_body() {
    let dir = tree();
    let origin = start(dir.path(), |_| {});
    let url = origin.url_of(b"big");
    let read = |url: &str| {
        let mut got = Vec::new();
        let ended = get(url, &[]).body_mut().as_reader().read_to_end(&mut got);
        (got, ended.is_ok())
    };
    let whole = pattern(3_000_001);

    let id = origin.faults().add(FaultRule::always(Fault::DropInBody {
        after_bytes: 1_000_000,
    }));
    let (got, complete) = read(&url);
    assert!(!complete && got.len() <= 1_000_000 && whole.starts_with(&got));
    assert!(origin.faults().remove(id));

    let id = origin
        .faults()
        .add(FaultRule::always(Fault::ContentLengthOffBy {
            delta_bytes: 10,
        }));
    let reply = get(&url, &[]);
    assert_eq!(header(&reply, "content-length"), "3000011");
    assert!(!read(&url).1);
    assert!(origin.faults().remove(id));

    let id = origin
        .faults()
        .add(FaultRule::always(Fault::ContentLengthOffBy {
            delta_bytes: -10,
        }));
    let (got, complete) = read(&url);
    assert!(complete && got == whole[..2_999_991]);
    assert!(origin.faults().remove(id));

    let id = origin
        .faults()
        .add(FaultRule::always(Fault::RangeOffBy { delta_bytes: 4096 }));
    let reply = get(&url, &[("range", "bytes=0-4095")]);
    assert_eq!(header(&reply, "content-range"), "bytes 4096-8191/3000001");
    assert!(bytes(reply) == whole[4096..8192]);
    assert!(origin.faults().remove(id));

    origin.faults().add(
        FaultRule::always(Fault::Throttle {
            bytes_per_second: 1_000_000,
        })
        .on(Scope::Prefix(b"fi".to_vec())),
    );
    let before = std::time::Instant::now();
    assert_eq!(bytes(get(&origin.url_of(b"file"), &[])).len(), 100_000);
    assert!(before.elapsed() >= Duration::from_millis(100));
}

/// A client by hand, because it must see bytes that come and an end that does not.
fn raw_request(origin: &Origin, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(origin.addr()).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: origin\r\n\r\n").unwrap();
    stream
}

#[test]
fn stalls_last_until_the_connections_are_dropped() {
    let dir = tree();
    let origin = start(dir.path(), |_| {});
    origin
        .faults()
        .add(FaultRule::always(Fault::StallInBody { after_bytes: 1000 }));
    let mut in_body = raw_request(&origin, "/file");
    let mut got = Vec::new();
    let mut piece = [0; 4096];
    let body_start = |got: &[u8]| {
        got.windows(4)
            .position(|window| window == b"\r\n\r\n")
            .map(|at| at + 4)
    };
    while body_start(&got).is_none_or(|start| got.len() < start + 1000) {
        let count = in_body.read(&mut piece).unwrap();
        assert!(count > 0, "closed instead of stalled");
        got.extend_from_slice(&piece[..count]);
    }
    origin.faults().clear();
    origin.faults().add(FaultRule::always(Fault::Stall));
    let mut before_header = raw_request(&origin, "/file");
    for stream in [&mut in_body, &mut before_header] {
        stream
            .set_read_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        let error = stream.read(&mut piece).expect_err("nothing comes");
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
    }
    origin.drop_connections();
    for stream in [&mut in_body, &mut before_header] {
        assert!(
            matches!(stream.read(&mut piece), Ok(0) | Err(_)),
            "still open"
        );
    }
}

#[test]
fn refusing_and_accepting_again_on_the_same_port() {
    let dir = tree();
    let origin = start(dir.path(), |_| {});
    for _ in 0..3 {
        assert_eq!(get(&origin.url_of(b"file"), &[]).status(), 200);
        let mut open = TcpStream::connect(origin.addr()).unwrap();
        origin.refuse_connections();
        assert!(
            matches!(open.read(&mut [0; 1]), Ok(0) | Err(_)),
            "still open"
        );
        let refused = TcpStream::connect(origin.addr()).expect_err("nobody listens");
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        origin.accept_connections();
    }
    let addr = origin.addr();
    drop(origin);
    assert!(
        TcpStream::connect(addr).is_err(),
        "still listens after its end"
    );
}

#[test]
fn a_share_of_requests_fails() {
    let dir = tree();
    let origin = start(dir.path(), |config| config.seed = 3);
    origin
        .faults()
        .add(FaultRule::always(Fault::Status { code: 500 }).with_probability(0.5));
    let agent = agent();
    let failed = (0..100)
        .filter(|_| agent.get(origin.url_of(b"empty")).call().unwrap().status() == 500)
        .count();
    assert!((20..80).contains(&failed), "{failed} of 100 at 0.5");
}
