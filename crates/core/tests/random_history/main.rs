//! Long random histories against the real core: daemons die, lie, close leases, answer twice or not at all, readers
//! come and are killed, deliveries fail, objects are dropped, time passes.
//!
//! After every step all invariants of the core are checked, and what it said is compared with a model that keeps
//! facts only (who waits for which blocks, what was handed out, which leases live) and none of the core's decisions.
//! At the end every session dies, one good one comes, and every reader that still waits must be served.

mod model;
mod step;
mod verdict;

use model::Model;
use proptest::prelude::*;
use step::Step;

fn run(steps: &[Step]) {
    let mut model = Model::new();
    for step in steps {
        model.run(step);
    }
    model.finish();
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        max_shrink_iters: 20_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_reader_gets_exactly_one_answer(steps in prop::collection::vec(step::any_step(), 1..400)) {
        run(&steps);
    }

    #[test]
    fn also_where_daemons_mostly_work(steps in prop::collection::vec(step::mostly_good_step(), 1..400)) {
        run(&steps);
    }
}
