//! Faults at random while real clients push and read, and a checker that knows every acknowledged push and every answer.
//!
//! A short run is part of the end-to-end tests; it knows neither power cuts nor full disks, for which the program must be built
//! so that the machine under it sees all that it does (feature `soak`). The soak's run is as long as the environment says:
//! `HGFLEET_SOAK_MINUTES` (default 10), `HGFLEET_FAULTS` (how many with one fleet, default 25; with it and without minutes, that many in all),
//! `HGFLEET_FAULT_SEED` (which ones), and `HGFLEET_FAULT_KINDS` (of which kinds alone, as the report names them, with commas). The seed decides which faults come, in which order and with which pauses; how the processes' steps
//! fall between them, the machine decides.

mod chance;
mod check;
mod found;
mod injector;
mod machine;
#[cfg(feature = "planted-faults")]
mod planted;
mod power;
mod pusher;
mod reader;
mod report;
mod watcher;
mod world;

use crate::support::fleet::Fleet;
use chance::Chance;
use injector::{ALL, Injector, Kind};
use machine::Machine;
use pusher::{Ledger, Pusher};
use reader::{Reader, read_over_ssh};
use report::Report;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::Duration;
use world::World;

/// The non-publishing one.
const DRAFTS: &str = "drafts";
/// The repositories that are pushed to, one pusher each.
const REPOSITORIES: [&str; 3] = ["team/first", "team/second", DRAFTS];

/// A run: one fleet from its start to the last check.
struct Run<'a> {
    seed: u64,
    /// How many faults, at most: a violation ends it
    faults: usize,
    mix: &'a [(Kind, usize)],
    /// How long the fleet may take to be whole again
    recovery_max: Duration,
    /// More for the fleet's environment
    environment: &'a [(&'a str, &'a str)],
}

impl Run<'_> {
    /// Starts a fleet, injects faults while clients push and read, and checks everything at the end. `each` sees the report after each
    /// fault.
    fn run(&self, mut each: impl FnMut(&Report)) -> Report {
        let world = self.world();
        let mut chance = Chance::new(self.seed);
        let mut report = Report::new(self.seed);
        std::thread::scope(|scope| {
            let mut pushers = Vec::new();
            for (n, ledger) in world.ledgers.iter().enumerate() {
                let pusher = Pusher::new(&world, ledger, &format!("work-{n}"), chance.fork());
                pushers.push(scope.spawn(move || pusher.run()));
            }
            let mut readers = Vec::new();
            for ledger in &world.ledgers {
                let reader = Reader::new(&world, ledger);
                readers.push(scope.spawn(move || reader.run()));
            }
            let (fork, world) = (chance.fork(), &world);
            readers.push(scope.spawn(move || read_over_ssh(world, fork)));
            let watcher = scope.spawn(move || watcher::run(world));
            let mut injector = Injector::new(world, self.mix, self.recovery_max, chance.fork());
            // What panics here would otherwise wait for clients that nobody stops.
            let injected = catch_unwind(AssertUnwindSafe(|| {
                for _ in 0..self.faults {
                    report.recovered(injector.inject());
                    report.look_at(world);
                    each(&report);
                    if !world.found.is_empty() {
                        break;
                    }
                }
            }));
            if let Err(panic) = injected {
                world.found.add_panic("a fault", &*panic);
            }
            drop(injector);
            if !world.found.is_empty() {
                // Nobody waits any more for what will not come.
                world.fleet.signal_supervisor_if_any("STOP");
                world.machine.kill_all();
                world.fleet.end_supervisor();
            }
            for pusher in pushers {
                if let Err(panic) = pusher.join() {
                    world.found.add_panic("a client that pushes", &*panic);
                }
            }
            world.stop_reading.store(true, Ordering::Relaxed);
            for reader in readers {
                if let Err(panic) = reader.join() {
                    world.found.add_panic("a client that reads", &*panic);
                }
            }
            if let Err(panic) = watcher.join() {
                world.found.add_panic("who watches the log", &*panic);
            }
        });
        report.look_at(&world);
        for ledger in world.ledgers.iter().filter(|_| world.found.is_empty()) {
            match catch_unwind(AssertUnwindSafe(|| check::violations(&world.fleet, ledger))) {
                Ok(violations) => violations.into_iter().for_each(|violation| world.found.add(violation)),
                Err(panic) => world.found.add_panic(ledger.repository, &*panic),
            }
        }
        report.violated(world.found.all());
        if !world.found.is_empty()
            && let Some(keep) = std::env::var_os("HGFLEET_FAULT_LOGS")
        {
            let name = format!("seed-{}.log", self.seed);
            std::fs::write(std::path::Path::new(&keep).join(name), format!("{report}\n{}", world.fleet.log()))
                .expect("kept");
        }
        report
    }

    fn world(&self) -> World {
        let mut fleet = Fleet::start_with(&["standby"], "");
        fleet.down();
        let steps = fleet.path("stop-at");
        std::fs::create_dir(&steps).expect("made");
        let machine = Machine::new(&fleet.path("machine"), &fleet.path("data"), &steps);
        let of_machine = machine.environment();
        let mut environment = vec![("HGFLEET_STOP_AT", steps.to_str().expect("UTF-8"))];
        environment.extend(of_machine.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        environment.extend(self.environment);
        fleet.up(&environment);
        for name in REPOSITORIES {
            let create: &[&str] =
                if name == DRAFTS { &["repo", "create", "--non-publishing", name] } else { &["repo", "create", name] };
            fleet.hgfleet(create).ok();
        }
        World {
            fleet,
            machine,
            steps,
            ledgers: REPOSITORIES.map(Ledger::new).into_iter().collect(),
            reads: Default::default(),
            found: Default::default(),
            log_in_use: Default::default(),
            power_cuts: Default::default(),
            stop_pushing: Default::default(),
            stop_reading: Default::default(),
        }
    }
}

/// How long the fleet may take to be whole again.
const RECOVERY_MAX: Duration = Duration::from_secs(60);

#[test]
fn faults_while_clients_push_and_read_lose_nothing() {
    let run = Run { seed: 1, faults: 10, mix: &ALL, recovery_max: RECOVERY_MAX, environment: &[] };
    let report = run.run(|_| {});
    println!("{report}");
    report.assert_clean();
}

/// Fleet after fleet until the time is over. After each fault the figures so far are in `faults-report.md` of Cargo's folder for
/// such files, or where `HGFLEET_FAULT_REPORT` says.
#[cfg(feature = "soak")]
#[test]
fn many_faults_while_clients_push_and_read_lose_nothing() {
    let number = |name: &str| {
        std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap_or_else(|_| panic!("{name} is a number")))
    };
    let faults = number("HGFLEET_FAULTS").unwrap_or(25) as usize;
    let minutes = number("HGFLEET_SOAK_MINUTES").or(number("HGFLEET_FAULTS").is_none().then_some(10));
    let file = std::env::var_os("HGFLEET_FAULT_REPORT").map_or_else(
        || std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("faults-report.md"),
        std::path::PathBuf::from,
    );
    let kinds = std::env::var("HGFLEET_FAULT_KINDS").unwrap_or_default();
    let mut mix = ALL.to_vec();
    if !kinds.is_empty() {
        mix.retain(|(kind, _)| kinds.split(',').any(|name| name == format!("{kind:?}")));
    }
    let begun = std::time::Instant::now();
    let mut all = Report::default();
    for seed in number("HGFLEET_FAULT_SEED").unwrap_or(2).. {
        let run = Run { seed, faults, mix: &mix, recovery_max: RECOVERY_MAX, environment: &[] };
        let report = run.run(|so_far| {
            let mut sum = all.clone();
            sum.add(so_far.clone());
            std::fs::write(&file, sum.to_string()).expect("written");
        });
        all.add(report);
        std::fs::write(&file, all.to_string()).expect("written");
        println!("{}", all.row());
        if !all.violations().is_empty() || minutes.is_none_or(|minutes| begun.elapsed().as_secs() >= 60 * minutes) {
            break;
        }
    }
    println!("{all}\nalso in {}", file.display());
    all.assert_clean();
}
