//! What can happen, as data. Numbers choose among what exists when the step is run.

use holdfast_core::DeliveryRetry;
use proptest::prelude::*;

/// One thing that happens.
#[derive(Clone, Debug)]
pub enum Step {
    InsertObject {
        eio_after_ms: Option<u64>,
    },
    DropObject {
        object: usize,
        errno: i32,
    },
    Open {
        object: usize,
    },
    Read {
        object: usize,
        ranges: Vec<(u64, u64)>,
    },
    Prefetch {
        object: usize,
        range: (u64, u64),
    },
    Interrupt {
        reader: usize,
    },
    StartSession,
    Grant {
        session: usize,
        credits: u32,
    },
    EndSession {
        session: usize,
    },
    Restore {
        session: usize,
    },
    Take {
        session: usize,
        count: usize,
    },
    FailDelivery {
        session: usize,
        retry: DeliveryRetry,
    },
    Writable {
        session: usize,
    },
    AnswerOpen {
        which: usize,
        errno: i32,
    },
    AnswerRead {
        which: usize,
        errno: i32,
    },
    Present {
        lease: usize,
        range: (u64, u64),
    },
    CloseLease {
        lease: usize,
    },
    Garbage {
        session: usize,
        lease: usize,
        msg_id: u32,
    },
    Wait {
        ms: u64,
    },
}

const BLOCKS: u64 = 24;

fn range() -> impl Strategy<Value = (u64, u64)> {
    (0..BLOCKS, 1..9u64)
}

fn errno() -> impl Strategy<Value = i32> {
    // EIO, ENOENT, ESTALE, EAGAIN, ECONNREFUSED
    prop::sample::select(vec![5, 5, 2, 116, 11, 111])
}

fn retry() -> impl Strategy<Value = DeliveryRetry> {
    prop::sample::select(vec![
        DeliveryRetry::WhenWritable,
        DeliveryRetry::AfterBackoff,
    ])
}

fn readers() -> impl Strategy<Value = Step> {
    let n = 0..1000usize;
    prop_oneof![
        2 => n.clone().prop_map(|object| Step::Open { object }),
        6 => (n.clone(), prop::collection::vec(range(), 1..4))
            .prop_map(|(object, ranges)| Step::Read { object, ranges }),
        1 => (n.clone(), range()).prop_map(|(object, range)| Step::Prefetch { object, range }),
        2 => n.prop_map(|reader| Step::Interrupt { reader }),
    ]
}

fn good_daemon() -> impl Strategy<Value = Step> {
    let n = 0..1000usize;
    prop_oneof![
        3 => (n.clone(), 1..6u32).prop_map(|(session, credits)| Step::Grant { session, credits }),
        6 => (n.clone(), 1..5usize).prop_map(|(session, count)| Step::Take { session, count }),
        4 => n.clone().prop_map(|which| Step::AnswerOpen { which, errno: 0 }),
        4 => n.clone().prop_map(|which| Step::AnswerRead { which, errno: 0 }),
        3 => (n, range()).prop_map(|(lease, range)| Step::Present { lease, range }),
    ]
}

fn trouble() -> impl Strategy<Value = Step> {
    let n = 0..1000usize;
    prop_oneof![
        1 => (n.clone(), errno()).prop_map(|(object, errno)| Step::DropObject { object, errno }),
        2 => n.clone().prop_map(|session| Step::EndSession { session }),
        1 => n.clone().prop_map(|session| Step::Restore { session }),
        2 => (n.clone(), retry())
            .prop_map(|(session, retry)| Step::FailDelivery { session, retry }),
        2 => (n.clone(), errno()).prop_map(|(which, errno)| Step::AnswerOpen { which, errno }),
        2 => (n.clone(), errno()).prop_map(|(which, errno)| Step::AnswerRead { which, errno }),
        2 => n.clone().prop_map(|lease| Step::CloseLease { lease }),
        1 => (n.clone(), n, 0..40u32)
            .prop_map(|(session, lease, msg_id)| Step::Garbage { session, lease, msg_id }),
    ]
}

fn surroundings() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => prop::option::of(0..600u64)
            .prop_map(|eio_after_ms| Step::InsertObject { eio_after_ms }),
        2 => Just(Step::StartSession),
        2 => (0..1000usize).prop_map(|session| Step::Writable { session }),
        3 => (0..400u64).prop_map(|ms| Step::Wait { ms }),
    ]
}

/// Trouble as likely as anything.
pub fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![3 => readers(), 5 => good_daemon(), 3 => trouble(), 2 => surroundings()]
}

/// Trouble now and then, so that long queues and open objects build up.
pub fn mostly_good_step() -> impl Strategy<Value = Step> {
    prop_oneof![12 => readers(), 24 => good_daemon(), 1 => trouble(), 4 => surroundings()]
}
