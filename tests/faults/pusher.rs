//! A client that commits and pushes on and on, and what it knows of its pushes.

use super::chance::Chance;
use super::world::Shared;
use crate::support::clients::{Clients, WorkingCopy};
use crate::support::run::{Said, run_with};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The bookmark that pushes move.
pub const BOOKMARK: &str = "moving";
/// Longer than any wait that the server allows itself.
const PUSH_LIMIT: Duration = Duration::from_secs(120);
/// Between two pushes.
const PAUSE: Duration = Duration::from_millis(150);
/// How long the fleet may take to say whether it has a changeset.
const SAID_MAX: Duration = Duration::from_secs(90);

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
    /// Those of which the client was told, in the end, that all mirrors in service show them
    pub visible: Vec<String>,
    /// Changesets whose push was refused for certain, and which were never pushed again
    pub refused: Vec<String>,
    /// Changesets that a push has made public, acknowledged
    pub public: Vec<String>,
    /// How many pushes ended without a word on their outcome
    pub unknown: usize,
    /// Where the bookmark may be: where the last acknowledged push put it (nowhere, before one did), and where later ones tried to
    pub bookmark: Vec<String>,
}

impl Ledger {
    /// Nothing was pushed yet.
    pub fn new(repository: &'static str) -> Ledger {
        let known = Known { bookmark: vec![String::new()], ..Known::default() };
        Ledger { repository, known: Mutex::new(known) }
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
    /// Stored, and told to all mirrors.
    Visible,
    /// Stored; the end of the reply was another, or did not come.
    Stored,
    Refused,
    Nothing,
}

impl Told {
    fn of(said: &Said) -> Told {
        let text = format!("{}{}", said.out, said.err);
        if text.contains("remote: visible on ") {
            Told::Visible
        } else if said.status == 0 || text.contains("remote: stored as ") {
            Told::Stored
        } else if text.contains("refused: ") && !text.contains("outcome unknown") {
            Told::Refused
        } else {
            Told::Nothing
        }
    }
}

/// Whether the master has a changeset; none: it does not say.
pub fn there(clients: &Clients, repository: &str, node: &str) -> Option<bool> {
    let mut hg = clients.hg_command(&["identify", "--id", "-r", node, &clients.ssh_url(repository)]);
    let said = run_with(&mut hg, b"", PUSH_LIMIT);
    match said.status {
        0 => Some(true),
        _ if said.err.contains("unknown revision") => Some(false),
        _ => None,
    }
}

/// One developer with one working copy.
pub struct Pusher<'a> {
    shared: &'a Shared,
    ledger: &'a Ledger,
    work: WorkingCopy<'a>,
    doors: &'a [Clients],
    chance: Chance,
    commits: usize,
}

impl<'a> Pusher<'a> {
    /// Makes the working copy. Each push goes by any of the doors.
    pub fn new(shared: &'a Shared, ledger: &'a Ledger, doors: &'a [Clients], name: &str, chance: Chance) -> Pusher<'a> {
        Pusher { shared, ledger, work: doors[0].init(name), doors, chance, commits: 0 }
    }

    /// The client in the working copy, not yet started, which goes by any door; `arguments` are given where one pushes to.
    fn client(&mut self, arguments: impl FnOnce(String) -> Vec<String>) -> Command {
        let door = self.chance.pick(self.doors);
        let arguments = arguments(door.ssh_url(self.ledger.repository));
        let mut hg = door.hg_command(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        hg.current_dir(&self.work.path);
        hg
    }

    /// Pushes until it is told to stop, and then until all is pushed.
    pub fn run(mut self) {
        while !self.stopped() {
            self.commit();
            self.push_until_told();
            if self.ledger.repository == super::DRAFTS && self.chance.one_in(4) {
                self.publish();
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn stopped(&self) -> bool {
        self.shared.stop_pushing.load(Ordering::Relaxed)
    }

    /// Something was found, and nobody waits for the rest.
    fn given_up(&self) -> bool {
        self.stopped() && !self.shared.found.is_empty()
    }

    /// Commits on the tip, or on any changeset that is stored: a new head.
    fn commit(&mut self) {
        let stored = self.ledger.known().stored;
        if !stored.is_empty() && self.chance.one_in(4) {
            let base = self.chance.pick(&stored).as_str();
            self.work.hg_here(&["update", "-q", "-C", base]).ok();
        }
        self.commits += 1;
        let file = format!("folder-{}/file-{}", self.chance.below(3), self.chance.below(8));
        let line = format!("{} {}\n", self.ledger.repository, self.commits);
        self.work.commit(&file, line.repeat(1 + self.chance.below(400)), &line);
    }

    fn tip(&self) -> String {
        self.work.hg_here(&["log", "-r", ".", "-T", "{node}"]).ok().out
    }

    /// Pushes the working copy's parent until its outcome is known; one that is refused is left behind for good.
    fn push_until_told(&mut self) {
        let node = self.tip();
        let mark = self.chance.one_in(3);
        if mark {
            self.work.hg_here(&["bookmark", "-q", "-f", "-r", ".", BOOKMARK]).ok();
            self.ledger.change(|known| known.bookmark.push(node.clone()));
        }
        let mut silent = 0;
        loop {
            let told = self.push(mark);
            match told {
                Told::Visible | Told::Stored => {
                    self.ledger.change(|known| {
                        known.stored.push(node.clone());
                        if told == Told::Visible {
                            known.visible.push(node.clone());
                        }
                        if mark {
                            known.bookmark = vec![node.clone()];
                        }
                    });
                    if told == Told::Stored {
                        self.look_for(&node);
                    }
                    return;
                }
                Told::Refused if silent == 0 => {
                    self.ledger.change(|known| known.refused.push(node.clone()));
                    let back = self.ledger.known().stored.last().cloned().unwrap_or_else(|| "null".to_owned());
                    self.work.hg_here(&["update", "-q", "-C", &back]).ok();
                    return;
                }
                // An earlier try of the same may have been stored.
                Told::Refused => {}
                Told::Nothing => {
                    silent += 1;
                    self.ledger.change(|known| known.unknown += 1);
                }
            }
            if self.given_up() {
                return;
            }
            assert!(silent < 200 || !self.stopped(), "no push goes through any more");
            std::thread::sleep(PAUSE);
        }
    }

    /// What was acknowledged, and then the connection was lost, is there: before anything else is pushed, which would bring it.
    fn look_for(&mut self, node: &str) {
        let begun = Instant::now();
        while begun.elapsed() < SAID_MAX && !self.given_up() {
            match there(self.chance.pick(self.doors), self.ledger.repository, node) {
                Some(true) => return,
                Some(false) => {
                    let repository = self.ledger.repository;
                    return self
                        .shared
                        .found
                        .add(format!("{repository}: {node} was told to be stored, and is not there"));
                }
                None => std::thread::sleep(PAUSE),
            }
        }
    }

    /// Makes one of the stored changesets public, with its ancestors.
    fn publish(&mut self) {
        let stored = self.ledger.known().stored;
        if stored.is_empty() {
            return;
        }
        let node = self.chance.pick(&stored).clone();
        self.work.hg_here(&["phase", "-q", "--public", "-r", &node]).ok();
        let mut push = self.client(|url| vec!["push".into(), "-f".into(), "-r".into(), node.clone(), url]);
        let said = run_with(&mut push, b"", PUSH_LIMIT);
        if matches!(Told::of(&said), Told::Visible | Told::Stored) {
            self.ledger.change(|known| known.public.push(node));
        }
    }

    fn push(&mut self, mark: bool) -> Told {
        let mut push = self.client(|url| {
            let mark = if mark { &["-B", BOOKMARK][..] } else { &[] };
            let arguments = ["push", "-f", "-r", "."].iter().chain(mark).map(|word| (*word).to_owned());
            arguments.chain([url]).collect()
        });
        let said = run_with(&mut push, b"", PUSH_LIMIT);
        match Told::of(&said) {
            // Nothing was left to push: an earlier try had brought it.
            Told::Nothing if said.status == 1 && said.out.contains("no changes found") => Told::Stored,
            told => told,
        }
    }
}
