//! Clients that read and forget nothing that they were shown: through the balancer, and over SSH.

use super::chance::Chance;
use super::pusher::{Ledger, there};
use super::world::Shared;
use crate::support::clients::Clients;
use crate::support::run::run_with;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

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

/// One reader of one repository, by one door.
pub struct Reader<'a> {
    shared: &'a Shared,
    ledger: &'a Ledger,
    door: &'a Clients,
    pause: Duration,
    shown: BTreeSet<String>,
    /// The last ones that it was shown or that were acknowledged, newest last
    asked: Vec<String>,
}

impl<'a> Reader<'a> {
    /// It was shown nothing yet.
    pub fn new(shared: &'a Shared, ledger: &'a Ledger, door: &'a Clients, pause: Duration) -> Reader<'a> {
        Reader { shared, ledger, door, pause, shown: BTreeSet::new(), asked: Vec::new() }
    }

    /// Reads until it is told to stop.
    pub fn run(mut self) {
        while self.shared.is_read() {
            self.look();
            std::thread::sleep(self.pause);
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

    /// Asks for what it was shown before, and what is visible as its author was told, unless this door may be cut off; then for
    /// the heads.
    fn look(&mut self) {
        let mut asked = self.asked.clone();
        if !self.is_cut_off() {
            let visible = self.ledger.known().visible;
            let new = visible.into_iter().rev().take(ASKED_MAX).filter(|node| !self.shown.contains(node));
            asked.extend(new);
        }
        if !asked.is_empty()
            && let Some(known) = self.get(&format!("cmd=known&nodes={}", asked.join("+")))
        {
            if known.len() != asked.len() {
                self.shared.found.add(format!("{}: an answer of another length: {known}", self.ledger.repository));
            }
            let (there, missing): (Vec<_>, Vec<_>) =
                asked.into_iter().zip(known.chars()).partition(|(_, known)| *known == '1');
            let cut_off = self.is_cut_off();
            let missing: Vec<_> = missing
                .into_iter()
                .map(|(node, _)| node)
                .filter(|node| !cut_off || self.shown.contains(node))
                .collect();
            if !missing.is_empty() {
                let what = format!("{}: shown before, and then not: {missing:?}", self.ledger.repository);
                self.shared.found.add(what);
            }
            there.into_iter().for_each(|(node, _)| self.add(node));
        }
        if let Some(heads) = self.get("cmd=heads") {
            let heads = heads.split_whitespace().filter(|head| head.bytes().any(|digit| digit != b'0'));
            heads.for_each(|head| self.add(head.to_owned()));
        }
    }

    fn is_cut_off(&self) -> bool {
        self.shared.cut_off.load(Ordering::SeqCst)
    }

    fn get(&mut self, query: &str) -> Option<String> {
        let url = format!("{}?{query}", self.door.https_url(self.ledger.repository));
        let said = run_with(self.door.curl().args(["-f", "--max-time", "20"]).arg(url), b"", Duration::from_secs(30));
        self.shared.reads.count(said.status == 0);
        (said.status == 0).then(|| said.out.trim().to_owned())
    }
}

/// Asks over SSH for changesets that were acknowledged, of all repositories, until it is told to stop.
pub fn read_over_ssh(shared: &Shared, doors: &[Clients], mut chance: Chance) {
    while shared.is_read() {
        let ledger = chance.pick(&shared.ledgers);
        let stored = ledger.known().stored;
        if !stored.is_empty() {
            // Mostly one of the newest.
            let newest = stored.len() - stored.len().min(1 + chance.below(8));
            let node = &stored[newest];
            let there = there(chance.pick(doors), ledger.repository, node);
            shared.reads.count(there.is_some());
            if there == Some(false) {
                shared.found.add(format!("{}: {node} was acknowledged, and is not there over SSH", ledger.repository));
            }
        }
        std::thread::sleep(SSH_PAUSE);
    }
}
