//! Real keepers with real children.
//!
//! This binary plays all parts: the test program (its own `main`, so that a child needs no test harness to start), the
//! keeper (a process of its own, since a keeper owns its process), and the children.

mod child;
mod descriptors;
mod harness;
mod keeper_process;
mod restarts;
mod watchdog;
mod wind_down;

use libtest_mimic::{Arguments, Trial};

fn main() {
    if std::env::var_os(keeper_process::SPEC_VARIABLE).is_some() {
        return keeper_process::main();
    }
    if let Some(behaviour) = std::env::var_os(child::BEHAVIOUR_VARIABLE) {
        return child::main(&behaviour);
    }
    let mut trials: Vec<Trial> = Vec::new();
    trials.extend(restarts::trials());
    trials.extend(descriptors::trials());
    trials.extend(watchdog::trials());
    trials.extend(wind_down::trials());
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
