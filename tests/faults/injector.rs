//! Faults, one after the other, and how long the fleet takes to come back from each.

use super::chance::Chance;
use super::machine::DISKS;
use super::power;
use super::world::World;
use crate::support::fleet::Fleet;
use crate::support::status::nothing_ails;
use crate::support::steps::{MASTER_STEPS, MIRROR_STEPS, SESSION_STEPS, TAKEOVER_STEPS, reach};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The two that may be master: the configuration's master, and its standby.
const MASTERS: [&str; 2] = ["master", "standby"];
const MIRRORS: [&str; 2] = ["mirror-1", "mirror-2"];
/// The servers that may be hit.
const SERVERS: [&str; 5] = ["master", "standby", "mirror-1", "mirror-2", "balancer"];
/// Of the second mirror, so that the first is not the only one that dies in the middle.
const OTHER_MIRROR_STEPS: [&str; 2] = ["mirror-2.apply.begun", "mirror-2.apply.middle"];
/// Where a process is stopped for a while: its view of the fleet is an old one when it goes on.
const PAUSE_STEPS: [&str; 9] = [
    "session.prepared",
    "session.handed-over",
    "master.before-append",
    "master.before-append",
    "master.appended",
    "master.applied",
    "log.written",
    "mirror-1.staging",
    "mirror-1.staged",
];
/// Longer than the lease and than the time after which a mirror is left out.
const STOPPED_MAX: Duration = Duration::from_secs(8);
/// How wrong the clock is, seconds.
const CLOCK_STEP: i64 = 3600;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A server is killed.
    Kill,
    /// Two are, one right after the other.
    KillTwo,
    /// A server is stopped for a while.
    Stop,
    /// The master is, for longer than its lease; the standby may die while it takes over.
    StopTheMaster,
    /// The lease is handed over.
    FailOver,
    /// A process dies at a named step.
    DieAtAStep,
    /// The lease is handed over in order, and the new master dies with its first push, which another server's door has let in.
    DieAfterFailOver,
    /// A process is stopped at a named step for a while.
    PauseAtAStep,
    /// One mirror dies as the other wakes up and is behind.
    WakeBehind,
    /// A disk takes long to sync.
    SlowDisk,
    /// A disk has no room for a while.
    FullDisk,
    /// A byte of a store is another one, behind the fleet's back.
    AlterStore,
    /// The wall clock steps.
    ClockStep,
    /// Everything is gone at once, with what was not synced.
    PowerCut,
}

/// All kinds, each as often as it comes among so many.
pub const ALL: [(Kind, usize); 14] = [
    (Kind::Kill, 4),
    (Kind::KillTwo, 1),
    (Kind::Stop, 2),
    (Kind::StopTheMaster, 1),
    (Kind::FailOver, 1),
    (Kind::DieAtAStep, 4),
    (Kind::DieAfterFailOver, 1),
    (Kind::PauseAtAStep, 2),
    (Kind::WakeBehind, 1),
    (Kind::SlowDisk, 2),
    (Kind::FullDisk, 2),
    (Kind::AlterStore, 1),
    (Kind::ClockStep, 1),
    (Kind::PowerCut, 2),
];

/// Whether the build lets the machine under the fleet see all syncs and questions for room: where `rustix` calls the C library.
const SEES_ALL: bool = cfg!(any(feature = "soak", feature = "planted-faults"));

/// One fault and what followed.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Its kind's name.
    pub kind: String,
    /// What was done, to which server.
    pub what: String,
    /// From the end of the fault until every server was in service.
    pub recovery: Duration,
}

/// Injects faults into a fleet.
pub struct Injector<'a> {
    world: &'a World,
    mix: Vec<Kind>,
    /// Those that this fleet has
    disks: Vec<&'static str>,
    recovery_max: Duration,
    chance: Chance,
    /// How many repositories were put into quarantine so far
    quarantines: usize,
}

impl<'a> Injector<'a> {
    /// Of these kinds. `recovery_max`: how long the fleet may take to be whole again.
    pub fn new(world: &'a World, mix: &[(Kind, usize)], recovery_max: Duration, chance: Chance) -> Injector<'a> {
        let possible = mix.iter().filter(|(kind, _)| SEES_ALL || !matches!(kind, Kind::FullDisk | Kind::PowerCut));
        let mix = possible.flat_map(|(kind, times)| std::iter::repeat_n(*kind, *times)).collect();
        let disks = DISKS.into_iter().filter(|disk| world.fleet.data().join(disk).exists()).collect();
        Injector { world, mix, disks, recovery_max, chance, quarantines: 0 }
    }

    /// Does the next fault, and waits until the fleet is whole again.
    #[track_caller]
    pub fn inject(&mut self) -> Fault {
        sleep(self.chance.between(Duration::ZERO, Duration::from_millis(800)));
        let kind = *self.chance.pick(&self.mix);
        let what = match kind {
            Kind::Kill => self.kill(),
            Kind::KillTwo => self.kill_two(),
            Kind::Stop => self.stop(),
            Kind::StopTheMaster => self.stop_the_master(),
            Kind::FailOver => self.fail_over(),
            Kind::DieAtAStep => self.die_at_a_step(),
            Kind::DieAfterFailOver => self.die_after_fail_over(),
            Kind::PauseAtAStep => self.pause_at_a_step(),
            Kind::WakeBehind => self.wake_behind(),
            Kind::SlowDisk => self.slow_disk(),
            Kind::FullDisk => self.full_disk(),
            Kind::AlterStore => self.alter_store(),
            Kind::ClockStep => self.clock_step(),
            Kind::PowerCut => self.power_cut(),
        };
        let begun = Instant::now();
        if kind == Kind::PowerCut {
            self.world.fleet.up_again();
        }
        while !self.is_whole() {
            let (what, max) = (&what, self.recovery_max);
            assert!(
                begun.elapsed() < max,
                "after {what}, not whole again within {max:?}: {:#}",
                self.world.fleet.status()
            );
            sleep(Duration::from_millis(50));
        }
        let recovery = begun.elapsed();
        self.look_for_quarantines(kind, &what);
        Fault { kind: format!("{kind:?}"), what, recovery }
    }

    /// A repository is in quarantine because somebody altered it or a disk was full, never because of a crash: that it is healed
    /// by a copy is no reason to be content.
    fn look_for_quarantines(&mut self, kind: Kind, what: &str) {
        let log = self.world.fleet.log();
        let new = log.lines().filter(|line| line.contains("repository put into quarantine")).skip(self.quarantines);
        let new: Vec<&str> = new.collect();
        self.quarantines += new.len();
        if !matches!(kind, Kind::AlterStore | Kind::FullDisk) {
            new.iter().for_each(|line| self.world.shared.found.add(format!("after {what}: {line}")));
        }
    }

    fn is_whole(&self) -> bool {
        is_whole(&self.world.fleet)
    }

    fn signal(&self, server: &str, signal: &str) {
        let pid = self.world.fleet.server(server)["pid"].clone();
        // It may have ended meanwhile: another fault's end.
        let _ = Command::new("kill").args([signal, &pid.to_string()]).status();
        if signal == "-KILL" {
            // Only a new process is one that has come back.
            let begun = Instant::now();
            while self.world.fleet.server(server)["pid"] == pid && begun.elapsed() < self.recovery_max {
                sleep(Duration::from_millis(20));
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
        sleep(pause);
        self.signal(server, "-CONT");
        format!("stop {server} for {:.1} s", pause.as_secs_f64())
    }

    /// The name of the server that holds the lease.
    fn master(&self) -> String {
        self.world.fleet.status()["lease"]["holder"].as_str().unwrap_or(MASTERS[0]).to_owned()
    }

    /// For longer than the lease: the standby takes over, and the old master wakes up into a newer epoch.
    fn stop_the_master(&mut self) -> String {
        let master = self.master();
        let pause = self.chance.between(Duration::from_secs(6), STOPPED_MAX);
        let other = if master == MASTERS[0] { MASTERS[1] } else { MASTERS[0] };
        // Half of the time the one that takes over dies on the way.
        let step = format!("{other}.takeover.{}", self.chance.pick(&TAKEOVER_STEPS));
        let armed = self.chance.one_in(2).then(|| self.world.steps.join(&step));
        if let Some(armed) = &armed {
            std::fs::write(armed, "KILL").expect("armed");
        }
        self.signal(&master, "-STOP");
        sleep(pause);
        self.signal(&master, "-CONT");
        let died = armed.is_some_and(|armed| std::fs::remove_file(armed).is_err());
        let end = if died { format!(", and {other} dies at {step}") } else { String::new() };
        format!("stop {master}, the master, for {:.1} s{end}", pause.as_secs_f64())
    }

    fn fail_over(&mut self) -> String {
        let master = self.master();
        let said = self.world.fleet.hgfleet(&["failover"]);
        format!("failover from {master}: {}", if said.status == 0 { "done" } else { "refused" })
    }

    fn die_at_a_step(&mut self) -> String {
        // The master's steps are named after the server that is master now.
        let steps = [&SESSION_STEPS[..], &MASTER_STEPS, &MIRROR_STEPS, &OTHER_MIRROR_STEPS].concat();
        let step = self.chance.pick(&steps).replacen("master.apply", &format!("{}.apply", self.master()), 1);
        reach(&self.world.steps, &step, "KILL", self.recovery_max);
        format!("die at {step}")
    }

    fn die_after_fail_over(&mut self) -> String {
        let handed_over = self.fail_over();
        reach(&self.world.steps, "master.appended", "KILL", self.recovery_max);
        format!("{handed_over}, and die at master.appended")
    }

    fn pause_at_a_step(&mut self) -> String {
        let step = *self.chance.pick(&PAUSE_STEPS);
        let pause = match self.chance.one_in(3) {
            true => self.chance.between(Duration::from_millis(100), Duration::from_secs(4)),
            false => self.chance.between(Duration::from_secs(6), STOPPED_MAX),
        };
        reach(&self.world.steps, step, "STOP", self.recovery_max);
        sleep(pause);
        self.world.machine.wake();
        format!("pause at {step} for {:.1} s", pause.as_secs_f64())
    }

    /// One mirror was stopped for so long that it was left out, its disk is slow, and the only other one dies as it wakes up.
    fn wake_behind(&mut self) -> String {
        let (behind, other) = if self.chance.one_in(2) { (MIRRORS[0], MIRRORS[1]) } else { (MIRRORS[1], MIRRORS[0]) };
        let pause = self.chance.between(Duration::from_millis(5500), STOPPED_MAX);
        self.world.machine.slow(behind, Duration::from_millis(1500));
        self.signal(behind, "-STOP");
        sleep(pause);
        let pid = self.world.fleet.server(other)["pid"].clone();
        let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
        self.signal(behind, "-CONT");
        sleep(Duration::from_secs(2));
        self.world.machine.be_well();
        format!("wake {behind} after {:.1} s, as {other} is killed", pause.as_secs_f64())
    }

    fn slow_disk(&mut self) -> String {
        let disk = *self.chance.pick(&self.disks);
        let by = self.chance.between(Duration::from_millis(100), Duration::from_millis(1500));
        let time = self.chance.between(Duration::from_secs(1), Duration::from_secs(6));
        self.world.machine.slow(disk, by);
        sleep(time);
        self.world.machine.be_well();
        format!("slow disk of {disk}, {} ms a sync, for {:.1} s", by.as_millis(), time.as_secs_f64())
    }

    /// Half of the time nobody is told before: somebody else takes the room.
    fn full_disk(&mut self) -> String {
        let disk = *self.chance.pick(&self.disks);
        let (free, hidden) = (self.chance.below(200 << 10) as u64, self.chance.one_in(2));
        let time = self.chance.between(Duration::from_secs(1), Duration::from_secs(6));
        self.world.machine.fill(disk, free, hidden);
        sleep(time);
        self.world.machine.be_well();
        let told = if hidden { ", as nobody is told" } else { "" };
        format!("full disk of {disk} but for {free} bytes{told}, for {:.1} s", time.as_secs_f64())
    }

    /// A mirror's: noticed at the next push at the latest, and healed by a copy from another server. (A master's that somebody altered waits
    /// for an operator.)
    fn alter_store(&mut self) -> String {
        let server = *self.chance.pick(&MIRRORS);
        let ledger = self.chance.pick(&self.world.shared.ledgers);
        let file = format!("data/{server}/repos/{}/.hg/store/00manifest.i", ledger.repository);
        let path = self.world.fleet.path(&file);
        let Ok(manifest) = File::options().read(true).write(true).open(&path) else {
            return "no store to alter".into();
        };
        let bytes = manifest.metadata().expect("there").len();
        let at = self.chance.below(bytes.max(1) as usize) as u64;
        let mut byte = [0];
        if manifest.read_exact_at(&mut byte, at).is_ok() {
            manifest.write_all_at(&[byte[0] ^ 4], at).expect("written");
        }
        let altered = byte[0] ^ 4;
        let mut is_altered =
            || File::open(&path).is_ok_and(|now| now.read_exact_at(&mut byte, at).is_ok() && byte[0] == altered);
        let begun = Instant::now();
        // A push that is under way may be past the look that would notice it; the next one is not.
        while is_altered() {
            assert!(begun.elapsed() < self.recovery_max, "byte {at} of {file} is another, and nobody notices");
            sleep(Duration::from_millis(50));
        }
        // By then whoever is ailing has said so.
        sleep(Duration::from_millis(1500));
        format!("alter byte {at} of {file}")
    }

    /// Forward, back, and right again; it stays so until the next one.
    fn clock_step(&mut self) -> String {
        let error = *self.chance.pick(&[CLOCK_STEP, -CLOCK_STEP, 0]);
        self.world.machine.set_clock(error);
        format!("clock wrong by {error} s")
    }

    /// Out of the blue, or where a mirror is behind: stopped, or with a slow disk.
    fn power_cut(&mut self) -> String {
        let mirror = *self.chance.pick(&MIRRORS);
        let time = self.chance.between(Duration::from_millis(300), Duration::from_secs(4));
        let before = match self.chance.below(3) {
            0 => String::new(),
            1 => {
                self.signal(mirror, "-STOP");
                sleep(time);
                format!(", {mirror} stopped {:.1} s before", time.as_secs_f64())
            }
            _ => {
                self.world.machine.slow(mirror, Duration::from_millis(1500));
                sleep(time);
                format!(", {mirror} slow for {:.1} s", time.as_secs_f64())
            }
        };
        let lost = power::cut(self.world, &mut self.chance);
        format!("power cut{before}: {lost}")
    }
}

impl Drop for Injector<'_> {
    /// Nobody is left stopped, full, slow or about to die.
    fn drop(&mut self) {
        self.world.machine.be_well();
        for step in std::fs::read_dir(&self.world.steps).into_iter().flatten().flatten() {
            let _ = std::fs::remove_file(step.path());
        }
        self.world.machine.wake();
    }
}

/// All servers are in service, and nothing ails them.
pub fn is_whole(fleet: &Fleet) -> bool {
    nothing_ails(&fleet.status(), SERVERS)
}
