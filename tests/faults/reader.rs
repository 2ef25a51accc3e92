//! Clients that read and forget nothing that they were shown: through the balancer, and over SSH.

use super::chance::Chance;
use super::pusher::{Ledger, there};
use super::world::World;
use crate::support::run::run_with;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const PAUSE: Duration = Duration::from_millis(40);
/// Between two readings over SSH, each of which is a process of `hg` and one of `ssh`.
const SSH_PAUSE: Duration = Duration::from_millis(1500);
/// How many changesets are asked for in one request.
const ASKED_MAX: usize = 60;

/// What readers met.
#[derive(Debug, Default)]
pub struct Reads {
    /// Requests that were answered
    pub answered: AtomicUsize,
    /// Requests that failed: no server, or no answer
    pub failed: AtomicUsize,
}

impl Reads {
    fn count(&self, answered: bool) {
        let counter = if answered { &self.answered } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// One reader of one repository, through the balancer.
pub struct Reader<'a> {
    world: &'a World,
    ledger: &'a Ledger,
    shown: BTreeSet<String>,
    /// The last ones that it was shown or that were acknowledged, newest last
    asked: Vec<String>,
}

impl<'a> Reader<'a> {
    /// It was shown nothing yet.
    pub fn new(world: &'a World, ledger: &'a Ledger) -> Reader<'a> {
        Reader { world, ledger, shown: BTreeSet::new(), asked: Vec::new() }
    }

    /// Reads until it is told to stop.
    pub fn run(mut self) {
        while !self.world.stop_reading.load(Ordering::Relaxed) {
            self.look();
            std::thread::sleep(PAUSE);
        }
    }

    fn add(&mut self, node: String) {
        if self.shown.insert(node.clone()) {
            self.asked.push(node);
            if self.asked.len() > ASKED_MAX {
                self.asked.remove(0);
            }
        }
    }

    /// Asks for what it was shown before, and what is visible as its author was told; then for the heads.
    fn look(&mut self) {
        self.ledger.known().visible.into_iter().for_each(|node| self.add(node));
        let asked = self.asked.clone();
        if !asked.is_empty()
            && let Some(known) = self.get(&format!("cmd=known&nodes={}", asked.join("+")))
        {
            let missing: Vec<_> =
                asked.iter().zip(known.chars()).filter(|(_, known)| *known != '1').map(|(node, _)| node).collect();
            if known.len() != asked.len() || !missing.is_empty() {
                let what = format!("{}: shown before, and then not: {missing:?}", self.ledger.repository);
                self.world.found.add(what);
            }
        }
        if let Some(heads) = self.get("cmd=heads") {
            let heads = heads.split_whitespace().filter(|head| head.bytes().any(|digit| digit != b'0'));
            heads.for_each(|head| self.add(head.to_owned()));
        }
    }

    fn get(&mut self, query: &str) -> Option<String> {
        let fleet = &self.world.fleet;
        let url = format!("{}?{query}", fleet.https_url(self.ledger.repository));
        let said = run_with(fleet.curl().args(["-f", "--max-time", "20"]).arg(url), b"", Duration::from_secs(30));
        self.world.reads.count(said.status == 0);
        (said.status == 0).then(|| said.out.trim().to_owned())
    }
}

/// Asks over SSH for changesets that were acknowledged, of all repositories, until it is told to stop.
pub fn read_over_ssh(world: &World, mut chance: Chance) {
    while !world.stop_reading.load(Ordering::Relaxed) {
        let ledger = chance.pick(&world.ledgers);
        let stored = ledger.known().stored;
        if !stored.is_empty() {
            // Mostly one of the newest.
            let newest = stored.len() - stored.len().min(1 + chance.below(8));
            let node = &stored[newest];
            let there = there(&world.fleet, ledger.repository, node);
            world.reads.count(there.is_some());
            if there == Some(false) {
                world.found.add(format!("{}: {node} was acknowledged, and is not there over SSH", ledger.repository));
            }
        }
        std::thread::sleep(SSH_PAUSE);
    }
}
