//! The same on several machines: the fleet of `docs/several-machines.md`, three NATS servers, and networks that lose what is sent.

use super::chance::Chance;
use super::injector::Fault;
use super::report::Report;
use super::world::Shared;
use super::{REPOSITORIES, Scene, check, create_repositories, keep_log};
use crate::support::machines::{MACHINES, Machines, SERVERS};
use crate::support::steps::{MASTER_STEPS, MIRROR_STEPS, SESSION_STEPS, TAKEOVER_STEPS, reach};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The two that may be master.
const MASTERS: [&str; 2] = ["master", "standby-1"];
/// Shorter than in the guide, so that more happens; longer than NATS mostly takes to elect a leader.
const LEASE: &str = "lease_seconds = 6";
/// Longer than the lease.
const STOPPED_MAX: Duration = Duration::from_secs(9);
/// How long a network, or too few NATS servers, may last.
const CUT_MAX: Duration = Duration::from_secs(12);
/// How soon what has ended by itself is started again.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long the fleet may take to be whole again.
const RECOVERY_MAX: Duration = Duration::from_secs(120);

/// A kind of fault on several machines.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// A server, a tunnel or a NATS server is killed.
    Kill,
    /// Two of them are.
    KillTwo,
    /// All that runs on a machine is.
    KillAMachine,
    /// One of them is stopped for a while.
    Stop,
    /// The master is, for longer than its lease; the standby may die while it takes over.
    StopTheMaster,
    /// The lease is handed over.
    FailOver,
    /// A process dies at a named step.
    DieAtAStep,
    /// Two NATS servers are away for a while.
    LoseTheLog,
    /// Two machines don't reach each other for a while.
    Cut,
    /// What one machine sends to another gets lost for a while.
    CutOneWay,
    /// A machine is cut off from both others for a while; users reach it.
    Isolate,
    /// The master's machine is.
    IsolateTheMaster,
}

use Kind::*;

/// All kinds, each as often as it comes among so many.
const ALL: [Kind; 16] = [
    Kill,
    Kill,
    Kill,
    KillTwo,
    KillAMachine,
    Stop,
    Stop,
    StopTheMaster,
    FailOver,
    DieAtAStep,
    DieAtAStep,
    LoseTheLog,
    Cut,
    CutOneWay,
    Isolate,
    IsolateTheMaster,
];

struct Injector<'a> {
    machines: &'a Machines,
    shared: &'a Shared,
    steps: &'a Path,
    chance: Chance,
}

impl Injector<'_> {
    /// Does the next fault, and waits until the fleet is whole again.
    fn inject(&mut self) -> Fault {
        sleep(self.chance.between(Duration::ZERO, Duration::from_millis(800)));
        let kind = *self.chance.pick(&ALL);
        let what = match kind {
            Kill => self.kill(1),
            KillTwo => self.kill(2),
            KillAMachine => self.kill_a_machine(),
            Stop => self.stop(),
            StopTheMaster => self.stop_the_master(),
            FailOver => self.fail_over(),
            DieAtAStep => self.die_at_a_step(),
            LoseTheLog => self.lose_the_log(),
            Cut | CutOneWay | Isolate | IsolateTheMaster => self.cut(kind),
        };
        let begun = Instant::now();
        while !self.is_whole() {
            assert!(
                begun.elapsed() < RECOVERY_MAX,
                "after {what}, not whole again within {RECOVERY_MAX:?}: {:#}",
                self.machines.status("m1")
            );
            sleep(Duration::from_millis(100));
        }
        self.shared.cut_off.store(false, Ordering::SeqCst);
        Fault { kind: format!("{kind:?}"), what, recovery: begun.elapsed() }
    }

    fn is_whole(&self) -> bool {
        MACHINES.iter().all(|machine| self.machines.is_whole(machine))
    }

    /// Any service. Without a tunnel a machine is cut off.
    fn service(&mut self) -> String {
        let name = (*self.chance.pick(&self.machines.services())).to_owned();
        if name.starts_with("tunnel") {
            self.shared.cut_off.store(true, Ordering::SeqCst);
        }
        name
    }

    fn kill(&mut self, how_many: usize) -> String {
        let names: Vec<String> = (0..how_many).map(|_| self.service()).collect();
        self.machines.kill(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let away = self.chance.between(Duration::ZERO, Duration::from_secs(3));
        sleep(away);
        names.iter().for_each(|name| self.start(name));
        format!("kill {}, for {:.1} s", names.join(" and "), away.as_secs_f64())
    }

    /// Unless it runs already: the same may have been killed twice.
    fn start(&self, name: &str) {
        self.machines.start_unless_it_runs(name);
    }

    fn kill_a_machine(&mut self) -> String {
        let machine = *self.chance.pick(&MACHINES);
        self.shared.cut_off.store(true, Ordering::SeqCst);
        let services = self.machines.services_of(machine);
        self.machines.kill(&services);
        let away = self.chance.between(Duration::ZERO, CUT_MAX);
        sleep(away);
        services.iter().for_each(|name| self.start(name));
        format!("kill all on {machine}, for {:.1} s", away.as_secs_f64())
    }

    fn stop(&mut self) -> String {
        let name = self.service();
        let pause = self.chance.between(Duration::from_millis(100), STOPPED_MAX);
        self.machines.signal(&name, "-STOP");
        sleep(pause);
        self.machines.signal(&name, "-CONT");
        format!("stop {name} for {:.1} s", pause.as_secs_f64())
    }

    fn master(&self) -> &'static str {
        self.machines.master("m1")
    }

    fn stop_the_master(&mut self) -> String {
        let master = self.master();
        let other = if master == MASTERS[0] { MASTERS[1] } else { MASTERS[0] };
        let pause = self.chance.between(Duration::from_secs(7), STOPPED_MAX);
        // Half of the time the one that takes over dies on the way.
        let step = self.steps.join(format!("{other}.takeover.{}", self.chance.pick(&TAKEOVER_STEPS)));
        let armed = self.chance.one_in(2);
        if armed {
            std::fs::write(&step, "KILL").expect("armed");
        }
        self.machines.signal(master, "-STOP");
        sleep(pause);
        self.machines.signal(master, "-CONT");
        let died = armed && std::fs::remove_file(&step).is_err();
        let end = if died { format!(", and {other} dies as it takes over") } else { String::new() };
        format!("stop {master}, the master, for {:.1} s{end}", pause.as_secs_f64())
    }

    fn fail_over(&mut self) -> String {
        let master = self.master();
        let said = self.machines.hgfleet_on_master(&["failover"]);
        format!("failover from {master}: {}", if said.status == 0 { "done" } else { "refused" })
    }

    fn die_at_a_step(&mut self) -> String {
        let steps = [&SESSION_STEPS[..], &MASTER_STEPS, &MIRROR_STEPS].concat();
        let step = self.chance.pick(&steps).replacen("master.apply", &format!("{}.apply", self.master()), 1);
        reach(self.steps, &step, "KILL", RECOVERY_MAX);
        format!("die at {step}")
    }

    fn lose_the_log(&mut self) -> String {
        let left = *self.chance.pick(&MACHINES);
        let gone: Vec<String> =
            MACHINES.iter().filter(|name| **name != left).map(|name| format!("nats-{name}")).collect();
        self.machines.kill(&gone.iter().map(String::as_str).collect::<Vec<_>>());
        let away = self.chance.between(Duration::ZERO, CUT_MAX);
        sleep(away);
        gone.iter().for_each(|name| self.start(name));
        format!("kill {}, for {:.1} s", gone.join(" and "), away.as_secs_f64())
    }

    fn cut(&mut self, kind: Kind) -> String {
        self.shared.cut_off.store(true, Ordering::SeqCst);
        let network = &self.machines.network;
        let one = match kind {
            IsolateTheMaster => SERVERS.iter().find(|(name, _)| *name == self.master()).expect("a master").1,
            _ => *self.chance.pick(&MACHINES),
        };
        let others: Vec<&str> = MACHINES.into_iter().filter(|name| *name != one).collect();
        let other = *self.chance.pick(&others);
        let what = match kind {
            Cut => {
                network.cut(one, other);
                format!("cut {one} from {other}")
            }
            CutOneWay => {
                network.cut_one_way(one, other);
                format!("lose what {one} sends to {other}")
            }
            _ => {
                network.isolate(one, &MACHINES);
                format!("cut {one} off")
            }
        };
        let time = self.chance.between(Duration::from_millis(500), CUT_MAX);
        sleep(time);
        network.join_all();
        format!("{what}, for {:.1} s", time.as_secs_f64())
    }
}

impl Drop for Injector<'_> {
    /// Nobody is left cut off, stopped, or about to die.
    fn drop(&mut self) {
        self.machines.network.join_all();
        for step in std::fs::read_dir(self.steps).into_iter().flatten().flatten() {
            let _ = std::fs::remove_file(step.path());
        }
        self.machines.services().iter().for_each(|name| {
            self.machines.start_unless_it_runs(name);
            self.machines.signal(name, "-CONT");
        });
    }
}

/// One fleet from its start to the last check. `None` where no networks can be made.
pub fn run(seed: u64, faults: usize, each: impl FnMut(&Report)) -> Option<Report> {
    let steps = tempfile::Builder::new().prefix("hgfleet-test-").tempdir().expect("a folder");
    let lease = |config: String| {
        assert!(config.contains("lease_seconds = 15"), "the guide says how long the lease is");
        config.replace("lease_seconds = 15", LEASE)
    };
    let environment = [("HGFLEET_STOP_AT", steps.path().to_str().expect("UTF-8"))];
    let machines = Machines::as_the_guide_says(lease, &environment)?;
    machines.wait_until_whole();
    create_repositories(|arguments| machines.hgfleet_on_master(arguments));
    let shared = Shared::new(&REPOSITORIES);
    let mut chance = Chance::new(seed);
    let mut report = Report::new(seed);
    let scene = Scene {
        shared: &shared,
        doors: &machines.doors,
        faults,
        // The log is not looked at: a server of NATS that leads no more may answer for a moment with what was. What has ended by
        // itself is started again, as a service manager does.
        watch: &|| {
            while shared.is_read() {
                machines.start_again();
                sleep(LOOK_EVERY);
            }
        },
        end: &|| machines.kill(&machines.services()),
    };
    let mut injector = Injector { machines: &machines, shared: &shared, steps: steps.path(), chance: chance.fork() };
    scene.play(&mut chance, &mut report, move || injector.inject(), each);
    scene.check(|ledger| {
        machines.wait_until_whole();
        machines.assert_one_store(ledger.repository);
        check::violations(&machines.doors[0], &machines.copies(ledger.repository)[0], ledger)
    });
    report.violated(shared.found.all());
    keep_log(&report, seed, &machines.log());
    Some(report)
}
