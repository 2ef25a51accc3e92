//! Faults, one after the other, and how long the fleet takes to come back from each.

use super::chance::Chance;
use crate::support::fleet::Fleet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// The servers that may be hit.
const SERVERS: [&str; 4] = ["master", "mirror-1", "mirror-2", "balancer"];
/// Where a process may be made to die; the first with that name to come by does.
const STEPS: [&str; 20] = [
    "session.received",
    "session.locked",
    "session.prepared",
    "session.handed-over",
    "master.before-append",
    "master.appended",
    "master.apply.intent",
    "master.apply.begun",
    "master.apply.middle",
    "master.apply.done",
    "master.applied",
    "master.told",
    "mirror-1.staging",
    "mirror-1.staged",
    "mirror-1.apply.intent",
    "mirror-1.apply.begun",
    "mirror-1.apply.middle",
    "mirror-1.apply.done",
    "mirror-2.apply.begun",
    "mirror-2.apply.middle",
];
/// Longer than the lease and than the time after which a mirror is left out.
const STOPPED_MAX: Duration = Duration::from_secs(8);
/// How long the fleet may take to be whole again.
const RECOVERY_MAX: Duration = Duration::from_secs(60);

/// One fault and what followed.
#[derive(Debug, Clone)]
pub struct Fault {
    /// What was done, to which server.
    pub what: String,
    /// From the end of the fault until every server was in service.
    pub recovery: Duration,
}

/// Injects faults into a fleet.
pub struct Injector<'a> {
    fleet: &'a Fleet,
    steps: &'a Path,
    chance: Chance,
}

impl<'a> Injector<'a> {
    /// `steps` is the folder of `HGFLEET_STOP_AT`.
    pub fn new(fleet: &'a Fleet, steps: &'a Path, chance: Chance) -> Injector<'a> {
        Injector { fleet, steps, chance }
    }

    /// Does the next fault, and waits until the fleet is whole again.
    #[track_caller]
    pub fn inject(&mut self) -> Fault {
        std::thread::sleep(self.chance.between(Duration::ZERO, Duration::from_millis(800)));
        let what = match self.chance.below(10) {
            0..4 => self.kill(),
            4..6 => self.stop(),
            6..9 => self.die_at_a_step(),
            _ => self.kill_two(),
        };
        let begun = Instant::now();
        while !self.whole() {
            assert!(begun.elapsed() < RECOVERY_MAX, "after {what}, not whole again: {:#}", self.fleet.status());
            std::thread::sleep(Duration::from_millis(50));
        }
        Fault { what, recovery: begun.elapsed() }
    }

    fn whole(&self) -> bool {
        SERVERS.iter().all(|name| self.fleet.server(name)["state"] == "in-service")
    }

    fn signal(&self, server: &str, signal: &str) {
        let pid = self.fleet.server(server)["pid"].to_string();
        // It may have ended meanwhile: another fault's end.
        let _ = Command::new("kill").args([signal, &pid]).status();
        if signal == "-KILL" {
            // Only a new process is one that has come back.
            let begun = Instant::now();
            while self.fleet.server(server)["pid"].to_string() == pid && begun.elapsed() < RECOVERY_MAX {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    fn kill(&mut self) -> String {
        let server = *self.chance.pick(&SERVERS);
        self.signal(server, "-KILL");
        format!("kill {server}")
    }

    fn kill_two(&mut self) -> String {
        let (first, second) = (*self.chance.pick(&SERVERS), *self.chance.pick(&SERVERS));
        self.signal(first, "-KILL");
        self.signal(second, "-KILL");
        format!("kill {first}, then {second}")
    }

    fn stop(&mut self) -> String {
        let server = *self.chance.pick(&SERVERS);
        let pause = self.chance.between(Duration::from_millis(100), STOPPED_MAX);
        self.signal(server, "-STOP");
        std::thread::sleep(pause);
        self.signal(server, "-CONT");
        format!("stop {server} for {:.1} s", pause.as_secs_f64())
    }

    fn die_at_a_step(&mut self) -> String {
        let step = *self.chance.pick(&STEPS);
        let armed = self.steps.join(step);
        std::fs::write(&armed, "KILL").expect("armed");
        let begun = Instant::now();
        while armed.exists() && begun.elapsed() < RECOVERY_MAX {
            std::thread::sleep(Duration::from_millis(20));
        }
        let reached = !armed.exists();
        let _ = std::fs::remove_file(&armed);
        assert!(reached, "{step} was not reached within {RECOVERY_MAX:?}: no push goes through");
        format!("die at {step}")
    }
}
