//! What Linux 6.12 still gets wrong (N1–N13) and what its fixed bugs teach, row by row.
//!
//! Not here because they are of the shell: N7 (descriptors closed on exec), N11 (bind).

mod common;

use common::{Rig, SIZE_BYTES, blocks, failed, is_open, lease_of, ms, range_of, ready};
use holdfast_core::{
    Config, DeliveryBody, DeliveryRetry, Event, ObjectState, ReaderId, ReplyError,
};
use holdfast_proto::{Errno, MessageId};

#[test]
fn n1_a_close_names_the_lease_it_is_about() {
    let mut rig = Rig::new(Config {
        open_objects_per_session_max: 1,
        ..Config::default()
    });
    let session = rig.session(4);
    let (first, lease) = rig.open_object(session);
    let (_, _) = rig.open_object(session);
    let close = rig.take(session);
    assert_eq!(close.body, DeliveryBody::Close { lease });
    assert_eq!(close.object, first);
    assert_eq!(rig.core.object_state(first), Some(ObjectState::Close));
}

#[test]
fn n1_a_close_not_yet_taken_goes_when_its_lease_goes() {
    let mut rig = Rig::new(Config {
        open_objects_per_session_max: 1,
        ..Config::default()
    });
    let session = rig.session(4);
    let (_, lease) = rig.open_object(session);
    let (_, _) = rig.open_object(session);
    rig.close_lease(lease);
    assert_eq!(rig.try_take(session), None);
}

#[test]
fn n2_every_change_of_readiness_signals() {
    let mut rig = Rig::default();
    let session = rig.session(4);
    let told = [Event::SessionReady { session }];
    let object = rig.object();
    rig.read(object, 1, blocks(0, 1));
    assert_eq!(rig.events(), told, "enqueue");
    let open = rig.take(session);
    assert_eq!(rig.try_take(session), None);
    rig.close_lease(lease_of(&open));
    assert_eq!(
        rig.events().len(),
        1,
        "the lease ended; nothing is ready before the back-off is over"
    );
    rig.wait(ms(50));
    assert_eq!(rig.events(), told, "back-off over");
    let open = rig.take(session);
    rig.copen(session, open.msg_id, Err(Errno::EIO)).unwrap();
    rig.events();
    rig.wait(ms(2000));
    assert_eq!(rig.events(), told, "a refused OPEN is ready again");
    let open = rig.take(session);
    rig.copen(session, open.msg_id, Ok(SIZE_BYTES)).unwrap();
    assert_eq!(rig.events(), told, "copen");
    rig.take(session);
    rig.restore(session, 1);
    assert_eq!(rig.events(), told, "restore");
}

#[test]
fn n3_losing_the_lease_rearms_what_was_handed_out() {
    let mut rig = Rig::default();
    let session = rig.session(4);
    let (object, lease) = rig.open_object(session);
    rig.read(object, 1, blocks(0, 1));
    rig.read(object, 2, blocks(2, 1));
    let first = rig.take(session);
    rig.cread(lease, first.msg_id, Ok(())).unwrap();
    let second = rig.take(session);
    rig.close_lease(lease);
    assert_eq!(rig.core.object_state(object), Some(ObjectState::Reopening));
    rig.core.grant_credits(rig.now, session, 4);
    let open = rig.take(session);
    rig.copen(session, open.msg_id, Ok(SIZE_BYTES)).unwrap();
    assert_eq!(rig.take(session).msg_id, second.msg_id);
}

#[test]
fn n4_a_refused_reopen_is_tried_a_few_times_and_then_reported() {
    let mut rig = Rig::default();
    let session = rig.session(8);
    let (object, lease) = rig.open_object(session);
    rig.close_lease(lease);
    rig.read(object, 1, blocks(0, 1));
    for attempt in 1..=3 {
        assert_eq!(rig.reader_events(), [], "before attempt {attempt}");
        let open = rig.take(session);
        rig.copen(session, open.msg_id, Err(Errno::EIO)).unwrap();
        assert!(!rig.core.is_ready(session), "never a hot loop");
        rig.wait(ms(1000));
    }
    assert_eq!(rig.reader_events(), [failed(1, Errno::EIO)]);
    assert_eq!(rig.core.object_state(object), Some(ObjectState::Close));
    assert_eq!(rig.try_take(session), None);
}

#[test]
fn n4_a_final_error_is_reported_at_once() {
    let mut rig = Rig::default();
    let session = rig.session(8);
    for errno in [Errno::ENOENT, Errno::ESTALE, Errno::EACCES, Errno::ENOSPC] {
        let object = rig.object();
        rig.open(object, 1);
        rig.read(object, 2, blocks(0, 1));
        let open = rig.take(session);
        rig.copen(session, open.msg_id, Err(errno)).unwrap();
        assert_eq!(rig.reader_events(), [failed(1, errno), failed(2, errno)]);
        assert_eq!(rig.core.object_state(object), Some(ObjectState::Close));
        rig.core.grant_credits(rig.now, session, 1);
    }
}

#[test]
fn n4_a_lease_closed_without_any_service_is_no_hot_loop() {
    let mut rig = Rig::default();
    let session = rig.session(1);
    let object = rig.object();
    rig.read(object, 1, blocks(0, 1));
    let mut opens = 0;
    for _ in 0..100 {
        while let Some(delivery) = rig.try_take(session) {
            if is_open(&delivery) {
                opens += 1;
                rig.copen(session, delivery.msg_id, Ok(SIZE_BYTES)).unwrap();
                rig.close_lease(lease_of(&delivery));
                rig.core.grant_credits(rig.now, session, 1);
            }
        }
        rig.wait(ms(100));
    }
    assert!((10..=20).contains(&opens), "{opens} OPENs in 10 s");
    assert_eq!(rig.reader_events(), []);
    rig.wait(ms(1000));
    rig.serve(session);
    assert_eq!(rig.reader_events(), [ready(1)]);
}

#[test]
fn n5_restore_of_a_half_done_open_is_idempotent() {
    let mut rig = Rig::default();
    let session = rig.session(4);
    let object = rig.object();
    rig.open(object, 1);
    let mut last = rig.take(session);
    for _ in 0..5 {
        rig.restore(session, 4);
        rig.restore(session, 4);
        let again = rig.take(session);
        assert_eq!(again.msg_id, last.msg_id);
        assert_ne!(
            lease_of(&again),
            lease_of(&last),
            "never two descriptors of one lease"
        );
        assert_eq!(rig.core.session_leases(session), Some(1));
        last = again;
    }
    rig.copen(session, last.msg_id, Ok(SIZE_BYTES)).unwrap();
    assert_eq!(rig.reader_events(), [ready(1)]);
}

#[test]
fn n6_n13_a_read_always_names_a_lease_its_session_was_given() {
    let mut rig = Rig::default();
    let first = rig.session(4);
    let (object, old) = rig.open_object(first);
    rig.read(object, 1, blocks(0, 1));
    assert_eq!(lease_of(&rig.take(first)), old);
    let second = rig.session(4);
    rig.end(first);
    let open = rig.take(second);
    rig.copen(second, open.msg_id, Ok(SIZE_BYTES)).unwrap();
    let read = rig.take(second);
    assert_eq!(lease_of(&read), lease_of(&open));
    assert_ne!(lease_of(&read).wire(), old.wire());
}

#[test]
fn n8_a_failed_delivery_consumes_nothing() {
    let mut rig = Rig::default();
    let session = rig.session(1);
    let object = rig.object();
    rig.read(object, 1, blocks(0, 1));
    for _ in 0..3 {
        let open = rig.take(session);
        let failed_at = rig.now;
        rig.core
            .delivery_failed(failed_at, session, open.msg_id, DeliveryRetry::WhenWritable);
        rig.check();
        assert_eq!(rig.core.credits(session), Some(1));
        assert_eq!(rig.core.session_leases(session), Some(0));
        assert!(!rig.core.is_ready(session));
        rig.core.session_writable(rig.now, session);
        assert_eq!(rig.core.lease(lease_of(&open)), None, "its lease is void");
    }
    let mut attempts = 0;
    for _ in 0..200 {
        if let Some(open) = rig.try_take(session) {
            attempts += 1;
            rig.core
                .delivery_failed(rig.now, session, open.msg_id, DeliveryRetry::AfterBackoff);
            rig.check();
        }
        rig.wait(ms(10));
    }
    assert!(
        (4..=8).contains(&attempts),
        "{attempts} attempts in 2 s, not 14,000 a second"
    );
    rig.wait(ms(1000));
    rig.serve(session);
    assert_eq!(rig.reader_events(), [ready(1)]);
}

#[test]
fn n8_a_failed_close_is_sent_again() {
    let mut rig = Rig::new(Config {
        open_objects_per_session_max: 1,
        ..Config::default()
    });
    let session = rig.session(4);
    let (_, lease) = rig.open_object(session);
    let (_, _) = rig.open_object(session);
    for retry in [DeliveryRetry::WhenWritable, DeliveryRetry::AfterBackoff] {
        let close = rig.take(session);
        assert_eq!(close.body, DeliveryBody::Close { lease });
        rig.core
            .delivery_failed(rig.now, session, close.msg_id, retry);
        rig.check();
        assert_eq!(rig.try_take(session), None);
        rig.core.session_writable(rig.now, session);
        rig.wait(ms(100));
    }
    assert_eq!(rig.take(session).body, DeliveryBody::Close { lease });
    assert_eq!(rig.try_take(session), None);
    assert_eq!(rig.core.requests_in_flight(), 0);
}

#[test]
fn n9_late_answers_of_a_dead_session_are_refused() {
    let mut rig = Rig::default();
    let dead = rig.session(4);
    let (object, lease) = rig.open_object(dead);
    rig.read(object, 1, blocks(0, 1));
    let read = rig.take(dead);
    let opening = rig.object();
    rig.open(opening, 2);
    let open = rig.take(dead);
    rig.end(dead);
    let heir = rig.session(4);
    rig.take_all(heir);
    assert_eq!(
        rig.copen(dead, open.msg_id, Ok(SIZE_BYTES)),
        Err(ReplyError::NoSuchRequest)
    );
    assert_eq!(
        rig.cread(lease, read.msg_id, Ok(())),
        Err(ReplyError::NoSuchRequest)
    );
    assert_eq!(
        rig.present(lease, blocks(0, 1)),
        Err(ReplyError::NoSuchLease)
    );
    rig.close_lease(lease);
    assert_eq!(rig.reader_events(), []);
    assert_eq!(ReplyError::NoSuchLease.errno(), Errno::EINVAL);
}

#[test]
fn n9_after_restore_the_predecessors_answers_are_refused() {
    let mut rig = Rig::default();
    let session = rig.session(4);
    let (object, lease) = rig.open_object(session);
    rig.read(object, 1, blocks(0, 1));
    let read = rig.take(session);
    rig.restore(session, 0);
    assert!(rig.cread(lease, read.msg_id, Ok(())).is_err());
    rig.core.grant_credits(rig.now, session, 1);
    assert_eq!(rig.take(session).msg_id, read.msg_id);
    assert!(rig.cread(lease, read.msg_id, Ok(())).is_ok());
}

#[test]
fn n10_a_read_can_fail_with_the_daemons_errno() {
    let mut rig = Rig::default();
    let session = rig.session(4);
    let (object, lease) = rig.open_object(session);
    rig.read(object, 1, blocks(0, 1));
    rig.read(object, 2, blocks(8, 1));
    let read = rig.take(session);
    let other = rig.take(session);
    rig.cread(lease, read.msg_id, Err(Errno::ESTALE)).unwrap();
    assert_eq!(
        rig.reader_events(),
        [failed(1, Errno::ESTALE)],
        "the other range is not concerned"
    );
    rig.cread(lease, other.msg_id, Err(Errno::EIO)).unwrap();
    assert_eq!(rig.reader_events(), [], "EIO may pass");
    rig.wait(ms(50));
    rig.serve(session);
    assert_eq!(rig.reader_events(), [ready(2)]);
}

#[test]
fn n12_no_open_is_sent_for_an_object_that_is_being_dropped() {
    let mut rig = Rig::default();
    let session = rig.session(4);
    let (object, lease) = rig.open_object(session);
    rig.read(object, 1, blocks(0, 1));
    rig.take(session);
    rig.core.drop_object(rig.now, object, Errno::EIO);
    rig.close_lease(lease);
    assert_eq!(
        rig.core.object_state(object),
        None,
        "the drop is over, not undone"
    );
    rig.wait(ms(5000));
    assert_eq!(rig.try_take(session), None);
    let reopening = rig.object();
    rig.read(reopening, 2, blocks(0, 1));
    let open = rig.take(session);
    rig.core.drop_object(rig.now, reopening, Errno::EIO);
    rig.check();
    assert!(rig.copen(session, open.msg_id, Ok(SIZE_BYTES)).is_err());
    assert_eq!(rig.core.object_state(reopening), None);
}

#[test]
fn cve_2024_41075_an_answer_must_fit_the_request() {
    let mut rig = Rig::default();
    let session = rig.session(8);
    let other_session = rig.session(8);
    let (object, lease) = rig.open_object(session);
    let (_, other_lease) = rig.open_object(session);
    rig.read(object, 1, blocks(0, 1));
    rig.read(object, 2, blocks(2, 1));
    let read = rig.take(session);
    let opening = rig.object();
    rig.open(opening, 3);
    let undelivered = MessageId(read.msg_id.0 + 1);
    assert!(
        rig.copen(session, read.msg_id, Ok(SIZE_BYTES)).is_err(),
        "copen of a READ"
    );
    assert!(
        rig.cread(other_lease, read.msg_id, Ok(())).is_err(),
        "another object's lease"
    );
    assert!(
        rig.cread(lease, undelivered, Ok(())).is_err(),
        "never handed out"
    );
    assert!(
        rig.copen(session, MessageId(read.msg_id.0 + 2), Ok(SIZE_BYTES))
            .is_err(),
        "never handed out"
    );
    rig.take(session);
    let open = rig.take(session);
    assert!(is_open(&open));
    assert!(
        rig.cread(lease_of(&open), open.msg_id, Ok(())).is_err(),
        "cread of an OPEN"
    );
    assert!(
        rig.copen(other_session, open.msg_id, Ok(SIZE_BYTES))
            .is_err(),
        "another session's OPEN"
    );
    assert!(
        rig.present(lease_of(&open), blocks(0, 1)).is_err(),
        "its size is not known yet"
    );
    assert_eq!(rig.reader_events(), []);
    assert_eq!(rig.core.counters().replies_refused, 7);
}

#[test]
fn cve_2024_41074_open_answered_and_closed_at_once_leaves_a_state_from_which_reads_retry() {
    let mut rig = Rig::default();
    let session = rig.session(8);
    let (object, lease) = rig.open_object(session);
    rig.close_lease(lease);
    rig.read(object, 1, blocks(0, 1));
    let open = rig.take(session);
    rig.close_lease(lease_of(&open));
    assert!(
        rig.copen(session, open.msg_id, Ok(SIZE_BYTES)).is_err(),
        "its descriptor is closed"
    );
    rig.wait(ms(1000));
    rig.serve(session);
    assert_eq!(rig.reader_events(), [ready(1)]);
}

#[test]
fn cve_2024_41050_numbers_are_not_reused_early_and_never_while_they_live() {
    let first_message_id = MessageId(u32::MAX - 3);
    let mut rig = Rig::new(Config {
        first_message_id,
        ..Config::default()
    });
    let session = rig.session(1);
    let (object, lease) = rig.open_object(session);
    rig.read(object, 1, blocks(0, 1));
    let held = rig.take(session);
    assert_eq!(held.msg_id, MessageId(u32::MAX - 2));
    rig.core.grant_credits(rig.now, session, 1);
    let mut seen = vec![held.msg_id];
    for reader in 2..8 {
        rig.read(object, reader, blocks(reader * 2, 1));
        let read = rig.take(session);
        assert!(
            !seen.contains(&read.msg_id),
            "a killed reader's number comes back late"
        );
        seen.push(read.msg_id);
        rig.cread(lease, read.msg_id, Ok(())).unwrap();
        rig.core.grant_credits(rig.now, session, 1);
    }
    assert_eq!(
        seen[1..4],
        [MessageId(u32::MAX - 1), MessageId(u32::MAX), MessageId(0)]
    );
}

#[test]
fn bc9dde615546_a_killed_reader_goes_at_once_and_the_late_answer_is_harmless() {
    let mut rig = Rig::default();
    let session = rig.session(4);
    let (object, lease) = rig.open_object(session);
    rig.read(object, 1, blocks(0, 1));
    let read = rig.take(session);
    assert!(rig.core.interrupt(rig.now, ReaderId(1)));
    assert!(!rig.core.interrupt(rig.now, ReaderId(1)));
    rig.check();
    assert_eq!(rig.core.waiting_readers(), 0);
    rig.read(object, 2, blocks(0, 1));
    assert_eq!(rig.core.requests_new(), 0, "it joins what is being fetched");
    assert_eq!(rig.cread(lease, read.msg_id, Ok(())), Ok(object));
    assert_eq!(rig.reader_events(), [ready(2)]);
}

#[test]
fn a_killed_readers_new_request_is_dropped_and_the_reopening_with_it() {
    let mut rig = Rig::default();
    let object = rig.object();
    rig.read(object, 1, blocks(0, 1));
    rig.read(object, 2, blocks(0, 2));
    assert_eq!(rig.core.requests_new(), 3, "an OPEN and two READs");
    rig.core.interrupt(rig.now, ReaderId(2));
    assert_eq!(rig.core.requests_new(), 2);
    rig.core.interrupt(rig.now, ReaderId(1));
    rig.check();
    assert_eq!(rig.core.requests_new(), 0);
    assert_eq!(rig.core.object_state(object), Some(ObjectState::Close));
}

#[test]
fn a_split_request_completes_once() {
    let mut rig = Rig::new(Config {
        read_len_max_bytes: 4 * 4096,
        ..Config::default()
    });
    let session = rig.session(8);
    let (object, lease) = rig.open_object(session);
    rig.read(object, 1, blocks(1, 10));
    let reads = rig.take_all(session);
    let ranges: Vec<_> = reads.iter().map(range_of).collect();
    assert_eq!(ranges, [blocks(1, 4), blocks(5, 4), blocks(9, 2)]);
    for read in &reads {
        assert_eq!(rig.reader_events(), []);
        rig.cread(lease, read.msg_id, Ok(())).unwrap();
    }
    assert_eq!(rig.reader_events(), [ready(1)]);
}

#[test]
fn a_reopen_with_another_size_does_not_replace_the_size_silently() {
    let mut rig = Rig::default();
    let mistaken = rig.session(8);
    let (object, lease) = rig.open_object(mistaken);
    rig.close_lease(lease);
    rig.read(object, 1, blocks(0, 1));
    let open = rig.take(mistaken);
    rig.copen(mistaken, open.msg_id, Ok(SIZE_BYTES + 1))
        .unwrap();
    rig.wait(ms(1000));
    let right = rig.session(8);
    rig.serve(right);
    assert_eq!(
        rig.reader_events(),
        [ready(1)],
        "one mistaken daemon is no harm"
    );
    rig.end(right);
    rig.read(object, 2, blocks(1, 1));
    for _ in 0..3 {
        let open = rig.take(mistaken);
        rig.copen(mistaken, open.msg_id, Ok(0)).unwrap();
        rig.wait(ms(1000));
    }
    assert_eq!(rig.reader_events(), [failed(2, Errno::ESTALE)]);
    assert_eq!(rig.core.object_size(object), Some(SIZE_BYTES));
}

#[test]
fn an_open_answered_with_another_version_is_given_to_others_before_it_is_estale() {
    let mut rig = Rig::default();
    let mistaken = rig.session(8);
    let object = rig.object();
    let another_version = |rig: &mut Rig| {
        let open = rig.take(mistaken);
        let now = rig.now;
        let told = rig
            .core
            .copen_of_another_version(now, mistaken, open.msg_id);
        assert_eq!(told, Ok(object));
    };
    rig.read(object, 1, blocks(0, 1));
    another_version(&mut rig);
    rig.wait(ms(1000));
    let right = rig.session(8);
    rig.serve(right);
    assert_eq!(rig.reader_events(), [ready(1)]);
    rig.end(right);
    rig.read(object, 2, blocks(1, 1));
    for _ in 0..3 {
        another_version(&mut rig);
        rig.wait(ms(1000));
    }
    assert_eq!(rig.reader_events(), [failed(2, Errno::ESTALE)]);
}
