//! Many of everything: if a call scanned idle objects, waiting readers or skipped requests, this would take hours.

mod common;

use common::{Rig, SIZE_BYTES, blocks};
use holdfast_core::{Config, DeliveryBody, ReaderId};

#[test]
fn thirty_thousand_objects_and_readers_survive_deaths() {
    let mut rig = Rig::new(Config {
        open_objects_per_session_max: 1000,
        ..Config::default()
    });
    let objects: Vec<_> = (0..30_000).map(|_| rig.object()).collect();
    for (reader, object) in (0..).zip(&objects) {
        rig.core
            .read(rig.now, *object, ReaderId(reader), &[blocks(0, 1)]);
    }
    let hot = objects[0];
    for reader in 0..2_000 {
        rig.core.read(
            rig.now,
            hot,
            ReaderId(1_000_000 + reader),
            &[blocks(reader * 2, 1)],
        );
    }
    for _ in 0..100 {
        let session = rig.core.session_started(rig.now);
        rig.core.grant_credits(rig.now, session, 16);
        for _ in 0..300 {
            let Some(delivery) = rig.core.next_delivery(rig.now, session) else {
                break;
            };
            let answered = match delivery.body {
                DeliveryBody::Open { .. } => {
                    rig.core
                        .copen(rig.now, session, delivery.msg_id, Ok(SIZE_BYTES))
                }
                DeliveryBody::Read { lease, .. } => {
                    rig.core.cread(rig.now, lease, delivery.msg_id, Ok(()))
                }
                DeliveryBody::Close { .. } => continue,
            };
            answered.expect("it was handed out");
            rig.core.grant_credits(rig.now, session, 1);
        }
        rig.core.session_ended(rig.now, session);
    }
    rig.check();
    let session = rig.core.session_started(rig.now);
    rig.core.grant_credits(rig.now, session, 16);
    while let Some(delivery) = rig.core.next_delivery(rig.now, session) {
        match delivery.body {
            DeliveryBody::Open { .. } => {
                rig.core
                    .copen(rig.now, session, delivery.msg_id, Ok(SIZE_BYTES))
                    .unwrap();
            }
            DeliveryBody::Read { lease, .. } => {
                rig.core
                    .cread(rig.now, lease, delivery.msg_id, Ok(()))
                    .unwrap();
            }
            DeliveryBody::Close { .. } => continue,
        }
        rig.core.grant_credits(rig.now, session, 1);
    }
    rig.check();
    assert_eq!(rig.core.waiting_readers(), 0);
    assert_eq!(rig.reader_events().len(), 32_000);
}
