//! Faults at random while real clients push and read, and a checker that knows every acknowledged push and every answer.
//!
//! A short run is part of the end-to-end tests. The soak's run is as long as the environment says: `HGFLEET_FAULTS` (how many, default 200) and
//! `HGFLEET_FAULT_SEED` (which ones). The seed decides which faults come, in which order and with which pauses; how the processes' steps fall
//! between them, the machine decides.

mod chance;
mod check;
mod injector;
mod pusher;
mod reader;
mod report;

use crate::support::fleet::Fleet;
use chance::Chance;
use injector::Injector;
use pusher::{Ledger, Pusher};
use reader::Reader;
use report::Report;
use std::sync::atomic::{AtomicBool, Ordering};

/// The repositories that are pushed to, one pusher each.
const REPOSITORIES: [&str; 3] = ["team/first", "team/second", "drafts"];

/// Starts a fleet, injects `faults` faults while clients push and read, and checks everything at the end.
fn run(faults: usize, seed: u64) -> Report {
    let mut fleet = Fleet::start_with(&["standby"], "");
    fleet.down();
    let steps = fleet.path("stop-at");
    std::fs::create_dir(&steps).expect("made");
    fleet.up(&[("HGFLEET_STOP_AT", steps.to_str().expect("UTF-8"))]);
    for name in REPOSITORIES {
        let create: &[&str] =
            if name == "drafts" { &["repo", "create", "--non-publishing", name] } else { &["repo", "create", name] };
        fleet.hgfleet(create).ok();
    }
    let ledgers: Vec<Ledger> = REPOSITORIES.map(Ledger::new).into_iter().collect();
    let mut chance = Chance::new(seed);
    let mut report = Report::new(seed);
    let (stop_pushing, stop_reading) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let pushers: Vec<_> = ledgers
            .iter()
            .enumerate()
            .map(|(n, ledger)| {
                let pusher = Pusher::new(&fleet, ledger, &format!("work-{n}"), chance.fork());
                let stop = &stop_pushing;
                scope.spawn(move || pusher.run(stop))
            })
            .collect();
        let readers: Vec<_> = ledgers
            .iter()
            .map(|ledger| {
                let (reader, stop) = (Reader::new(&fleet, ledger), &stop_reading);
                scope.spawn(move || reader.run(stop))
            })
            .collect();
        let mut injector = Injector::new(&fleet, &steps, chance.fork());
        // What panics here would otherwise wait for clients that nobody stops.
        let injected = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..faults {
                report.recovered(injector.inject());
            }
        }));
        stop_pushing.store(true, Ordering::Relaxed);
        let pushed: Vec<_> = pushers.into_iter().map(|pusher| pusher.join()).collect();
        stop_reading.store(true, Ordering::Relaxed);
        for read in readers {
            report.read(read.join().expect("a reader ends"));
        }
        injected.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        pushed.into_iter().for_each(|pushed| pushed.expect("a pusher ends"));
    });
    for ledger in &ledgers {
        report.checked(ledger, check::violations(&fleet, ledger));
    }
    report
}

#[test]
fn faults_while_clients_push_and_read_lose_nothing() {
    let report = run(10, 1);
    println!("{report}");
    report.assert_clean();
}

#[cfg(feature = "soak")]
#[test]
fn many_faults_while_clients_push_and_read_lose_nothing() {
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
    };
    let report = run(number("HGFLEET_FAULTS", 200) as usize, number("HGFLEET_FAULT_SEED", 2));
    println!("{report}");
    report.assert_clean();
}
