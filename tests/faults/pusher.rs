//! A client that commits and pushes on and on, and what it knows of its pushes.

use super::chance::Chance;
use crate::support::fleet::{Fleet, WorkingCopy};
use crate::support::run::{Said, run_with};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The bookmark that pushes move.
pub const BOOKMARK: &str = "moving";
/// Longer than any wait that the server allows itself.
const PUSH_LIMIT: Duration = Duration::from_secs(120);
/// Between two pushes.
const PAUSE: Duration = Duration::from_millis(150);

/// What is known of one repository's pushes.
pub struct Ledger {
    /// The repository.
    pub repository: &'static str,
    known: Mutex<Known>,
}

/// See [`Ledger`].
#[derive(Debug, Default, Clone)]
pub struct Known {
    /// Changesets whose push was acknowledged, by node, in order
    pub stored: Vec<String>,
    /// Changesets whose push was refused for certain, and which were never pushed again
    pub refused: Vec<String>,
    /// How many pushes ended without a word on their outcome
    pub unknown: usize,
    /// Where the bookmark may be: where the last acknowledged push put it, and where later ones tried to
    pub bookmark: Vec<String>,
}

impl Ledger {
    /// Nothing was pushed yet.
    pub fn new(repository: &'static str) -> Ledger {
        Ledger { repository, known: Mutex::default() }
    }

    /// As of now.
    pub fn known(&self) -> Known {
        self.change(|known| known.clone())
    }

    fn change<T>(&self, change: impl FnOnce(&mut Known) -> T) -> T {
        change(&mut self.known.lock().expect("nobody panics with it"))
    }
}

/// What a client was told of its push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Stored,
    Refused,
    Nothing,
}

impl Told {
    fn of(said: &Said) -> Told {
        let text = format!("{}{}", said.out, said.err);
        if said.status == 0 || text.contains("remote: stored as ") {
            Told::Stored
        } else if text.contains("refused: ") && !text.contains("outcome unknown") {
            Told::Refused
        } else {
            Told::Nothing
        }
    }
}

/// One developer with one working copy.
pub struct Pusher<'a> {
    ledger: &'a Ledger,
    work: WorkingCopy<'a>,
    url: String,
    chance: Chance,
    commits: usize,
}

impl<'a> Pusher<'a> {
    /// Makes the working copy.
    pub fn new(fleet: &'a Fleet, ledger: &'a Ledger, name: &str, chance: Chance) -> Pusher<'a> {
        let url = fleet.ssh_url(ledger.repository);
        Pusher { ledger, work: fleet.init(name), url, chance, commits: 0 }
    }

    /// Pushes until it is told to stop, and then until all is pushed.
    pub fn run(mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            self.commit();
            self.push_until_told(stop);
            std::thread::sleep(PAUSE);
        }
    }

    /// Commits on the tip, or on any changeset that is stored: a new head.
    fn commit(&mut self) {
        let stored = self.ledger.known().stored;
        if !stored.is_empty() && self.chance.one_in(4) {
            let base = self.chance.pick(&stored).as_str();
            self.work.hg(&["update", "-q", "-C", base]).ok();
        }
        self.commits += 1;
        let file = format!("folder-{}/file-{}", self.chance.below(3), self.chance.below(8));
        let line = format!("{} {}\n", self.ledger.repository, self.commits);
        self.work.commit(&file, line.repeat(1 + self.chance.below(400)), &line);
    }

    fn tip(&self) -> String {
        self.work.hg(&["log", "-r", ".", "-T", "{node}"]).ok().out
    }

    /// Pushes the working copy's parent until its outcome is known; one that is refused is left behind for good.
    fn push_until_told(&mut self, stop: &AtomicBool) {
        let node = self.tip();
        let mark = self.chance.one_in(3);
        if mark {
            self.work.hg(&["bookmark", "-q", "-f", "-r", ".", BOOKMARK]).ok();
            self.ledger.change(|known| known.bookmark.push(node.clone()));
        }
        let mut silent = 0;
        loop {
            match self.push(mark) {
                Told::Stored => {
                    self.ledger.change(|known| {
                        known.stored.push(node.clone());
                        if mark {
                            known.bookmark = vec![node.clone()];
                        }
                    });
                    return;
                }
                Told::Refused if silent == 0 => {
                    self.ledger.change(|known| known.refused.push(node.clone()));
                    let back = self.ledger.known().stored.last().cloned().unwrap_or_else(|| "null".to_owned());
                    self.work.hg(&["update", "-q", "-C", &back]).ok();
                    return;
                }
                // An earlier try of the same may have been stored.
                Told::Refused => {}
                Told::Nothing => {
                    silent += 1;
                    self.ledger.change(|known| known.unknown += 1);
                }
            }
            assert!(silent < 200 || !stop.load(Ordering::Relaxed), "no push goes through any more");
            std::thread::sleep(PAUSE);
        }
    }

    fn push(&self, mark: bool) -> Told {
        let mut arguments = vec!["push", "-f", "-r", "."];
        if mark {
            arguments.extend(["-B", BOOKMARK]);
        }
        arguments.push(&self.url);
        let said = run_with(&mut self.work.command(&arguments), b"", PUSH_LIMIT);
        match Told::of(&said) {
            // Nothing was left to push: an earlier try had brought it.
            Told::Nothing if said.status == 1 && said.out.contains("no changes found") => Told::Stored,
            told => told,
        }
    }
}
