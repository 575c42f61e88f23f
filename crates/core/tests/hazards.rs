//! Hazards H04–H25 as far as the core decides them, single-flight, progress and prefetch.

mod common;

use std::collections::BTreeSet;

use common::{Rig, SIZE_BYTES, blocks, failed, is_open, lease_of, ms, range_of, ready};
use holdfast_core::{Config, DeliveryBody, DeliveryRetry, Event, ObjectState, ReaderId};
use holdfast_proto::{ByteRange, Errno};

#[test]
fn h15_nothing_is_handed_out_without_credit() {
    let mut rig = Rig::default();
    let silent = rig.session(0);
    let object = rig.object();
    for reader in 0..10 {
        rig.read(object, reader, blocks(reader * 2, 1));
    }
    assert!(
        !rig.core.is_ready(silent),
        "a daemon that connects and says nothing owns nothing"
    );
    rig.core.grant_credits(rig.now, silent, 1);
    let open = rig.take(silent);
    rig.copen(silent, open.msg_id, Ok(SIZE_BYTES)).unwrap();
    assert_eq!(
        rig.try_take(silent),
        None,
        "an answer brings no credit by itself"
    );
    rig.core.grant_credits(rig.now, silent, 3);
    assert_eq!(rig.take_all(silent).len(), 3);
    assert_eq!(
        rig.core.requests_new(),
        7,
        "the rest stays new, for whoever comes"
    );
}

#[test]
fn h08_an_object_that_is_never_answered_leaves_its_daemon_to_others() {
    let mut rig = Rig::new(Config {
        object_reads_max: 2,
        ..Config::default()
    });
    let session = rig.session(8);
    let (stuck, stuck_lease) = rig.open_object(session);
    let (other, _) = rig.open_object(session);
    for reader in 0..20 {
        rig.read(stuck, reader, blocks(reader * 2, 1));
    }
    let taken = rig.take_all(session);
    assert_eq!(
        taken.len(),
        2,
        "its share, though there are credits for more"
    );
    rig.read(other, 100, blocks(0, 1));
    let others = rig.take_all(session);
    assert_eq!(others.len(), 1);
    assert_eq!(others[0].object, other);
    // An answer makes room for one more, in the order in which they came.
    rig.cread(stuck_lease, taken[0].msg_id, Ok(())).unwrap();
    let next = rig.take_all(session);
    assert_eq!(next.len(), 1);
    assert_eq!(range_of(&next[0]), blocks(4, 1));
    rig.core.check_invariants();
}

#[test]
fn h15_a_close_needs_no_credit() {
    let mut rig = Rig::new(Config {
        open_objects_per_session_max: 1,
        ..Config::default()
    });
    let session = rig.session(1);
    let (_, first) = rig.open_object(session);
    let (_, second) = rig.open_object(session);
    let third = rig.object();
    rig.open(third, 1);
    let taken = rig.take_all(session);
    assert_eq!(taken[0].body, DeliveryBody::Close { lease: first });
    assert!(is_open(&taken[1]), "takes the only credit");
    assert_eq!(taken[2].body, DeliveryBody::Close { lease: second });
    assert_eq!((taken.len(), rig.core.credits(session)), (3, Some(0)));
}

#[test]
fn h16_idle_objects_are_closed_least_recently_used_first() {
    let mut rig = Rig::new(Config {
        open_objects_per_session_max: 3,
        ..Config::default()
    });
    let session = rig.session(8);
    let opened: Vec<_> = (0..3).map(|_| rig.open_object(session)).collect();
    let (oldest, lease) = opened[0];
    rig.read(oldest, 1, blocks(0, 1));
    let read = rig.take(session);
    rig.cread(lease, read.msg_id, Ok(())).unwrap();
    rig.open_object(session);
    let close = rig.take(session);
    assert_eq!(close.object, opened[1].0, "the first one was used since");
    assert_eq!(close.body, DeliveryBody::Close { lease: opened[1].1 });
    assert_eq!(rig.core.counters().idle_closes, 1);
}

#[test]
fn h16_objects_in_use_are_never_closed_and_a_new_read_calls_the_close_back() {
    let mut rig = Rig::new(Config {
        open_objects_per_session_max: 1,
        ..Config::default()
    });
    let session = rig.session(8);
    let (first, lease) = rig.open_object(session);
    rig.read(first, 1, blocks(0, 1));
    let read = rig.take(session);
    let (second, _) = rig.open_object(session);
    let close = rig.take(session);
    assert_eq!(close.object, second, "the one without READs");
    rig.cread(lease, read.msg_id, Ok(())).unwrap();
    let third = rig.object();
    rig.open(third, 2);
    let open = rig.take(session);
    assert!(
        rig.core.is_ready(session),
        "the first one is idle and to be closed"
    );
    rig.read(first, 3, blocks(9, 1));
    rig.copen(session, open.msg_id, Ok(SIZE_BYTES)).unwrap();
    let next = rig.take_all(session);
    assert_eq!((next[0].object, range_of(&next[0])), (first, blocks(9, 1)));
    assert_eq!(
        next[1].body,
        DeliveryBody::Close {
            lease: lease_of(&open)
        }
    );
    assert_eq!(next.len(), 2);
    assert_eq!(rig.core.lease(lease), Some((first, session)));
}

#[test]
fn h16_a_lease_that_hangs_up_before_copen_is_redelivered_with_back_off() {
    let mut rig = Rig::default();
    let session = rig.session(100);
    let object = rig.object();
    rig.open(object, 1);
    let mut times = Vec::new();
    for _ in 0..40 {
        if let Some(open) = rig.try_take(session) {
            times.push(rig.now);
            rig.close_lease(lease_of(&open));
        }
        rig.wait(ms(50));
    }
    assert!((4..=7).contains(&times.len()), "{times:?}");
    rig.wait(ms(1000));
    rig.serve(session);
    assert_eq!(rig.reader_events(), [ready(1)]);
}

#[test]
fn h16_an_idle_open_object_costs_little_and_closing_is_bounded() {
    let mut rig = Rig::new(Config {
        open_objects_per_session_max: 10,
        ..Config::default()
    });
    let session = rig.session(1);
    for _ in 0..200 {
        let object = rig.object();
        rig.core.open(rig.now, object, ReaderId(1));
        rig.serve(session);
        assert!(rig.core.session_leases(session) <= Some(11));
    }
}

#[test]
fn a_range_that_many_want_is_asked_for_once() {
    let mut rig = Rig::default();
    let session = rig.session(100);
    let (object, lease) = rig.open_object(session);
    for reader in 0..1000 {
        rig.core
            .read(rig.now, object, ReaderId(reader), &[blocks(reader % 7, 9)]);
    }
    rig.check();
    let reads = rig.take_all(session);
    let mut asked: Vec<ByteRange> = reads.iter().map(range_of).collect();
    asked.sort();
    assert!(
        asked.windows(2).all(|pair| pair[0].end() == pair[1].offset),
        "{asked:?}"
    );
    assert_eq!(asked.iter().map(|range| range.len).sum::<u64>(), 15 * 4096);
    for read in reads {
        rig.cread(lease, read.msg_id, Ok(())).unwrap();
    }
    let told: BTreeSet<String> = rig
        .reader_events()
        .iter()
        .map(|e| format!("{e:?}"))
        .collect();
    assert_eq!(told.len(), 1000);
}

#[test]
fn progress_serves_readers_early_and_redelivery_asks_only_for_the_rest() {
    let mut rig = Rig::default();
    let session = rig.session(4);
    let (object, lease) = rig.open_object(session);
    rig.read(object, 1, blocks(0, 100));
    rig.read(object, 2, blocks(10, 5));
    rig.read(object, 3, blocks(60, 2));
    let read = rig.take(session);
    rig.present(lease, blocks(0, 12)).unwrap();
    assert_eq!(rig.reader_events(), []);
    rig.present(lease, blocks(12, 20)).unwrap();
    assert_eq!(rig.reader_events(), [ready(2)]);
    rig.present(lease, blocks(60, 2)).unwrap();
    assert_eq!(rig.reader_events(), [ready(3)], "out of order");
    let heir = rig.session(4);
    rig.end(session);
    let open = rig.take(heir);
    rig.copen(heir, open.msg_id, Ok(SIZE_BYTES)).unwrap();
    let again = rig.take(heir);
    assert_eq!(
        (again.msg_id, range_of(&again)),
        (read.msg_id, blocks(32, 68))
    );
    rig.present(lease_of(&again), blocks(32, 40)).unwrap();
    rig.present(lease_of(&again), blocks(72, 28)).unwrap();
    assert_eq!(rig.reader_events(), [ready(1)]);
    assert_eq!(
        rig.core.read_request(lease_of(&again), again.msg_id),
        Some((object, blocks(72, 28)))
    );
    assert_eq!(
        rig.cread(lease_of(&again), again.msg_id, Ok(())),
        Ok(object),
        "still a good answer"
    );
    assert_eq!(rig.core.requests_in_flight(), 0);
}

#[test]
fn more_than_was_asked_for_is_taken_too() {
    let mut rig = Rig::default();
    let session = rig.session(4);
    let (object, lease) = rig.open_object(session);
    rig.read(object, 1, blocks(0, 1));
    rig.read(object, 2, blocks(4, 1));
    let first = rig.take(session);
    rig.present(lease, blocks(0, 64)).unwrap();
    assert_eq!(rig.reader_events(), [ready(1), ready(2)]);
    assert_eq!(
        rig.try_take(session),
        None,
        "the READ not handed out is pointless now"
    );
    rig.cread(lease, first.msg_id, Ok(())).unwrap();
    assert_eq!(rig.core.requests_new() + rig.core.requests_in_flight(), 0);
}

#[test]
fn a_prefetch_waits_for_nobody_and_is_dropped_on_trouble() {
    let mut rig = Rig::default();
    let session = rig.session(4);
    let (object, lease) = rig.open_object(session);
    rig.core.prefetch(rig.now, object, blocks(0, 8));
    rig.core.prefetch(rig.now, object, blocks(4, 8));
    let reads = rig.take_all(session);
    assert_eq!(reads.len(), 2);
    rig.read(object, 1, blocks(0, 1));
    assert_eq!(rig.try_take(session), None, "the reader joins the prefetch");
    rig.cread(lease, reads[1].msg_id, Err(Errno::EIO)).unwrap();
    rig.wait(ms(5000));
    assert_eq!(
        rig.try_take(session),
        None,
        "a failed prefetch is not repeated"
    );
    rig.close_lease(lease);
    rig.core.grant_credits(rig.now, session, 4);
    rig.serve(session);
    assert_eq!(rig.reader_events(), [ready(1)], "one that was joined is");
    rig.core.prefetch(rig.now, object, blocks(100, 8));
    rig.end(session);
    assert_eq!(
        rig.core.object_state(object),
        Some(ObjectState::Close),
        "nobody reopens for it"
    );
}

#[test]
fn an_open_answered_once_is_answered_for_ever() {
    let mut rig = Rig::default();
    let session = rig.session(4);
    let (object, lease) = rig.open_object(session);
    rig.close_lease(lease);
    rig.end(session);
    rig.open(object, 1);
    assert_eq!(rig.reader_events(), [ready(1)], "without a daemon");
    assert_eq!(rig.core.object_size(object), Some(SIZE_BYTES));
}

#[test]
fn opens_go_first_to_the_session_with_the_least_to_do() {
    let mut rig = Rig::default();
    let laden = rig.session(8);
    rig.open_object(laden);
    rig.open_object(laden);
    let fresh = rig.session(8);
    rig.try_take(laden);
    rig.events();
    let object = rig.object();
    rig.open(object, 1);
    let told = rig.events();
    assert_eq!(
        told,
        [
            Event::SessionReady { session: fresh },
            Event::SessionReady { session: laden }
        ]
    );
}

#[test]
fn a_full_socket_stops_one_session_only() {
    let mut rig = Rig::default();
    let stuck = rig.session(8);
    let (object, _) = rig.open_object(stuck);
    rig.read(object, 1, blocks(0, 1));
    let read = rig.take(stuck);
    rig.core
        .delivery_failed(rig.now, stuck, read.msg_id, DeliveryRetry::WhenWritable);
    let other = rig.session(8);
    let opening = rig.object();
    rig.open(opening, 2);
    assert!(!rig.core.is_ready(stuck));
    rig.serve(other);
    assert_eq!(rig.reader_events(), [ready(2)]);
    rig.core.session_writable(rig.now, stuck);
    assert_eq!(
        rig.take(stuck).msg_id,
        read.msg_id,
        "the cursor did not move"
    );
}

#[test]
fn h05_a_queued_death_hands_over_everything_at_once() {
    let mut rig = Rig::default();
    let dying = rig.session(1000);
    let objects: Vec<_> = (0..100).map(|_| rig.open_object(dying).0).collect();
    for (reader, object) in (0..).zip(&objects) {
        rig.read(*object, reader, blocks(reader, 1));
    }
    assert_eq!(rig.take_all(dying).len(), 100);
    rig.end(dying);
    assert_eq!(rig.core.object_counts().reopening, 100);
    let heir = rig.session(3);
    rig.serve(heir);
    assert_eq!(rig.reader_events().len(), 100);
    assert_eq!(rig.core.counters().requests_replayed, 100);
}

#[test]
fn a_reader_of_what_is_gone_gets_eio() {
    let mut rig = Rig::default();
    let object = rig.object();
    rig.core.drop_object(rig.now, object, Errno::EIO);
    assert_eq!(rig.events(), [Event::ObjectGone { object }]);
    rig.open(object, 1);
    rig.read(object, 2, blocks(0, 1));
    rig.core.prefetch(rig.now, object, blocks(0, 1));
    assert_eq!(
        rig.reader_events(),
        [failed(1, Errno::EIO), failed(2, Errno::EIO)]
    );
}

#[test]
fn equal_histories_make_equal_cores() {
    let history = || {
        let mut rig = Rig::default();
        let session = rig.session(2);
        let (object, _) = rig.open_object(session);
        rig.read(object, 1, blocks(0, 3));
        let read = rig.take(session);
        assert!(!is_open(&read));
        rig.end(session);
        rig.core
    };
    assert_eq!(history(), history());
    assert!(history() == history().clone());
}

#[test]
fn n8_the_credit_of_a_failed_delivery_is_back_though_its_object_was_dropped_meanwhile() {
    let mut rig = Rig::default();
    let session = rig.session(1);
    let object = rig.object();
    rig.open(object, 1);
    let open = rig.take(session);
    rig.core.drop_object(rig.now, object, Errno::EIO);
    rig.core
        .delivery_failed(rig.now, session, open.msg_id, DeliveryRetry::WhenWritable);
    rig.check();
    assert_eq!(rig.core.credits(session), Some(1));
    let other = rig.object();
    rig.open(other, 2);
    assert!(
        !rig.core.is_ready(session),
        "its socket is full all the same"
    );
    rig.core.session_writable(rig.now, session);
    rig.serve(session);
    assert_eq!(rig.reader_events(), [failed(1, Errno::EIO), ready(2)]);
}

#[test]
fn progress_counts_in_whole_blocks_and_the_last_block_ends_with_the_object() {
    let mut rig = Rig::default();
    let session = rig.session(2);
    let object = rig.object();
    rig.read(object, 1, blocks(0, 3));
    let open = rig.take(session);
    rig.copen(session, open.msg_id, Ok(2 * 4096 + 100)).unwrap();
    let read = rig.take(session);
    rig.present(lease_of(&read), ByteRange::new(0, 5000).unwrap())
        .unwrap();
    let (_, left) = rig.core.read_request(lease_of(&read), read.msg_id).unwrap();
    assert_eq!(left, blocks(1, 2), "never asked for from inside a block");
    rig.present(lease_of(&read), ByteRange::new(4096, 4096 + 100).unwrap())
        .unwrap();
    assert_eq!(rig.reader_events(), [ready(1)]);
}
