//! Faults at random while real clients push and read, and a checker that knows every acknowledged push and every answer.
//!
//! A short run is part of the end-to-end tests; it knows neither power cuts nor full disks, for which the program must be built
//! so that the machine under it sees all that it does (feature `soak`). The soak's run is as long as the environment says:
//! `HGFLEET_SOAK_MINUTES` (default 10, for those on one machine and on several), `HGFLEET_FAULTS` (how many with one fleet, default 25; with it and without minutes, that many in all),
//! `HGFLEET_FAULT_SEED` (which ones), and `HGFLEET_FAULT_KINDS` (of which kinds alone, as the report names them, with commas). The seed decides which faults come, in which order and with which pauses; how the processes' steps
//! fall between them, the machine decides.

mod chance;
mod check;
mod found;
mod injector;
mod machine;
mod networks;
#[cfg(feature = "planted-faults")]
mod planted;
mod power;
mod pusher;
mod reader;
mod report;
mod watcher;
mod world;

use crate::support::clients::Clients;
use crate::support::fleet::Fleet;
use crate::support::run::Said;
use chance::Chance;
use injector::{ALL, Fault, Injector, Kind, is_whole};
use machine::Machine;
use pusher::{Ledger, Pusher};
use reader::{Reader, read_over_ssh};
use report::Report;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::Duration;
use world::{Shared, World};

/// The non-publishing one.
const DRAFTS: &str = "drafts";
/// The repositories that are pushed to, one pusher each.
const REPOSITORIES: [&str; 3] = ["team/first", "team/second", DRAFTS];

/// Between two readings of a client, for each door.
const READ_PAUSE: Duration = Duration::from_millis(100);

/// Clients that push and read while faults are injected.
struct Scene<'a> {
    shared: &'a Shared,
    /// The ways into the fleet
    doors: &'a [Clients],
    /// How many faults, at most: a violation ends it
    faults: usize,
    /// Runs beside it, until nothing more is read
    watch: &'a (dyn Fn() + Sync),
    /// Ends the fleet at once, so that nobody waits any more for what will not come
    end: &'a dyn Fn(),
}

impl Scene<'_> {
    /// Runs until all faults are over and everybody was told what became of the last push. `each` sees the report after each
    /// fault.
    fn play(
        &self,
        chance: &mut Chance,
        report: &mut Report,
        mut inject: impl FnMut() -> Fault,
        mut each: impl FnMut(&Report),
    ) {
        let Scene { shared, doors, .. } = *self;
        std::thread::scope(|scope| {
            let mut pushers = Vec::new();
            for (n, ledger) in shared.ledgers.iter().enumerate() {
                let pusher = Pusher::new(shared, ledger, doors, &format!("work-{n}"), chance.fork());
                pushers.push(scope.spawn(move || pusher.run()));
            }
            let mut readers = Vec::new();
            for (ledger, door) in shared.ledgers.iter().flat_map(|ledger| doors.iter().map(move |door| (ledger, door)))
            {
                let reader = Reader::new(shared, ledger, door, READ_PAUSE * doors.len() as u32);
                readers.push(scope.spawn(move || reader.run()));
            }
            let fork = chance.fork();
            readers.push(scope.spawn(move || read_over_ssh(shared, doors, fork)));
            let watcher = scope.spawn(self.watch);
            // What panics here would otherwise wait for clients that nobody stops.
            let injected = catch_unwind(AssertUnwindSafe(|| {
                for _ in 0..self.faults {
                    report.recovered(inject());
                    report.look_at(shared);
                    each(report);
                    if !shared.found.is_empty() {
                        break;
                    }
                }
            }));
            if let Err(panic) = injected {
                shared.found.add_panic("a fault", &*panic);
            }
            drop(inject);
            shared.stop_pushing.store(true, Ordering::Relaxed);
            if !shared.found.is_empty() {
                (self.end)();
            }
            for pusher in pushers {
                if let Err(panic) = pusher.join() {
                    shared.found.add_panic("a client that pushes", &*panic);
                }
            }
            shared.stop_reading.store(true, Ordering::Relaxed);
            for reader in readers {
                if let Err(panic) = reader.join() {
                    shared.found.add_panic("a client that reads", &*panic);
                }
            }
            if let Err(panic) = watcher.join() {
                shared.found.add_panic("who watches the log", &*panic);
            }
        });
        report.look_at(shared);
    }

    /// What does not hold in the end of one repository after the other, as `violations` finds it.
    fn check(&self, violations: impl Fn(&Ledger) -> Vec<String>) {
        for ledger in self.shared.ledgers.iter().filter(|_| self.shared.found.is_empty()) {
            match catch_unwind(AssertUnwindSafe(|| violations(ledger))) {
                Ok(violations) => violations.into_iter().for_each(|violation| self.shared.found.add(violation)),
                Err(panic) => self.shared.found.add_panic(ledger.repository, &*panic),
            }
        }
    }
}

/// Keeps a run's log where the environment says, if it found something.
fn keep_log(report: &Report, seed: u64, log: &str) {
    if !report.violations().is_empty()
        && let Some(keep) = std::env::var_os("HGFLEET_FAULT_LOGS")
    {
        let file = std::path::Path::new(&keep).join(format!("seed-{seed}.log"));
        std::fs::write(file, format!("{report}\n{log}")).expect("kept");
    }
}

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
    stores: Stores,
}

/// Where a master and a standby have their stores.
#[derive(Debug, Clone, Copy)]
enum Stores {
    /// Each on its own disk
    Replicated,
    /// In a volume that both see
    SharedVolume,
}

impl Run<'_> {
    /// Starts a fleet, injects faults while clients push and read, and checks everything at the end. `each` sees the report after each
    /// fault.
    fn run(&self, each: impl FnMut(&Report)) -> Report {
        let world = self.world();
        let mut chance = Chance::new(self.seed);
        let mut report = Report::new(self.seed);
        let scene = Scene {
            shared: &world.shared,
            doors: std::slice::from_ref(&*world.fleet),
            faults: self.faults,
            watch: &|| watcher::run(&world),
            end: &|| {
                world.fleet.signal_supervisor_if_any("STOP");
                world.machine.kill_all();
                world.fleet.end_supervisor();
            },
        };
        let mut injector = Injector::new(&world, self.mix, self.recovery_max, chance.fork());
        scene.play(&mut chance, &mut report, move || injector.inject(), each);
        scene.check(|ledger| {
            world.fleet.wait_until("nothing ails any server", is_whole);
            world.fleet.assert_one_store(ledger.repository);
            check::violations(&world.fleet, &world.fleet.copies(ledger.repository)[0], ledger)
        });
        report.violated(world.shared.found.all());
        keep_log(&report, self.seed, &world.fleet.log());
        report
    }

    fn world(&self) -> World {
        // Every other log is trimmed all the time.
        let log = if self.seed.is_multiple_of(2) { "[log]\nretain_records = 5\ntrim_every_seconds = 1\n" } else { "" };
        let mut fleet = match self.stores {
            Stores::Replicated => Fleet::start_with(&["standby"], log),
            Stores::SharedVolume => {
                Fleet::start_on_a_volume(&["standby"], |_| format!("keep_trees_seconds = 3\n{log}"))
            }
        };
        fleet.down();
        let steps = fleet.path("stop-at");
        std::fs::create_dir_all(&steps).expect("made");
        let machine = Machine::new(&fleet.path("machine"), &fleet.path("data"), &steps);
        let of_machine = machine.environment();
        let mut environment = vec![("HGFLEET_STOP_AT", steps.to_str().expect("UTF-8"))];
        environment.extend(of_machine.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        environment.extend(self.environment);
        fleet.up(&environment);
        create_repositories(|arguments| fleet.hgfleet(arguments));
        let shared = Shared::new(&REPOSITORIES);
        World { fleet, machine, steps, shared, log_in_use: Default::default(), power_cuts: Default::default() }
    }
}

fn create_repositories(hgfleet: impl Fn(&[&str]) -> Said) {
    for name in REPOSITORIES {
        let create: &[&str] =
            if name == DRAFTS { &["repo", "create", "--non-publishing", name] } else { &["repo", "create", name] };
        hgfleet(create).ok();
    }
}

/// How long the fleet may take to be whole again.
const RECOVERY_MAX: Duration = Duration::from_secs(60);

#[test]
fn faults_while_clients_push_and_read_lose_nothing() {
    run_short(1, Stores::Replicated);
}

#[test]
fn faults_on_a_shared_volume_lose_nothing() {
    run_short(2, Stores::SharedVolume);
}

fn run_short(seed: u64, stores: Stores) {
    let run = Run { seed, faults: 6, mix: &ALL, recovery_max: RECOVERY_MAX, environment: &[], stores };
    let report = run.run(|_| {});
    println!("{report}");
    report.assert_clean();
}

#[test]
fn faults_on_several_machines_lose_nothing() {
    let Some(report) = networks::run(1, 2, |_| {}) else { return };
    println!("{report}");
    report.assert_clean();
}

/// A number from the environment.
#[cfg(feature = "soak")]
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Fleet after fleet until the time is over. After each fault the figures so far are in `file` of Cargo's folder for such files, or of
/// the folder that `HGFLEET_FAULT_REPORTS` names.
#[cfg(feature = "soak")]
fn soak(file: &str, mut run: impl FnMut(u64, usize, &mut dyn FnMut(&Report)) -> Option<Report>) {
    let faults = number("HGFLEET_FAULTS").unwrap_or(25) as usize;
    let minutes = number("HGFLEET_SOAK_MINUTES").or(number("HGFLEET_FAULTS").is_none().then_some(10));
    let folder = std::env::var_os("HGFLEET_FAULT_REPORTS").unwrap_or_else(|| env!("CARGO_TARGET_TMPDIR").into());
    let file = std::path::Path::new(&folder).join(file);
    let begun = std::time::Instant::now();
    let mut all = Report::default();
    for seed in number("HGFLEET_FAULT_SEED").unwrap_or(2).. {
        let report = run(seed, faults, &mut |so_far| {
            let mut sum = all.clone();
            sum.add(so_far.clone());
            std::fs::write(&file, sum.to_string()).expect("written");
        });
        let Some(report) = report else { return };
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

#[cfg(feature = "soak")]
#[test]
fn many_faults_while_clients_push_and_read_lose_nothing() {
    let kinds = std::env::var("HGFLEET_FAULT_KINDS").unwrap_or_default();
    let mut mix = ALL.to_vec();
    if !kinds.is_empty() {
        mix.retain(|(kind, _)| kinds.split(',').any(|name| name == format!("{kind:?}")));
    }
    soak("faults-report.md", |seed, faults, each| {
        // Every third fleet has a volume.
        let stores = if seed.is_multiple_of(3) { Stores::SharedVolume } else { Stores::Replicated };
        let run = Run { seed, faults, mix: &mix, recovery_max: RECOVERY_MAX, environment: &[], stores };
        Some(run.run(each))
    });
}

#[cfg(feature = "soak")]
#[test]
fn many_faults_on_several_machines_lose_nothing() {
    soak("networks-report.md", |seed, faults, each| networks::run(seed, faults, each));
}
