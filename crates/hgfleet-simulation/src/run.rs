//! One run: a fleet, its clients, what goes wrong, and what must hold.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::Duration;

use hgfleet_log::RepositoryName;
use hgfleet_master::client;
use serde::{Deserialize, Serialize};

use crate::check::{Checker, Counts};
use crate::fleet::{Fleet, Kind, say};
use crate::history::Node;
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
    let workers = [None, Some(1), Some(2)][chance.below(3) as usize];
    let fleet = Fleet::new(folder, kit, &SERVERS, workers, seed);
    let run = Run {
        checker: Arc::default(),
        stop: Arc::default(),
        clients: Arc::default(),
        faults: BTreeMap::new(),
        restarts: BTreeMap::new(),
        healed: BTreeMap::new(),
        fleet,
        chance,
    };
    run.finish()
}

struct Run {
    fleet: Fleet,
    chance: Chance,
    checker: Arc<Checker>,
    stop: Arc<AtomicBool>,
    /// Clients that have not stopped.
    clients: Arc<AtomicUsize>,
    faults: BTreeMap<&'static str, u64>,
    /// When a server is started again.
    restarts: BTreeMap<usize, Nanos>,
    /// When what is wrong with a server passes.
    healed: BTreeMap<usize, Nanos>,
}

impl Run {
    fn finish(mut self) -> Outcome {
        for server in 0..SERVERS.len() {
            self.calm(server);
            self.start(server);
        }
        self.make_repositories();
        self.start_clients();
        let rounds = 4 + self.chance.below(10);
        for _ in 0..rounds {
            let pause = self.chance.below(2_500);
            self.tend_for(pause * MS);
            self.go_wrong();
        }
        let pause = 500 + self.chance.below(2_000);
        self.tend_for(pause * MS);
        let whole_after = self.heal();
        self.stop.store(true, Ordering::SeqCst);
        while self.clients.load(Ordering::SeqCst) > 0 {
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

    fn start_clients(&mut self) {
        // One repository has two who push to it, and meet.
        for (number, name) in [(0, "a"), (1, "b"), (2, "b")] {
            self.client(number, name, pusher);
        }
        for (number, name) in [(3, "a"), (4, "b"), (5, "a")] {
            self.client(number, name, reader);
        }
    }

    fn client(&self, number: usize, name: &str, work: fn(&Client)) {
        let addresses = self.fleet.of(Kind::Balancer).iter().map(|server| self.fleet.address(*server)).collect();
        let client = Client {
            checker: self.checker.clone(),
            stop: self.stop.clone(),
            log: self.fleet.log.clone(),
            run: self.fleet.run_folder(),
            addresses,
            repository: RepositoryName::parse(name).expect("a name"),
            chance: std::cell::RefCell::new(Chance::new(self.chance.clone().draw(), 50 + number as u64)),
            number,
        };
        self.clients.fetch_add(1, Ordering::SeqCst);
        let clients = self.clients.clone();
        world::spawn_on(world::CLIENTS, move || {
            work(&client);
            clients.fetch_sub(1, Ordering::SeqCst);
        });
    }

    fn note(&mut self, fault: &'static str, server: usize) {
        *self.faults.entry(fault).or_default() += 1;
        say(&format!("{fault}: {}", SERVERS[server].0));
    }

    /// Something goes wrong with a server or two.
    fn go_wrong(&mut self) {
        let count = 1 + u64::from(self.chance.per_mille(250));
        for _ in 0..count {
            // Who decides is troubled most.
            let server = [0, 1, 0, 1, 2, 3, 2, 3, 4, 5][self.chance.below(10) as usize];
            self.trouble(server);
        }
    }

    fn trouble(&mut self, server: usize) {
        let node = self.fleet.servers[server].node;
        let link = self.fleet.servers[server].link.clone();
        let back = world::now() + self.chance.below(9_000) * MS;
        match self.chance.below(14) {
            0 | 1 => {
                self.note("killed", server);
                self.fleet.kill(server);
                self.restarts.insert(server, back);
            }
            2 | 3 => {
                self.note("killed at a step of its disk", server);
                let steps = self.chance.below(120);
                world::kill_at_step(node, steps);
                self.healed.insert(server, world::now() + 8 * SECOND);
            }
            4 | 5 => {
                self.note("paused", server);
                let time = [50 * MS, 900 * MS, 3_200 * MS, 5_500 * MS, 14_000 * MS][self.chance.below(5) as usize];
                world::pause(node, time);
            }
            6 | 7 => {
                self.note("cut off from the log", server);
                link.set(LinkFaults { cut: true, ..LinkFaults::default() });
                self.healed.insert(server, back);
            }
            8 | 9 => {
                self.note("log's answers lost, late, refused", server);
                let mut often = || [0, 20, 150, 400][self.chance.below(4) as usize];
                let faults = LinkFaults {
                    cut: false,
                    questions_lost: often() / 4,
                    answers_lost: often() / 2,
                    appends_late: often(),
                    appends_refused: often() / 2,
                    delay_max: Duration::from_millis(often() + 1),
                };
                link.set(faults);
                self.healed.insert(server, back);
            }
            10 => {
                self.note("connections broken", server);
                let mut chance = self.chance.clone();
                world::cut_connections(node, &mut chance);
            }
            11 => {
                self.note("clock moved", server);
                let hour = 3_600 * SECOND as i64;
                let by = if self.chance.per_mille(500) { hour } else { -hour };
                world::jump_clock(node, by);
            }
            12 => {
                self.note("disk full", server);
                world::fill_disk(node, true);
                self.healed.insert(server, back);
            }
            _ if self.chance.per_mille(500) => {
                self.note("slow disk and network", server);
                world::slow(node, 400 * MS, 2_500 * MS);
                self.healed.insert(server, back);
            }
            _ => {
                self.note("handed over", server);
                let run = self.fleet.run_folder();
                world::spawn_on(world::CLIENTS, move || {
                    let _ = client::failover(&run, None);
                });
            }
        }
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
            match self.lacks() {
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
            let pushed = push(run.join("one"), &repository, &self.checker.history);
            self.checker.pushed(&log, &repository, pushed.clone());
            let Told::Stored { visible: true, .. } = pushed.told else {
                return self.checker.violated(format!("a push to a whole fleet: {:?}", pushed.told));
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
        let end = self.fleet.log.store().entries().last().map(|entry| entry.record.sequence);
        loop {
            let members = self.fleet.log.store().members.clone();
            let lacking: Vec<&str> = [Kind::Master, Kind::Mirror]
                .iter()
                .flat_map(|kind| self.fleet.of(*kind))
                .map(|server| SERVERS[server].0)
                .filter(|name| members.get(*name).is_none_or(|member| member.position != end))
                .collect();
            if lacking.is_empty() {
                return;
            }
            if world::now() - begun > 30 * SECOND {
                return self.checker.violated(format!("{lacking:?} do not apply all of the log"));
            }
            self.tend_for(200 * MS);
        }
    }
}

/// Somebody who pushes or reads.
struct Client {
    checker: Arc<Checker>,
    stop: Arc<AtomicBool>,
    log: Arc<crate::log::SimulatedLog>,
    run: std::path::PathBuf,
    addresses: Vec<Arc<std::sync::Mutex<Option<std::net::SocketAddr>>>>,
    repository: RepositoryName,
    chance: std::cell::RefCell<Chance>,
    number: usize,
}

impl Client {
    fn pause(&self, milliseconds: u64) {
        let pause = self.chance.borrow_mut().below(milliseconds);
        sleep(Duration::from_millis(pause));
    }

    fn stops(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}

fn pusher(client: &Client) {
    while !client.stops() {
        client.pause(1_500);
        let door = if client.chance.borrow_mut().per_mille(500) { "one" } else { "two" };
        let pushed = push(client.run.join(door), &client.repository, &client.checker.history);
        say(&format!("client {} pushed {:?}: {:?}", client.number, pushed.changeset.map(|c| c.node), pushed.told));
        client.checker.pushed(&client.log, &client.repository, pushed);
    }
}

fn reader(client: &Client) {
    let door = client.addresses[client.number % client.addresses.len()].clone();
    let path = format!("/{}?cmd=heads", client.repository);
    let mut seen: Option<Node> = None;
    let mut reader = Reader::default();
    // A balancer that was started anew has forgotten what it showed: it is another door.
    let mut known = None;
    while !client.stops() {
        client.pause(400);
        let Some(address) = *door.lock().expect("an address") else { continue };
        if known != Some(address) {
            (known, seen, reader) = (Some(address), None, Reader::default());
        }
        match reader.get(address, &path) {
            Ok(reply) if reply.status == 200 => {
                client.checker.read(&client.log, &client.repository, &reply.body, &mut seen);
            }
            Ok(reply) => {
                say(&format!("client {}: {} {}", client.number, reply.status, reply.body.trim()));
                client.checker.unanswered();
            }
            Err(error) => {
                say(&format!("client {}: {error}", client.number));
                client.checker.unanswered();
                reader = Reader::default();
            }
        }
    }
}

const _: () = assert!(SERVERS.len() < NODES_MAX);
