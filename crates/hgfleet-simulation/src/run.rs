//! One run: a fleet, its clients, what goes wrong, and what must hold.

mod clients;
mod trouble;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::Duration;

use hgfleet_log::RepositoryName;
use hgfleet_master::client;
use serde::{Deserialize, Serialize};

use self::clients::Clients;
use crate::check::{Checker, Counts};
use crate::fleet::{Fleet, Kind, say};
use crate::log::LinkFaults;
use crate::push::{Told, push};
use crate::read::Reader;
use crate::world::{self, Chance, MS, NODES_MAX, Nanos, SECOND};

/// The servers; the first takes a log that nobody ever held.
const SERVERS: [(&str, Kind); 6] = [
    ("one", Kind::Master),
    ("two", Kind::Master),
    ("mirror-1", Kind::Mirror),
    ("mirror-2", Kind::Mirror),
    ("balancer-1", Kind::Balancer),
    ("balancer-2", Kind::Balancer),
];
const REPOSITORIES: [&str; 2] = ["a", "b"];
/// How soon a fleet must be whole again once nothing goes wrong any more.
const WHOLE_WITHIN: Nanos = 90 * SECOND;
/// So long after the lease's last renewal a mirror's membership may have run out.
const MASTERLESS: Nanos = 2 * SECOND;
/// How long after the last trouble doors are held to show what was answered: a mirror that was out of service has come back by then,
/// and is known to be.
const CALM_AFTER: Nanos = 8 * SECOND;
/// A way to the log as it is when nothing goes wrong.
const CALM: Duration = Duration::from_millis(3);

/// What a run came to.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// What must not be and was.
    pub violations: Vec<String>,
    /// What its clients did.
    pub counts: Counts,
    /// What went wrong on purpose, and how often.
    pub faults: BTreeMap<String, u64>,
    /// Epochs that were begun.
    pub epochs: u64,
    /// Appends that were stored after whoever waited for them had given up.
    pub late_stored: u64,
    /// How long the fleet took to be whole in the end, nanoseconds.
    pub whole_after: Nanos,
    /// Simulated time, nanoseconds.
    pub time: Nanos,
    /// Turns of its threads.
    pub turns: u64,
    /// What two runs of one seed must share.
    pub trace: u64,
}

/// Runs what this seed says, in this folder. Once in a process.
pub fn run(seed: u64, folder: &Path, kit: &Path) -> Outcome {
    world::begin(seed);
    let mut chance = Chance::new(seed, 3);
    let workers = [None, None, Some(1), Some(2)][chance.below(4) as usize];
    let fleet = Fleet::new(folder, kit, &SERVERS, workers, seed);
    let run = Run {
        checker: Arc::default(),
        clients: Clients::default(),
        faults: BTreeMap::new(),
        restarts: BTreeMap::new(),
        healed: BTreeMap::new(),
        drained: BTreeSet::new(),
        were_drained: BTreeSet::new(),
        undrained: 0,
        renewed: (None, 0),
        only_masters: chance.per_mille(300),
        fleet,
        chance,
    };
    run.finish()
}

struct Run {
    fleet: Fleet,
    chance: Chance,
    checker: Arc<Checker>,
    clients: Clients,
    faults: BTreeMap<&'static str, u64>,
    /// When a server is started again.
    restarts: BTreeMap<usize, Nanos>,
    /// When what is wrong with a server passes.
    healed: BTreeMap<usize, Nanos>,
    /// Mirrors that are to serve again in the end.
    drained: BTreeSet<usize>,
    /// Those that were drained at any time, and when they were last told to serve again.
    were_drained: BTreeSet<usize>,
    undrained: Nanos,
    /// The lease's counter, and since when.
    renewed: (Option<u64>, Nanos),
    /// Nothing goes wrong with others.
    only_masters: bool,
}

impl Run {
    fn finish(mut self) -> Outcome {
        for server in 0..SERVERS.len() {
            self.calm(server);
            self.start(server);
        }
        self.make_repositories();
        self.start_clients();
        let rounds = 3 + self.chance.below(8);
        for _ in 0..rounds {
            let pause = self.chance.below(2_500);
            self.tend_for(pause * MS);
            self.go_wrong();
        }
        let pause = 500 + self.chance.below(2_000);
        self.tend_for(pause * MS);
        let whole_after = self.heal();
        self.clients.stop.store(true, Ordering::SeqCst);
        while self.clients.left.load(Ordering::SeqCst) > 0 {
            self.tend_for(50 * MS);
        }
        if self.checker.violations().is_empty() {
            self.last_push();
        }
        if self.checker.violations().is_empty() {
            self.settle();
            self.checker.finish(&self.fleet);
        }
        let store = self.fleet.log.store();
        let epochs = store.entries().last().map_or(0, |entry| entry.record.epoch.get());
        Outcome {
            violations: self.checker.violations(),
            counts: self.checker.counts(),
            faults: self.faults.iter().map(|(fault, count)| ((*fault).to_owned(), *count)).collect(),
            epochs,
            late_stored: store.late_stored,
            whole_after,
            time: world::now(),
            turns: world::turns(),
            trace: world::trace(),
        }
    }

    fn start(&mut self, server: usize) {
        if let Err(error) = self.fleet.start(server) {
            self.checker.violated(format!("{} can't be started: {error}", SERVERS[server].0));
        }
    }

    /// A server with which nothing is wrong.
    fn calm(&mut self, server: usize) {
        let one = &self.fleet.servers[server];
        one.link.set(LinkFaults { delay_max: CALM, ..LinkFaults::default() });
        world::fill_disk(one.node, false);
        world::slow(one.node, 4 * MS, 20 * MS);
        world::spare(one.node);
    }

    /// Lets time go by; what has ended is started again, as a supervisor does.
    fn tend_for(&mut self, time: Nanos) {
        let end = world::now() + time;
        loop {
            self.watch_lease();
            for server in 0..SERVERS.len() {
                let runs = self.fleet.runs(server);
                let due = self.restarts.get(&server).copied();
                if !runs && due.is_none() {
                    let pause = 100 * MS + self.chance.below(1_500) * MS;
                    self.restarts.insert(server, world::now() + pause);
                } else if !runs && due.is_some_and(|due| due <= world::now()) {
                    self.restarts.remove(&server);
                    self.start(server);
                }
                if self.healed.get(&server).is_some_and(|healed| *healed <= world::now()) {
                    self.healed.remove(&server);
                    self.calm(server);
                }
            }
            let now = world::now();
            if now >= end {
                return;
            }
            sleep(Duration::from_nanos((end - now).min(50 * MS)));
        }
    }

    /// Where nobody is master for longer than a membership lasts, no mirror counts itself in service, and any of them is taken.
    fn watch_lease(&mut self) {
        let now = world::now();
        let counter = self.fleet.log.store().lease.as_ref().map(|lease| lease.counter);
        if now > self.renewed.1 + MASTERLESS {
            self.checker.troubled_until(now + CALM_AFTER);
        }
        if counter != self.renewed.0 {
            self.renewed = (counter, now);
        }
    }

    fn make_repositories(&mut self) {
        let run = self.fleet.run_folder();
        for name in REPOSITORIES {
            let begun = world::now();
            while let Err(error) = client::create(&run, name, false) {
                if world::now() - begun > 60 * SECOND {
                    return self.checker.violated(format!("{name} can't be made: {error}"));
                }
                sleep(Duration::from_millis(200));
            }
        }
        say("repositories are made");
    }

    /// Nothing goes wrong any more. Returns how long the fleet takes to be whole.
    fn heal(&mut self) -> Nanos {
        say("nothing goes wrong any more");
        self.healed.clear();
        for server in 0..SERVERS.len() {
            self.calm(server);
            world::pause(self.fleet.servers[server].node, 0);
        }
        let begun = world::now();
        loop {
            let lacks = if self.undrain() { self.lacks() } else { Some("a mirror is drained still".to_owned()) };
            match lacks {
                None => return world::now() - begun,
                Some(what) if world::now() - begun > WHOLE_WITHIN => {
                    self.checker.violated(format!("the fleet does not become whole: {what}"));
                    return world::now() - begun;
                }
                Some(_) => self.tend_for(100 * MS),
            }
        }
    }

    /// What a fleet lacks to be whole; nothing is pushed meanwhile that would change it for long.
    fn lacks(&mut self) -> Option<String> {
        let store = self.fleet.log.store();
        let members = store.members.clone();
        let (view, lease) = (store.view.clone(), store.lease.clone());
        let end = store.entries().last().map(|entry| (entry.record.sequence, entry.record.epoch));
        drop(store);
        let (end, epoch) = end?;
        if lease.and_then(|lease| lease.epoch) != Some(epoch) {
            return Some("the lease is not of the newest epoch".to_owned());
        }
        let Some(view) = view else { return Some("there is no view".to_owned()) };
        // An operator's word may be lost with the master that passes it on; whoever sees that says it again.
        let is_out = |server: &usize| view.mirrors.iter().all(|mirror| mirror.name != SERVERS[*server].0);
        if world::now() > self.undrained + 5 * SECOND {
            self.drained = self.were_drained.iter().copied().filter(is_out).collect();
        }
        if view.mirrors.len() < self.fleet.of(Kind::Mirror).len() {
            return Some(format!("in service are only {:?}", view.mirrors));
        }
        if view.visible.map_or(0, |visible| visible.get()) + 3 < end.get() {
            return Some(format!("visible is {:?} of {end:?}", view.visible));
        }
        for (number, (name, _)) in SERVERS.iter().enumerate() {
            if !self.fleet.runs(number) {
                return Some(format!("{name} does not run"));
            }
            let Some(member) = members.get(*name) else { return Some(format!("{name} says nothing")) };
            if !member.reason.is_empty() {
                return Some(format!("{name}: {}", member.reason));
            }
        }
        None
    }

    /// A push to each repository, now that all is well: it must be stored and seen through each door.
    fn last_push(&mut self) {
        let (run, log) = (self.fleet.run_folder(), self.fleet.log.clone());
        for name in REPOSITORIES {
            let repository = RepositoryName::parse(name).expect("a name");
            let epoch = || log.store().entries().last().map(|entry| entry.record.epoch);
            let pushed = loop {
                let before = epoch();
                let pushed = push(run.join("one"), &repository, &self.checker.history);
                self.checker.pushed(&log, &repository, pushed.clone());
                match pushed.told {
                    Told::Stored { visible: true, .. } => break pushed,
                    // The lease may run out only now that the last fault has kept from being renewed.
                    _ if epoch() != before => {}
                    _ => return self.checker.violated(format!("a push to a whole fleet: {:?}", pushed.told)),
                }
            };
            let head = pushed.changeset.map(|changeset| changeset.node.to_string());
            for server in self.fleet.of(Kind::Balancer) {
                let address = *self.fleet.address(server).lock().expect("an address");
                let read = address.map(|address| Reader::default().get(address, &format!("/{name}?cmd=heads")));
                let Some(Ok(reply)) = read else {
                    return self.checker.violated(format!("{} of a whole fleet: {read:?}", SERVERS[server].0));
                };
                if Some(reply.body.trim()) != head.as_deref() {
                    let door = SERVERS[server].0;
                    self.checker.violated(format!("{name}: {head:?} was answered, and {door} shows {}", reply.body));
                }
            }
        }
    }

    /// Waits until every server has applied all of the log.
    fn settle(&mut self) {
        let begun = world::now();
        loop {
            let end = self.fleet.log.store().entries().last().map(|entry| entry.record.sequence);
            let members = self.fleet.log.store().members.clone();
            let position = |server: usize| members.get(SERVERS[server].0).and_then(|member| member.position);
            let servers = [self.fleet.of(Kind::Master), self.fleet.of(Kind::Mirror)].concat();
            let lacking: Vec<_> = servers
                .into_iter()
                .map(|server| (SERVERS[server].0, position(server)))
                .filter(|(_, position)| *position != end)
                .collect();
            if lacking.is_empty() {
                return;
            }
            if world::now() - begun > 30 * SECOND {
                return self.checker.violated(format!("{lacking:?} do not apply all of the log, up to {end:?}"));
            }
            self.tend_for(200 * MS);
        }
    }
}

const _: () = assert!(SERVERS.len() < NODES_MAX);
