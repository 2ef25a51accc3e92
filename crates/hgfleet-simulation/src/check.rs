//! What must hold, whatever went wrong: kept while a run goes on, and looked at in its end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hgfleet_log::{Follower, LogId, RepositoryName, Sequence};
use serde::{Deserialize, Serialize};

use crate::fleet::{Fleet, Kind, stores};
use crate::history::{History, Node};
use crate::log::SimulatedLog;
use crate::push::{Pushed, Told};
use crate::world::{self, Nanos};

/// What clients did and were told.
#[derive(Debug, Default)]
pub struct Checker {
    state: Mutex<State>,
    /// The changesets that were pushed.
    pub history: Arc<Mutex<History>>,
}

#[derive(Debug, Default)]
struct State {
    violations: Vec<String>,
    pushes: Vec<(RepositoryName, Pushed)>,
    counts: Counts,
    /// The last push of each repository whose client was told that all mirrors know of it, and when.
    visible: BTreeMap<RepositoryName, (Node, Nanos)>,
    /// Until then something may be wrong with a mirror or a balancer.
    troubled_until: Nanos,
}

/// What a run came to.
#[derive(Debug, Default, Clone, Copy, Serialize, Deserialize)]
pub struct Counts {
    /// Pushes whose client was told that they are stored.
    pub stored: u64,
    /// Pushes that were refused.
    pub refused: u64,
    /// Pushes of whose outcome nobody was told.
    pub unknown: u64,
    /// Reads that were answered.
    pub reads: u64,
    /// Reads that were not.
    pub unanswered: u64,
}

impl Checker {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something must not be.
    pub fn violated(&self, what: String) {
        crate::fleet::say(&what);
        self.state().violations.push(what);
    }

    /// What must not be and was.
    pub fn violations(&self) -> Vec<String> {
        self.state().violations.clone()
    }

    /// What a run came to.
    pub fn counts(&self) -> Counts {
        self.state().counts
    }

    /// A client was told what became of its push. Whatever it was told, the log must bear it out at this moment.
    pub fn pushed(&self, log: &SimulatedLog, repository: &RepositoryName, pushed: Pushed) {
        if let (Told::Stored { sequence, .. }, Some(changeset)) = (&pushed.told, pushed.changeset) {
            let has = log.store().entries().any(|entry| {
                entry.record.sequence.get() == *sequence && holds(&entry.record, repository, changeset.node)
            });
            if !has {
                self.violated(format!("{changeset:?} was acknowledged as {sequence}, and the log has another there"));
            }
        }
        let now = world::now();
        world::note(&format!("{:?}", pushed.changeset.map(|changeset| changeset.node)));
        let mut state = self.state();
        if let (Told::Stored { visible: true, .. }, Some(changeset)) = (&pushed.told, pushed.changeset) {
            let is_later = |last: &(Node, Nanos)| self.history().leads_to(last.0, changeset.node);
            if state.visible.get(repository).is_none_or(is_later) {
                state.visible.insert(repository.clone(), (changeset.node, now));
            }
        }
        match pushed.told {
            Told::Stored { .. } => state.counts.stored += 1,
            Told::Refused(_) => state.counts.refused += 1,
            Told::Unknown(_) => state.counts.unknown += 1,
        }
        state.pushes.push((repository.clone(), pushed));
    }

    /// A read that nobody answered.
    pub fn unanswered(&self) {
        self.state().counts.unanswered += 1;
    }

    /// Something is wrong with a mirror or a balancer until then.
    pub fn troubled_until(&self, time: Nanos) {
        let mut state = self.state();
        state.troubled_until = state.troubled_until.max(time);
    }

    /// A reader that began to ask at `begun` saw these heads. `seen` is what it saw before, through the same door.
    pub fn read(
        &self,
        log: &SimulatedLog,
        repository: &RepositoryName,
        heads: &str,
        begun: Nanos,
        seen: &mut Option<Node>,
    ) {
        self.state().counts.reads += 1;
        world::note(heads);
        let Some(head) = Node::parse(heads.trim()) else {
            return self.violated(format!("heads of {repository} are {heads:?}"));
        };
        let sequence = sequence_of(log, repository, head);
        let visible = log.store().view.as_ref().and_then(|view| view.visible);
        match sequence {
            None if head != Node::default() => {
                self.violated(format!("a reader of {repository} saw {head:?}, which the log doesn't have"));
            }
            _ if sequence > visible => {
                self.violated(format!("a reader saw {head:?} of record {sequence:?}; visible was {visible:?}"));
            }
            _ => {}
        }
        // While a mirror is out of service, its answer is taken where nobody else gives one.
        let (answered, calm) = {
            let state = self.state();
            (state.visible.get(repository).copied(), world::now() > state.troubled_until)
        };
        if let Some((node, at)) = answered.filter(|_| calm)
            && at < begun
            && !self.history().leads_to(node, head)
        {
            self.violated(format!(
                "a push of {node:?} to {repository} was answered, and a reader saw {head:?} after it"
            ));
        }
        if let Some(before) = seen.replace(head)
            && !self.history().leads_to(before, head)
        {
            self.violated(format!("a reader of {repository} saw {before:?}, and then {head:?}"));
        }
    }

    /// The last head of a repository that the log has.
    pub fn tip(&self, log: &SimulatedLog, repository: &RepositoryName) -> Option<Node> {
        let store = log.store();
        let records = store.entries().filter(|entry| entry.record.store().is_some_and(|s| s.repository == *repository));
        let state = self.state();
        let pushed: Vec<Node> =
            state.pushes.iter().filter_map(|(_, pushed)| pushed.changeset.map(|changeset| changeset.node)).collect();
        let last = records.last()?;
        pushed.into_iter().rev().find(|node| holds(&last.record, repository, *node)).or(Some(Node::default()))
    }

    /// In the end: what the log has, and what each server has of it.
    pub fn finish(&self, fleet: &Fleet) {
        self.check_chain(fleet);
        self.check_pushes(&fleet.log);
        self.check_stores(fleet);
    }

    /// One history: each record follows on the one before.
    fn check_chain(&self, fleet: &Fleet) {
        let store = fleet.log.store();
        let mut follower = Follower::new(LogId::from_bytes([7; 16]), None);
        for entry in store.entries() {
            if let Err(divergence) = follower.accept(&entry.record) {
                self.violated(format!("the log has no one history: {divergence}"));
            }
        }
        for views in store.views.windows(2) {
            if views[0].visible > views[1].visible || views[0].epoch > views[1].epoch {
                self.violated(format!("the view went back: {views:?}"));
            }
        }
    }

    fn check_pushes(&self, log: &SimulatedLog) {
        let pushes = self.state().pushes.clone();
        for (repository, Pushed { changeset, told }) in pushes {
            let Some(changeset) = changeset else { continue };
            let found = sequence_of(log, &repository, changeset.node);
            match told {
                Told::Stored { sequence, .. } if found.map(Sequence::get) != Some(sequence) => {
                    self.violated(format!("{changeset:?} was acknowledged as {sequence}, and is {found:?}"));
                }
                Told::Refused(why) if found.is_some() => {
                    self.violated(format!("{changeset:?} was refused ({why}), and is record {found:?}"));
                }
                _ => {}
            }
        }
    }

    /// All stores are what the log's last record of each says.
    fn check_stores(&self, fleet: &Fleet) {
        let mut expected = BTreeMap::new();
        for entry in fleet.log.store().entries() {
            if let Some(store) = entry.record.store() {
                expected.insert(store.repository.as_str().to_owned(), store.after);
            }
        }
        for server in [fleet.of(Kind::Master), fleet.of(Kind::Mirror)].concat() {
            let name = fleet.servers[server].name;
            let found = match stores(&fleet.data(server)) {
                Ok(found) => found,
                Err(error) => return self.violated(format!("{name}'s stores can't be read: {error}")),
            };
            if found.len() != expected.len() {
                self.violated(format!("{name} has {} repositories, and there are {}", found.len(), expected.len()));
            }
            for path in found {
                let repository = path.parent().and_then(|path| path.file_name()).unwrap_or_default();
                let repository = repository.to_string_lossy().into_owned();
                let digest = hg_store::digest::digest_of_store(&path).ok().map(|digest| *digest.as_bytes());
                if digest.is_none() || expected.get(&repository) != Some(&digest) {
                    self.violated(format!("{name}'s {repository} is not what the log says"));
                }
            }
        }
    }
}

/// Whether a record brings this changeset. Its summary names it, in bytes.
fn holds(record: &hgfleet_log::Record, repository: &RepositoryName, node: Node) -> bool {
    record
        .store()
        .is_some_and(|store| store.repository == *repository && store.summary.windows(20).any(|bytes| node.is(bytes)))
}

fn sequence_of(log: &SimulatedLog, repository: &RepositoryName, node: Node) -> Option<Sequence> {
    let store = log.store();
    store.entries().find(|entry| holds(&entry.record, repository, node)).map(|entry| entry.record.sequence)
}
