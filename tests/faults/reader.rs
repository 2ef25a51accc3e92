//! A client that reads through the balancer and forgets nothing that it was shown.

use super::pusher::Ledger;
use crate::support::fleet::Fleet;
use crate::support::run::run_with;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const PAUSE: Duration = Duration::from_millis(40);
/// How many changesets are asked for in one request.
const ASKED_MAX: usize = 60;

/// What a reader met.
#[derive(Debug, Default)]
pub struct Read {
    /// Requests that were answered
    pub answered: usize,
    /// Requests that failed: no server, or no answer
    pub failed: usize,
    /// Answers that took back what an earlier answer, or an acknowledged push, had said
    pub violations: Vec<String>,
}

/// One reader of one repository.
pub struct Reader<'a> {
    fleet: &'a Fleet,
    ledger: &'a Ledger,
    shown: BTreeSet<String>,
    read: Read,
}

impl<'a> Reader<'a> {
    /// It was shown nothing yet.
    pub fn new(fleet: &'a Fleet, ledger: &'a Ledger) -> Reader<'a> {
        Reader { fleet, ledger, shown: BTreeSet::new(), read: Read::default() }
    }

    /// Reads until it is told to stop.
    pub fn run(mut self, stop: &AtomicBool) -> Read {
        while !stop.load(Ordering::Relaxed) {
            self.look();
            std::thread::sleep(PAUSE);
        }
        self.read
    }

    /// Asks for what it was shown before, then for the heads.
    fn look(&mut self) {
        let asked: Vec<String> = self.shown.iter().rev().take(ASKED_MAX).cloned().collect();
        if !asked.is_empty()
            && let Some(known) = self.get(&format!("cmd=known&nodes={}", asked.join("+")))
        {
            let missing: Vec<_> =
                asked.iter().zip(known.chars()).filter(|(_, known)| *known != '1').map(|(node, _)| node).collect();
            if known.len() != asked.len() || !missing.is_empty() {
                let what = format!("{}: shown before, and then not: {missing:?}", self.ledger.repository);
                self.read.violations.push(what);
            }
        }
        if let Some(heads) = self.get("cmd=heads") {
            let heads = heads.split_whitespace().map(str::to_owned);
            self.shown.extend(heads.filter(|head| head.bytes().any(|digit| digit != b'0')));
        }
    }

    fn get(&mut self, query: &str) -> Option<String> {
        let url = format!("{}?{query}", self.fleet.https_url(self.ledger.repository));
        let said = run_with(self.fleet.curl().args(["-f", "--max-time", "20"]).arg(url), b"", Duration::from_secs(30));
        match said.status {
            0 => self.read.answered += 1,
            _ => self.read.failed += 1,
        }
        (said.status == 0).then(|| said.out.trim().to_owned())
    }
}
