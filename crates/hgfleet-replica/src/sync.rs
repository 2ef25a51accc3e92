//! Bringing to disk what was applied, in the background.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hg_store::apply::SyncPaths;
use hg_store::change::ChangeRef;
use hgfleet_log::{RepositoryName, Sequence, planted};

use crate::ReplicaError;
use crate::replica::Inner;

/// How long the thread waits after a change for more of them.
const GATHER: Duration = Duration::from_millis(100);
/// The pause after the disk was found full.
const FULL_PAUSE: Duration = Duration::from_secs(1);
/// How often it looks for deleted repositories that can go.
const TIDY_EVERY: Duration = Duration::from_secs(60);

/// What is applied and may not be on disk.
#[derive(Debug, Default)]
pub(crate) struct Volatile {
    state: Mutex<State>,
    changed: Condvar,
    /// Held by who brings it to disk.
    syncing: Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    repositories: BTreeMap<RepositoryName, Touched>,
    /// Repositories whose index is behind.
    unindexed: BTreeSet<RepositoryName>,
    /// Something has happened since the last sync; the position at least.
    stirred: bool,
    ended: bool,
    /// Why nothing can be believed any more.
    failed: Option<String>,
    /// The durable position that is itself kept durably.
    published: Option<Sequence>,
}

/// What was touched of one repository.
#[derive(Debug, Default)]
struct Touched {
    id: i64,
    paths: SyncPaths,
    /// Its folder is new, so everything.
    all: bool,
    sequences: Vec<Sequence>,
}

impl Volatile {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn published(&self) -> Option<Sequence> {
        self.state().published
    }

    pub(crate) fn publish(&self, durable: Option<Sequence>) {
        let mut state = self.state();
        state.published = state.published.max(durable);
    }

    /// Adds what a change touched.
    pub(crate) fn add(&self, name: &RepositoryName, id: i64, sequence: Sequence, change: &ChangeRef<'_>) {
        let mut state = self.state();
        state.unindexed.insert(name.clone());
        let touched = state.repositories.entry(name.clone()).or_default();
        touched.id = id;
        touched.paths.add(change);
        touched.sequences.push(sequence);
    }

    /// Adds all of a repository.
    pub(crate) fn add_all(&self, name: &RepositoryName, id: i64, sequence: Sequence) {
        let mut state = self.state();
        state.unindexed.insert(name.clone());
        let touched = state.repositories.entry(name.clone()).or_default();
        touched.id = id;
        touched.all = true;
        touched.sequences.push(sequence);
    }

    /// Adds that a repository's index may be behind, and nothing else.
    pub(crate) fn index_later(&self, name: &RepositoryName) {
        let mut state = self.state();
        state.unindexed.insert(name.clone());
        state.stirred = true;
        drop(state);
        self.changed.notify_one();
    }

    /// Lets nobody bring anything to disk until what is returned is dropped.
    pub(crate) fn pause(&self) -> MutexGuard<'_, ()> {
        self.syncing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the thread that there is something to do.
    pub(crate) fn wake(&self) {
        self.state().stirred = true;
        self.changed.notify_one();
    }

    /// Takes back what was taken to be brought to disk, and will be once more.
    fn give_back(&self, repositories: BTreeMap<RepositoryName, Touched>) {
        let mut state = self.state();
        for (name, again) in repositories {
            match state.repositories.entry(name) {
                Entry::Vacant(place) => {
                    place.insert(again);
                }
                // What came meanwhile may be another repository of this name: everything of it is synced then.
                Entry::Occupied(mut place) => {
                    let touched = place.get_mut();
                    touched.all = true;
                    if touched.id == again.id {
                        touched.sequences.extend(again.sequences);
                    }
                }
            }
        }
    }

    /// Refuses to go on after data could not be brought to disk.
    pub(crate) fn check(&self) -> Result<(), ReplicaError> {
        match &self.state().failed {
            Some(why) => Err(ReplicaError::NotDurable(why.clone())),
            None => Ok(()),
        }
    }
}

impl Inner {
    /// Brings everything that was applied by now to disk.
    ///
    /// The order is what makes it safe: first the data, then the commit that says so, then the commits themselves
    /// (those of the sequences and digests among them, which came before); only then is the position told.
    pub(crate) fn sync(&self) -> Result<(), ReplicaError> {
        self.volatile.check()?;
        let _syncing = self.volatile.pause();
        let repositories = {
            let mut state = self.volatile.state();
            state.stirred = false;
            std::mem::take(&mut state.repositories)
        };
        let result = self.sync_taken(&repositories);
        if result.as_ref().is_err_and(ReplicaError::is_full) {
            // The files are on disk, the note that says so is not: the durable position stays until there is room.
            self.volatile.give_back(repositories);
            return result;
        }
        if let Err(error) = &result {
            // The system may have dropped what it could not write, and a second fsync would not say so.
            tracing::error!(%error, "data could not be brought to disk");
            self.volatile.state().failed = Some(error.to_string());
            return Err(ReplicaError::NotDurable(error.to_string()));
        }
        result
    }

    fn sync_taken(&self, repositories: &BTreeMap<RepositoryName, Touched>) -> Result<(), ReplicaError> {
        let mut sequences = Vec::new();
        let mut durable = Vec::new();
        let everything = repositories.values().any(|touched| touched.all);
        if everything {
            self.folders.sync()?;
        }
        for (name, touched) in repositories {
            let hg = self.hg(name);
            let gone = || !hg.exists();
            let synced = if planted::is("stores-not-synced") { Ok(()) } else { touched.paths.sync(&hg) };
            match synced {
                _ if everything => {}
                Ok(()) => {}
                // Deleted meanwhile, by a record that brings its own work.
                Err(_) if gone() => {}
                Err(error) => return Err(ReplicaError::NotDurable(error.to_string())),
            }
            sequences.extend_from_slice(&touched.sequences);
            durable.extend(touched.sequences.iter().max().map(|last| (touched.id, *last)));
        }
        self.known().positions.on_disk(&sequences);
        let server = self.server_row();
        self.state.set_durable(&server, &durable)?;
        for (name, touched) in repositories {
            if let Some(entry) = self.entry(name).filter(|entry| entry.id == touched.id) {
                let mut writer = entry.writer();
                writer.durable = writer.durable.max(touched.sequences.iter().max().copied());
            }
        }
        self.volatile.publish(server.durable);
        Ok(())
    }
}

impl Inner {
    /// Moves indexes forward. Only the thread does, since a folder has one writer.
    fn index(&self) {
        let names = std::mem::take(&mut self.volatile.state().unindexed);
        for name in names {
            match self.shared_snapshot(&name).and_then(|snapshot| Ok(snapshot.keep_index()?)) {
                Ok(()) | Err(ReplicaError::NotFound(_) | ReplicaError::Quarantined { .. }) => {}
                // Readers do without.
                Err(error) => tracing::warn!(repository = name.as_str(), %error, "no index"),
            }
        }
    }

    /// Removes what nobody needs any more.
    fn tidy(&self) {
        let used: BTreeSet<Sequence> = self.entries().into_iter().map(|entry| entry.created).collect();
        let removed = self.folders.remove_old(self.volatile.published());
        let removed = removed.and_then(|()| self.folders.remove_copies(|created| used.contains(&created)));
        // A repository that is just being made has no index yet.
        if let Err(error) = removed.and_then(|()| self.folders.remove_indexes(|created| used.contains(&created))) {
            tracing::warn!(%error, "a deleted repository could not be removed");
        }
    }
}

/// The thread that does so after each change.
pub(crate) struct Syncer {
    inner: Arc<Inner>,
    thread: Option<JoinHandle<()>>,
}

impl Syncer {
    pub(crate) fn start(inner: Arc<Inner>) -> Self {
        let theirs = inner.clone();
        let thread = std::thread::Builder::new().name("sync".to_owned()).spawn(move || run(&theirs));
        if let Err(error) = &thread {
            // Without it nothing becomes durable, and the next apply says so.
            inner.volatile.state().failed = Some(error.to_string());
        }
        Self { inner, thread: thread.ok() }
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.inner.volatile.state().ended = true;
        self.inner.volatile.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic there was reported where it happened.
            let _ = thread.join();
        }
    }
}

fn run(inner: &Inner) {
    let mut tidied = Instant::now();
    loop {
        let state = inner.volatile.state();
        let idle = |state: &mut State| !state.stirred && !state.ended;
        let (state, _) =
            inner.volatile.changed.wait_timeout_while(state, TIDY_EVERY, idle).unwrap_or_else(PoisonError::into_inner);
        if state.ended || state.failed.is_some() {
            return;
        }
        let stirred = state.stirred;
        let (state, _) = inner
            .volatile
            .changed
            .wait_timeout_while(state, GATHER, |state| stirred && !state.ended)
            .unwrap_or_else(PoisonError::into_inner);
        if state.ended {
            return;
        }
        drop(state);
        if stirred {
            inner.index();
            match inner.sync() {
                Ok(()) => {}
                Err(error) if error.is_full() => {
                    tracing::warn!(%error, "what is on disk can't be noted, it is tried again");
                    std::thread::sleep(FULL_PAUSE);
                    inner.volatile.wake();
                }
                Err(_) => return,
            }
        }
        if tidied.elapsed() >= TIDY_EVERY {
            tidied = Instant::now();
            inner.tidy();
        }
    }
}
