//! Faults, one after the other, and how long the fleet takes to come back from each.

use super::chance::Chance;
use crate::support::fleet::Fleet;
use crate::support::steps::{MASTER_STEPS, MIRROR_STEPS, SESSION_STEPS, TAKEOVER_STEPS};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// The two that may be master: the configuration's master, and its standby.
const MASTERS: [&str; 2] = ["master", "standby"];

/// The servers that may be hit.
const SERVERS: [&str; 5] = ["master", "standby", "mirror-1", "mirror-2", "balancer"];
/// Of the second mirror, so that the first is not the only one that dies in the middle.
const OTHER_MIRROR_STEPS: [&str; 2] = ["mirror-2.apply.begun", "mirror-2.apply.middle"];
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
        let what = match self.chance.below(12) {
            0..4 => self.kill(),
            4..6 => self.stop(),
            6..9 => self.die_at_a_step(),
            9 => self.kill_two(),
            10 => self.stop_the_master(),
            _ => self.fail_over(),
        };
        let begun = Instant::now();
        while !self.fleet.is_whole(&SERVERS) {
            assert!(begun.elapsed() < RECOVERY_MAX, "after {what}, not whole again: {:#}", self.fleet.status());
            std::thread::sleep(Duration::from_millis(50));
        }
        Fault { what, recovery: begun.elapsed() }
    }

    fn signal(&self, server: &str, signal: &str) {
        let pid = self.fleet.server(server)["pid"].clone();
        // It may have ended meanwhile: another fault's end.
        let _ = Command::new("kill").args([signal, &pid.to_string()]).status();
        if signal == "-KILL" {
            // Only a new process is one that has come back.
            let begun = Instant::now();
            while self.fleet.server(server)["pid"] == pid && begun.elapsed() < RECOVERY_MAX {
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

    /// The name of the server that holds the lease.
    fn master(&self) -> String {
        self.fleet.status()["lease"]["holder"].as_str().unwrap_or(MASTERS[0]).to_owned()
    }

    /// For longer than the lease: the standby takes over, and the old master wakes up into a newer epoch.
    fn stop_the_master(&mut self) -> String {
        let master = self.master();
        let pause = self.chance.between(Duration::from_secs(6), STOPPED_MAX);
        let other = if master == MASTERS[0] { MASTERS[1] } else { MASTERS[0] };
        // Half of the time the one that takes over dies on the way.
        let step = format!("{other}.takeover.{}", self.chance.pick(&TAKEOVER_STEPS));
        let armed = self.chance.one_in(2).then(|| self.steps.join(&step));
        if let Some(armed) = &armed {
            std::fs::write(armed, "KILL").expect("armed");
        }
        self.signal(&master, "-STOP");
        std::thread::sleep(pause);
        self.signal(&master, "-CONT");
        let died = armed.is_some_and(|armed| std::fs::remove_file(armed).is_err());
        let end = if died { format!(", and {other} dies at {step}") } else { String::new() };
        format!("stop {master}, the master, for {:.1} s{end}", pause.as_secs_f64())
    }

    fn fail_over(&mut self) -> String {
        let master = self.master();
        let said = self.fleet.hgfleet(&["failover"]);
        format!("failover from {master}: {}", if said.status == 0 { "done" } else { "refused" })
    }

    fn die_at_a_step(&mut self) -> String {
        // The master's steps are named after the server that is master now.
        let steps = [&SESSION_STEPS[..], &MASTER_STEPS, &MIRROR_STEPS, &OTHER_MIRROR_STEPS].concat();
        let step = self.chance.pick(&steps).replacen("master.apply", &format!("{}.apply", self.master()), 1);
        let step = step.as_str();
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
