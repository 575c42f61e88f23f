//! Nobody serves, or the origin is out of reach: readers wait, or get EIO in time, and nothing outlives the recovery.

mod common;

use std::time::Duration;

use common::{Rig, SIZE_BYTES, blocks, failed, lease_of, ms, ready};
use holdfast_core::{Event, ReaderId};
use holdfast_proto::Errno;

/// Waits in small steps until something is told to readers; gives what, and after how long.
fn until_told(rig: &mut Rig, limit: Duration) -> (Vec<Event>, Duration) {
    let start = rig.now;
    loop {
        let told = rig.reader_events();
        if !told.is_empty() || rig.now - start >= limit {
            return (told, rig.now - start);
        }
        rig.wait(ms(10));
    }
}

#[test]
fn wait_means_for_ever_and_no_timer_runs() {
    let mut rig = Rig::default();
    let object = rig.object();
    rig.open(object, 1);
    rig.read(object, 2, blocks(0, 1));
    assert_eq!(rig.core.poll_timeout(), None);
    rig.wait(Duration::from_secs(86_400));
    assert_eq!(rig.reader_events(), []);
    let session = rig.session(2);
    assert_eq!(rig.events(), [Event::SessionReady { session }]);
    rig.serve(session);
    assert_eq!(rig.reader_events(), [ready(1), ready(2)]);
}

#[test]
fn an_unreachable_origin_is_tried_again_for_ever_and_never_hot() {
    let mut rig = Rig::default();
    let session = rig.session(1);
    let object = rig.object();
    rig.read(object, 1, blocks(0, 1));
    let mut attempts = 0;
    for _ in 0..6000 {
        while let Some(open) = rig.try_take(session) {
            attempts += 1;
            rig.copen(session, open.msg_id, Err(Errno::ECONNREFUSED))
                .unwrap();
            rig.core.grant_credits(rig.now, session, 1);
        }
        rig.wait(ms(10));
    }
    assert!((55..=75).contains(&attempts), "{attempts} attempts in 60 s");
    assert_eq!(rig.reader_events(), []);
    let origin_back = rig.now;
    while rig.core.waiting_readers() > 0 {
        rig.serve(session);
        rig.wait(ms(10));
    }
    assert!(
        rig.now - origin_back <= ms(1100),
        "no hang that outlives the recovery"
    );
    assert_eq!(rig.reader_events(), [ready(1)]);
}

#[test]
fn eio_comes_when_the_outage_is_old_enough_without_any_session() {
    let mut rig = Rig::default();
    let object = rig.eio_object(500);
    rig.read(object, 1, blocks(0, 1));
    rig.wait(ms(300));
    rig.read(object, 2, blocks(5, 1));
    assert_eq!(rig.reader_events(), []);
    rig.wait(ms(199));
    assert_eq!(rig.reader_events(), []);
    rig.wait(ms(1));
    assert_eq!(
        rig.reader_events(),
        [failed(1, Errno::EIO), failed(2, Errno::EIO)]
    );
    assert_eq!(rig.core.requests_new(), 0);
}

#[test]
fn eio_counts_from_the_last_serving_sessions_end() {
    let mut rig = Rig::default();
    let session = rig.session(1);
    let silent = rig.session(0);
    let object = rig.eio_object(500);
    rig.read(object, 1, blocks(0, 1));
    rig.wait(ms(3000));
    assert_eq!(rig.reader_events(), [], "slow is no outage");
    rig.end(session);
    let (told, after) = until_told(&mut rig, ms(5000));
    assert_eq!((told, after), (vec![failed(1, Errno::EIO)], ms(500)));
    assert!(
        rig.core.has_session(silent),
        "who never offered to work does not count"
    );
}

#[test]
fn h25_a_reader_that_asks_twice_waits_once() {
    let mut rig = Rig::default();
    let session = rig.session(100);
    let object = rig.eio_object(500);
    let start = rig.now;
    for reader in 0..4 {
        rig.read(object, reader, blocks(reader, 1));
        loop {
            while let Some(open) = rig.try_take(session) {
                rig.copen(session, open.msg_id, Err(Errno::ETIMEDOUT))
                    .unwrap();
                rig.core.grant_credits(rig.now, session, 1);
            }
            let told = rig.reader_events();
            if !told.is_empty() {
                assert_eq!(told, [failed(reader, Errno::EIO)]);
                break;
            }
            rig.wait(ms(5));
        }
    }
    assert!(
        rig.now - start <= ms(510),
        "four askings took {:?}",
        rig.now - start
    );
}

#[test]
fn h25_the_deadline_is_the_objects_and_a_late_reader_shares_it() {
    let mut rig = Rig::default();
    let session = rig.session(100);
    let object = rig.eio_object(1000);
    rig.read(object, 1, blocks(0, 1));
    let open = rig.take(session);
    rig.copen(session, open.msg_id, Err(Errno::EHOSTUNREACH))
        .unwrap();
    rig.wait(ms(900));
    rig.core.interrupt(rig.now, ReaderId(1));
    rig.read(object, 2, blocks(3, 1));
    let (told, after) = until_told(&mut rig, ms(5000));
    assert_eq!((told, after), (vec![failed(2, Errno::EIO)], ms(100)));
}

#[test]
fn a_new_reader_during_back_off_is_tried_at_once_but_not_all_the_time() {
    let mut rig = Rig::default();
    let session = rig.session(1000);
    let object = rig.object();
    rig.read(object, 0, blocks(0, 1));
    for _ in 0..6 {
        if let Some(open) = rig.try_take(session) {
            rig.copen(session, open.msg_id, Err(Errno::ECONNREFUSED))
                .unwrap();
        }
        rig.wait(ms(1000));
    }
    if let Some(open) = rig.try_take(session) {
        rig.copen(session, open.msg_id, Err(Errno::ECONNREFUSED))
            .unwrap();
    }
    let mut attempts = 0;
    for reader in 1..=500 {
        rig.wait(ms(1));
        rig.read(object, reader, blocks(0, 1));
        if let Some(open) = rig.try_take(session) {
            attempts += 1;
            rig.copen(session, open.msg_id, Err(Errno::ECONNREFUSED))
                .unwrap();
        }
    }
    assert!(
        (4..=6).contains(&attempts),
        "{attempts} attempts for 500 readers in 0.5 s"
    );
    rig.wait(ms(100));
    rig.read(object, 1000, blocks(0, 1));
    rig.serve(session);
    assert_eq!(
        rig.core.waiting_readers(),
        0,
        "the recovery is noticed by the first who asks"
    );
}

#[test]
fn after_eio_the_recovery_is_noticed_within_the_rearm_interval() {
    let mut rig = Rig::default();
    let session = rig.session(1000);
    let object = rig.eio_object(300);
    rig.read(object, 0, blocks(0, 1));
    let open = rig.take(session);
    rig.copen(session, open.msg_id, Err(Errno::ECONNREFUSED))
        .unwrap();
    let mut attempts = 0;
    for reader in 1..1000 {
        rig.wait(ms(1));
        if let Some(open) = rig.try_take(session) {
            attempts += 1;
            rig.copen(session, open.msg_id, Err(Errno::ECONNREFUSED))
                .unwrap();
        }
        rig.read(object, reader, blocks(0, 1));
    }
    assert!(
        (5..=15).contains(&attempts),
        "{attempts} attempts for 1000 readers in 1 s"
    );
    let recovered = rig.now;
    for reader in 1000..1200 {
        rig.wait(ms(1));
        rig.read(object, reader, blocks(0, 1));
        rig.serve(session);
        if rig.reader_events().contains(&ready(reader)) {
            break;
        }
    }
    assert!(rig.now - recovered <= ms(110), "{:?}", rig.now - recovered);
}

#[test]
fn an_old_outage_that_nobody_asked_about_is_forgotten() {
    let mut rig = Rig::default();
    let object = rig.eio_object(500);
    rig.read(object, 1, blocks(0, 1));
    rig.wait(ms(500));
    assert_eq!(rig.reader_events(), [failed(1, Errno::EIO)]);
    rig.wait(Duration::from_secs(3600));
    let session = rig.session(10);
    rig.read(object, 2, blocks(0, 1));
    let open = rig.take(session);
    rig.wait(ms(400));
    rig.copen(session, open.msg_id, Ok(SIZE_BYTES)).unwrap();
    rig.serve(session);
    assert_eq!(
        rig.reader_events(),
        [ready(2)],
        "a slow answer is good after an hour without trouble"
    );
}

#[test]
fn bytes_end_the_outage_and_the_clock_starts_anew() {
    let mut rig = Rig::default();
    let session = rig.session(100);
    let object = rig.eio_object(1000);
    rig.read(object, 1, blocks(0, 4));
    for block in 0..3 {
        let open_or_read = rig.take(session);
        rig.copen(session, open_or_read.msg_id, Ok(SIZE_BYTES))
            .unwrap();
        let read = rig.take(session);
        rig.present(lease_of(&read), blocks(block, 1)).unwrap();
        rig.cread(lease_of(&read), read.msg_id, Err(Errno::ECONNRESET))
            .unwrap();
        rig.close_lease(lease_of(&read));
        rig.wait(ms(900));
        assert_eq!(rig.reader_events(), [], "each byte is a sign of life");
    }
    rig.end(session);
    let (told, _) = until_told(&mut rig, ms(2000));
    assert_eq!(told, [failed(1, Errno::EIO)]);
}

#[test]
fn a_refused_open_with_nobody_waiting_leaves_close() {
    let mut rig = Rig::default();
    let session = rig.session(10);
    for errno in [Errno::EIO, Errno::ENOENT, Errno::ECONNREFUSED] {
        let object = rig.object();
        rig.open(object, 1);
        let open = rig.take(session);
        rig.core.interrupt(rig.now, ReaderId(1));
        rig.copen(session, open.msg_id, Err(errno)).unwrap();
        assert_eq!(rig.core.requests_new(), 0);
        assert_eq!(
            rig.core.poll_timeout(),
            None,
            "nothing is retried for nobody"
        );
    }
    assert_eq!(rig.core.object_counts().close, 3);
}

#[test]
fn a_read_in_back_off_is_tried_at_once_for_a_new_reader_too() {
    let mut rig = Rig::default();
    let session = rig.session(100);
    let (object, lease) = rig.open_object(session);
    rig.read(object, 1, blocks(0, 2));
    for _ in 0..6 {
        let read = rig.take(session);
        rig.cread(lease, read.msg_id, Err(Errno::ETIMEDOUT))
            .unwrap();
        assert!(!rig.core.is_ready(session), "never a hot loop");
        rig.wait(ms(1000));
    }
    let read = rig.take(session);
    rig.cread(lease, read.msg_id, Err(Errno::ETIMEDOUT))
        .unwrap();
    rig.wait(ms(110));
    assert!(!rig.core.is_ready(session));
    rig.read(object, 2, blocks(1, 1));
    assert_eq!(rig.take(session).msg_id, read.msg_id);
    rig.cread(lease, read.msg_id, Ok(())).unwrap();
    assert_eq!(rig.reader_events(), [ready(1), ready(2)]);
}
