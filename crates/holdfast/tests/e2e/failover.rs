//! Daemons die all the time, or all at once, and readers do not notice.

use std::ffi::OsStr;
use std::time::Duration;

use holdfast_demo::origin::{Fault, FaultRule, Origin, OriginConfig};

use crate::chaos::{
    FrozenKeeper, Ordeal, Outcome, PATIENCE, Reader, Verdict, engine_status, outcomes, restarts,
    write_files,
};
use crate::support::{Site, can_mount, eventually, has_program};

const MIB: usize = 1 << 20;
/// Deaths that the seed's failover test asks for.
const DEATHS: u64 = 200;

fn can_run(test: &str) -> bool {
    can_mount(test) && has_program(test, "sha256sum")
}

/// The seed's failover test; returns the verdict on the site as it is.
fn kill_daemons(site: &Site, names: &[String], patience: Duration) -> Verdict {
    let ordeal = Ordeal {
        site,
        roles: &["daemon"],
        deaths: DEATHS,
        pause_max: Duration::from_millis(200),
        patience,
    };
    ordeal.run(names)
}

fn assert_unnoticed(site: &Site, verdict: &Verdict) {
    let Verdict::Unnoticed { deaths, rounds } = verdict else {
        panic!("{verdict:?}\n{}", site.log());
    };
    eprintln!("{deaths} deaths, {rounds} rounds of cold reads");
    assert!(*deaths >= DEATHS);
    // Who dies is not always replaced by the moment the next stroke falls; each replacement is a death.
    eventually("the keeper's own count agrees", || {
        restarts(site, "daemon") >= *deaths
    });
    let replayed = site.instances()[0]["requests"]["replayed"].as_u64();
    assert!(
        replayed.expect("a number") > 0,
        "no death hit a request: the kills prove nothing"
    );
}

#[test]
fn two_hundred_deaths_of_daemons_are_not_noticed_from_a_directory() {
    if !can_run("two_hundred_deaths_of_daemons_are_not_noticed_from_a_directory") {
        return;
    }
    let site = Site::new();
    let names = write_files(&site.source().join("base"), 3, 33 * MIB + 4097);
    site.mount_dir(&[]);
    let verdict = kill_daemons(&site, &names, PATIENCE);
    assert_unnoticed(&site, &verdict);
    site.umount();
}

#[test]
fn two_hundred_deaths_of_daemons_are_not_noticed_over_http() {
    if !can_run("two_hundred_deaths_of_daemons_are_not_noticed_over_http") {
        return;
    }
    let site = Site::new();
    let names = write_files(&site.source().join("base"), 3, 32 * MIB + 1);
    let origin = Origin::start(OriginConfig::new(site.source())).expect("an origin");
    site.mount(OsStr::new(&origin.url()), &[]);
    let verdict = kill_daemons(&site, &names, PATIENCE);
    assert_unnoticed(&site, &verdict);
    let Verdict::Unnoticed { rounds, .. } = verdict else {
        unreachable!("asserted")
    };
    let whole = rounds * names.len() as u64 * (32 * MIB + 1) as u64;
    assert!(
        origin.stats().body_bytes() >= whole,
        "not everything was fetched: the reads were not cold"
    );
    site.umount();
}

/// The proof that the tests above can fail: nobody restarts the daemons, and the same harness says so.
#[test]
fn without_recovery_the_same_test_fails() {
    if !can_run("without_recovery_the_same_test_fails") {
        return;
    }
    let site = Site::new();
    let names = write_files(&site.source().join("base"), 2, 32 * MIB);
    site.mount_dir(&[]);
    let frozen = FrozenKeeper::without_daemons(&site);
    let base: Vec<_> = names
        .iter()
        .map(|name| site.mount_point().join("base").join(name))
        .collect();
    let seen = outcomes(&base, Duration::from_secs(3));
    assert_eq!(seen, [Outcome::Blocked, Outcome::Blocked]);
    drop(frozen);
    site.umount();
}

#[test]
fn all_daemons_are_dead_for_three_seconds_and_readers_wait() {
    if !can_run("all_daemons_are_dead_for_three_seconds_and_readers_wait") {
        return;
    }
    let site = Site::new();
    let names = write_files(&site.source(), 3, 8 * MIB);
    let right = outcomes(&crate::chaos::paths_in(&site.source(), &names), PATIENCE);
    site.mount_dir(&["--read-ahead", "0"]);
    let mounted = crate::chaos::paths_in(&site.mount_point(), &names);
    // One file is known before, one is not.
    std::fs::metadata(&mounted[0]).expect("attributes");
    let frozen = FrozenKeeper::without_daemons(&site);
    let mut readers: Vec<Reader> = mounted.iter().map(|path| Reader::start(path)).collect();
    std::thread::sleep(Duration::from_secs(3));
    assert!(readers.iter_mut().all(Reader::is_reading));
    drop(frozen);
    let seen: Vec<Outcome> = readers
        .into_iter()
        .map(|reader| reader.outcome(PATIENCE))
        .collect();
    assert_eq!(seen, right);
    site.umount();
}

#[test]
fn with_a_limit_readers_get_eio_in_an_outage_and_right_bytes_after_it() {
    if !can_run("with_a_limit_readers_get_eio_in_an_outage_and_right_bytes_after_it") {
        return;
    }
    let site = Site::new();
    let names = write_files(&site.source(), 2, 8 * MIB);
    let right = outcomes(&crate::chaos::paths_in(&site.source(), &names), PATIENCE);
    site.mount_dir(&["--on-outage", "eio:1s"]);
    let mounted = crate::chaos::paths_in(&site.mount_point(), &names);
    std::fs::metadata(&mounted[0]).expect("attributes");
    let frozen = FrozenKeeper::without_daemons(&site);
    for outcome in outcomes(&mounted, PATIENCE) {
        let Outcome::Failed(text) = outcome else {
            panic!("{outcome:?}");
        };
        assert!(text.contains("Input/output error"), "{text}");
    }
    drop(frozen);
    // The keeper's list may still name the dead: who serves is known to the engine.
    eventually("all daemons are back", || {
        let sessions = engine_status(&site)["sessions"].clone();
        sessions
            .as_array()
            .is_some_and(|sessions| sessions.len() >= 2)
    });
    assert_eq!(outcomes(&mounted, PATIENCE), right);
    site.umount();
}

/// What a request to the origin is doing when the daemon behind it dies.
fn dies_while_the_origin_stalls(fault: Fault) {
    let site = Site::new();
    let names = write_files(&site.source(), 1, 8 * MIB);
    let right = outcomes(&crate::chaos::paths_in(&site.source(), &names), PATIENCE);
    let origin = Origin::start(OriginConfig::new(site.source())).expect("an origin");
    site.mount(OsStr::new(&origin.url()), &[]);
    let met = origin.faults().add(
        FaultRule::always(fault).on(holdfast_demo::origin::Scope::Path(
            names[0].clone().into_bytes(),
        )),
    );
    let mut reader = Reader::start(&site.mount_point().join(&names[0]));
    eventually("the request is under way", || {
        let in_flight = site.instances()[0]["requests"]["in_flight"].as_u64();
        origin.stats().path(names[0].as_bytes()).requests > 0 && in_flight > Some(0)
    });
    assert!(reader.is_reading());
    let daemons = site.pids("daemon");
    let dead = daemons
        .into_iter()
        .filter(|pid| crate::support::end(*pid))
        .count();
    assert!(dead >= 2, "{dead} daemons died");
    assert!(origin.faults().remove(met));
    assert_eq!(reader.outcome(PATIENCE), right[0]);
    site.umount();
}

#[test]
fn a_daemon_dies_in_the_midst_of_an_open() {
    if can_run("a_daemon_dies_in_the_midst_of_an_open") {
        dies_while_the_origin_stalls(Fault::Stall);
    }
}

#[test]
fn a_daemon_dies_in_the_midst_of_a_read() {
    if can_run("a_daemon_dies_in_the_midst_of_a_read") {
        let after_bytes = 2 * MIB as u64 + 5;
        dies_while_the_origin_stalls(Fault::StallInBody { after_bytes });
    }
}
