//! The replica.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};

use hg_store::change::ChangeRef;
use hg_store::digest::DigestUpdate;
use hg_store::{Repository, Snapshot};
use hgfleet_log::{Body, ChainHash, Incarnation, LogId, Record, RepositoryName, Sequence, StoreKind};

use crate::folders::Folders;
use crate::position::Positions;
use crate::repository::{Computed, Current, Entry, Totals};
use crate::state::{RepositoryRow, ServerRow, StateFile};
use crate::status::folder_id;
use crate::sync::{Syncer, Volatile};
use crate::{ReplicaError, RepositorySnapshot, RepositoryStatus};

/// Most repositories that are kept open, with the snapshot that readers share: each has a folder open, some files mapped, and what
/// was computed of them.
const OPEN_MAX: usize = 64;

/// What became of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Its repository is as the record says.
    Applied,
    /// It was applied before; nothing was done.
    Already,
    /// It says nothing of a repository; the position moved.
    NoStore,
    /// Its repository is in quarantine, since before or by this record. The position moved all the same.
    Quarantined(String),
}

/// One server's copy of the stores. `Send` and `Sync`; calls for different repositories run side by side.
pub struct Replica {
    pub(crate) inner: Arc<Inner>,
    /// Ends with the replica.
    _syncer: Syncer,
}

/// What the replica and its thread share.
pub(crate) struct Inner {
    pub(crate) folders: Folders,
    pub(crate) state: StateFile,
    incarnation: Incarnation,
    pub(crate) same_boot: AtomicBool,
    pub(crate) entries: RwLock<BTreeMap<RepositoryName, Arc<Entry>>>,
    pub(crate) totals: Arc<Totals>,
    /// Held while repositories come and go.
    pub(crate) names: Mutex<()>,
    pub(crate) known: Mutex<Known>,
    /// One more record is applied.
    pub(crate) applied: Condvar,
    pub(crate) volatile: Volatile,
    recovered: AtomicBool,
    /// Counts requests for shared snapshots.
    clock: AtomicU64,
    /// The repositories that are kept open.
    open: Mutex<Vec<Arc<Entry>>>,
}

/// What is known of the log.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) log: Option<LogId>,
    pub(crate) seen: Option<(Sequence, ChainHash)>,
    pub(crate) positions: Positions,
}

impl Replica {
    /// Opens the server's folder, made where it is missing. [`Self::recover`] must follow before anything is served
    /// or applied.
    ///
    /// # Errors
    /// The folder is in use, or it or its `state.sqlite` can't be used.
    pub fn open(dir: &Path) -> Result<Self, ReplicaError> {
        let folders = Folders::open(dir)?;
        let (state, server) = StateFile::open(dir)?;
        Self::of(folders, state, server)
    }

    pub(crate) fn of(folders: Folders, state: StateFile, server: ServerRow) -> Result<Self, ReplicaError> {
        let totals = Arc::new(Totals::default());
        let rows = state.repositories()?;
        let inner = Arc::new(Inner {
            folders,
            incarnation: server.incarnation,
            same_boot: AtomicBool::new(server.same_boot),
            entries: RwLock::default(),
            totals,
            state,
            names: Mutex::new(()),
            known: Mutex::new(Known {
                log: server.log,
                seen: server.seen,
                // What was applied above that is applied already, when its records come again.
                positions: Positions::new(server.durable),
            }),
            applied: Condvar::new(),
            volatile: Volatile::default(),
            recovered: AtomicBool::new(false),
            clock: AtomicU64::new(1),
            open: Mutex::default(),
        });
        rows.into_iter().for_each(|row| inner.put(row, None));
        inner.volatile.publish(server.durable);
        let syncer = Syncer::start(inner.clone());
        Ok(Self { inner, _syncer: syncer })
    }

    /// Returns which life of this disk this is.
    pub fn incarnation(&self) -> Incarnation {
        self.inner.incarnation
    }

    /// Returns the log that this server follows, once it has taken notice of a record.
    pub fn log(&self) -> Option<LogId> {
        self.inner.known().log
    }

    /// Returns the highest record that this server ever took notice of.
    pub fn seen(&self) -> Option<(Sequence, ChainHash)> {
        self.inner.known().seen
    }

    /// Takes notice of a record of the log, without applying it. It is kept with the next thing that is brought to disk.
    ///
    /// # Errors
    /// A record of another log.
    pub fn note_seen(&self, record: &Record) -> Result<(), ReplicaError> {
        self.inner.note_seen(record)
    }

    /// Returns the sequence up to which no repository lacks a record. Those in quarantine don't count.
    pub fn position(&self) -> Option<Sequence> {
        self.inner.known().positions.position()
    }

    /// Returns the sequence up to which everything that was applied is on disk. At most [`Self::position`].
    pub fn durable_position(&self) -> Option<Sequence> {
        self.inner.volatile.published()
    }

    /// Returns the last record of one repository that is applied here; `None` where there is no such repository. No I/O.
    pub fn position_of(&self, name: &RepositoryName) -> Option<Sequence> {
        self.inner.entry(name).map(|entry| entry.current().sequence)
    }

    /// Returns all repositories, by name.
    pub fn repositories(&self) -> Vec<RepositoryStatus> {
        self.inner.entries().iter().map(|entry| RepositoryStatus::of(entry)).collect()
    }

    /// Returns the repositories in quarantine, by name, with the reasons.
    pub fn quarantined(&self) -> Vec<(RepositoryName, String)> {
        if self.inner.totals.quarantined.load(Ordering::Relaxed) == 0 {
            return Vec::new();
        }
        let entries = self.inner.entries.read().unwrap_or_else(PoisonError::into_inner);
        let quarantined = |entry: &Arc<Entry>| Some((entry.name.clone(), entry.current().quarantine.clone()?));
        entries.values().filter_map(quarantined).collect()
    }

    /// Returns what a reader of this repository needs. No I/O but for a look at its folder.
    ///
    /// # Errors
    /// [`ReplicaError::NotFound`], [`ReplicaError::Quarantined`].
    pub fn snapshot(&self, name: &RepositoryName) -> Result<RepositorySnapshot, ReplicaError> {
        let inner = &self.inner;
        loop {
            let (entry, _) = inner.readable(name)?;
            inner.index_once(&entry);
            let _stays = entry.place.read().unwrap_or_else(PoisonError::into_inner);
            if !inner.is_there(&entry) {
                continue;
            }
            let path = inner.place(name);
            let hg = path.join(".hg");
            let current = entry.current();
            let stat = rustix::fs::lstat(&hg).map_err(ReplicaError::io("stat", &hg))?;
            return Ok(RepositorySnapshot {
                path,
                index: inner.folders.index(entry.created),
                state: current.state.clone(),
                sequence: current.sequence,
                digest: current.digest,
                folder: folder_id(&stat),
            });
        }
    }

    /// Returns an opened snapshot of this repository, shared with all who ask before its next record.
    ///
    /// # Errors
    /// As for [`Self::snapshot`], and what opening it finds.
    pub fn shared_snapshot(&self, name: &RepositoryName) -> Result<Arc<Snapshot>, ReplicaError> {
        self.inner.shared_snapshot(name)
    }

    /// As [`shared_snapshot`](Self::shared_snapshot), where somebody asked for it before and nobody has to be waited for, nor the disk; else
    /// `None`.
    pub fn open_snapshot(&self, name: &RepositoryName) -> Option<Arc<Snapshot>> {
        self.inner.open_snapshot(name)
    }

    /// Returns the digest that `change` leads to from this repository's state, having checked that the change fits it:
    /// paths, old lengths, what exists. For the commit, before the append; nothing is written.
    ///
    /// # Errors
    /// [`ReplicaError::Digest`] where it does not fit; [`ReplicaError::NotFound`], [`ReplicaError::Quarantined`].
    pub fn digest_after(&self, name: &RepositoryName, change: &ChangeRef<'_>) -> Result<[u8; 32], ReplicaError> {
        let inner = &self.inner;
        let (entry, _) = inner.readable(name)?;
        let mut writer = entry.writer();
        let before = entry.current().digest;
        let hg = inner.hg(name);
        let update = DigestUpdate::of_change(&hg, &mut inner.state.nodes(entry.id), change)?;
        let digest = *update.digest().as_bytes();
        writer.computed = Some(Computed { before, change: *change.digest(), update });
        Ok(digest)
    }

    /// Checks that a new repository may have this name: none of that name, none inside it, and it inside none.
    ///
    /// # Errors
    /// [`ReplicaError::NameTaken`].
    pub fn check_name(&self, name: &RepositoryName) -> Result<(), ReplicaError> {
        self.inner.check_name(name)
    }

    /// Returns the digest of a new repository whose whole content is `change`, having checked that it may have this
    /// name: none of that name, none inside it, and it inside none.
    ///
    /// # Errors
    /// [`ReplicaError::NameTaken`]; [`ReplicaError::Digest`] where the change does more than create files.
    pub fn digest_of_new(&self, name: &RepositoryName, change: &ChangeRef<'_>) -> Result<[u8; 32], ReplicaError> {
        self.inner.check_name(name)?;
        Ok(*DigestUpdate::of_new(change)?.digest().as_bytes())
    }

    /// Applies a record: in log order for each repository; records that say nothing of a store move the position.
    ///
    /// # Errors
    /// Only what concerns the whole server: another log's record, a failing `state.sqlite`. Whatever is wrong with the
    /// repository or the change puts the repository into quarantine, see [`Outcome`].
    pub fn apply(&self, record: &Record, change: &[u8]) -> Result<Outcome, ReplicaError> {
        let inner = &self.inner;
        inner.check_recovered()?;
        inner.volatile.check()?;
        inner.note_seen(record)?;
        let outcome = match &record.body {
            Body::Epoch { .. } | Body::Empty => Outcome::NoStore,
            Body::Store(store) if store.kind == StoreKind::Create => inner.create(record.sequence, store, change)?,
            Body::Store(store) if store.kind == StoreKind::Alter => inner.alter(record.sequence, store, change)?,
            Body::Store(_) | Body::Purge { .. } => inner.barrier(record, change)?,
        };
        inner.done(record.sequence);
        Ok(outcome)
    }

    /// Takes notice of a record, in order, without a store: for a server whose stores lie elsewhere. The position moves.
    ///
    /// # Errors
    /// As for [`Self::apply`].
    pub fn pass(&self, record: &Record) -> Result<(), ReplicaError> {
        self.inner.check_recovered()?;
        self.inner.volatile.check()?;
        self.inner.note_seen(record)?;
        self.inner.done(record.sequence);
        Ok(())
    }

    /// Brings everything that was applied so far to disk and moves the durable sequence. A thread of the replica's own
    /// does so a moment after each apply; this is for an orderly end.
    ///
    /// # Errors
    /// [`ReplicaError::NotDurable`], after which nothing more may be believed: the process should end and recover.
    pub fn sync(&self) -> Result<(), ReplicaError> {
        self.inner.sync()
    }

    /// Returns how many bytes the stores have, of files that count for their digests; as kept, nothing is read.
    pub fn store_bytes(&self) -> u64 {
        self.inner.totals.bytes.load(Ordering::Relaxed)
    }

    /// Returns how many bytes are free on the disk that the stores are on, for who is not the system's administrator.
    ///
    /// # Errors
    /// Where the system does not tell.
    pub fn free_bytes(&self) -> Result<u64, ReplicaError> {
        let dir = self.inner.folders.dir();
        let stat = rustix::fs::statvfs(dir).map_err(ReplicaError::io("ask for free space on", dir))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

impl std::fmt::Debug for Replica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replica").field("dir", &self.inner.folders.dir()).finish_non_exhaustive()
    }
}

impl Inner {
    pub(crate) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn entry(&self, name: &RepositoryName) -> Option<Arc<Entry>> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Makes a repository one of this server's, in the place of the one with its name and of `instead`.
    pub(crate) fn put(&self, row: RepositoryRow, instead: Option<&RepositoryName>) {
        let entry = Arc::new(Entry::new(row, &self.totals));
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        let left = [instead.and_then(|name| entries.remove(name)), entries.insert(entry.name.clone(), entry.clone())];
        left.into_iter().flatten().for_each(|entry| entry.count(false));
        entry.count(true);
    }

    /// It is no repository of this server's any more.
    pub(crate) fn remove(&self, name: &RepositoryName) {
        let left = self.entries.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        left.into_iter().for_each(|entry| entry.count(false));
    }

    /// Returns all repositories, by name.
    pub(crate) fn entries(&self) -> Vec<Arc<Entry>> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Whether this is still what has the entry's name.
    pub(crate) fn is_there(&self, entry: &Arc<Entry>) -> bool {
        self.entry(&entry.name).is_some_and(|now| Arc::ptr_eq(&now, entry))
    }

    pub(crate) fn set_recovered(&self) {
        self.recovered.store(true, Ordering::Release);
    }

    pub(crate) fn is_recovered(&self) -> bool {
        self.recovered.load(Ordering::Acquire)
    }

    fn check_recovered(&self) -> Result<(), ReplicaError> {
        match self.is_recovered() {
            true => Ok(()),
            false => Err(ReplicaError::NotRecovered),
        }
    }

    /// Returns a repository that may be read.
    pub(crate) fn readable(&self, name: &RepositoryName) -> Result<(Arc<Entry>, Arc<Current>), ReplicaError> {
        self.check_recovered()?;
        let entry = self.entry(name).ok_or_else(|| ReplicaError::NotFound(name.clone()))?;
        let current = entry.current();
        match &current.quarantine {
            Some(reason) => Err(ReplicaError::Quarantined { name: name.clone(), reason: reason.clone() }),
            None => Ok((entry, current)),
        }
    }

    pub(crate) fn note_seen(&self, record: &Record) -> Result<(), ReplicaError> {
        let mut known = self.known();
        let expected = *known.log.get_or_insert(record.log);
        if expected != record.log {
            return Err(ReplicaError::OtherLog { sequence: record.sequence, found: record.log, expected });
        }
        if known.seen.is_none_or(|(seen, _)| seen < record.sequence) {
            known.seen = Some((record.sequence, record.chain_hash()));
        }
        Ok(())
    }

    /// Nothing is left to do for a record.
    pub(crate) fn done(&self, sequence: Sequence) {
        self.known().positions.done(sequence);
        self.applied.notify_all();
        self.volatile.wake();
    }

    /// Returns what is kept of the server itself.
    pub(crate) fn server_row(&self) -> ServerRow {
        let known = self.known();
        ServerRow {
            incarnation: self.incarnation,
            same_boot: true,
            log: known.log,
            position: known.positions.position(),
            durable: known.positions.durable(),
            seen: known.seen,
        }
    }

    /// Puts a repository into quarantine.
    pub(crate) fn quarantine(&self, entry: &Entry, reason: String) -> Result<Outcome, ReplicaError> {
        tracing::error!(repository = entry.name.as_str(), reason, "repository put into quarantine");
        entry.refuse(&reason);
        self.known().positions.forget(&entry.name);
        self.state.set_quarantine(entry.id, &reason)?;
        Ok(Outcome::Quarantined(reason))
    }

    fn open_snapshot(&self, name: &RepositoryName) -> Option<Arc<Snapshot>> {
        let (entry, _) = self.readable(name).ok()?;
        let _stays = entry.place.try_read().ok()?;
        if !self.is_there(&entry) {
            return None;
        }
        let current = entry.current();
        current.opened.touch(&self.clock);
        current.opened.snapshot.try_lock().ok()?.clone()
    }

    pub(crate) fn shared_snapshot(&self, name: &RepositoryName) -> Result<Arc<Snapshot>, ReplicaError> {
        let (entry, _) = self.readable(name)?;
        let stays = entry.place.read().unwrap_or_else(PoisonError::into_inner);
        if !self.is_there(&entry) {
            drop(stays);
            return self.shared_snapshot(name);
        }
        let current = entry.current();
        current.opened.touch(&self.clock);
        let mut opened = current.opened.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(snapshot) = &*opened {
            return Ok(snapshot.clone());
        }
        self.index_once(&entry);
        let repository = {
            let mut repository = entry.repository.lock().unwrap_or_else(PoisonError::into_inner);
            match &*repository {
                Some(repository) => repository.clone(),
                None => {
                    let opened = Repository::open_indexed(&self.place(name), &self.folders.index(entry.created))?;
                    repository.insert(opened).clone()
                }
            }
        };
        let snapshot = Arc::new(repository.snapshot(current.state.clone())?);
        *opened = Some(snapshot.clone());
        drop(opened);
        self.keep_open(&entry);
        Ok(snapshot)
    }

    /// A repository in an older tree has no index here until somebody reads it.
    fn index_once(&self, entry: &Entry) {
        if entry.tree().is_some() && !entry.is_indexed.swap(true, Ordering::Relaxed) {
            self.volatile.index_later(&entry.name);
        }
    }

    /// Notes that a repository is open; closes the one that was not asked for for the longest time, where there are too many.
    fn keep_open(&self, entry: &Arc<Entry>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.iter().any(|other| Arc::ptr_eq(other, entry)) {
            return;
        }
        open.push(entry.clone());
        if open.len() > OPEN_MAX {
            let asked = |at: &usize| open[*at].current().opened.used.load(Ordering::Relaxed);
            if let Some(longest_ago) = (0..OPEN_MAX).min_by_key(asked) {
                let closed = open.swap_remove(longest_ago);
                *closed.current().opened.snapshot.lock().unwrap_or_else(PoisonError::into_inner) = None;
                *closed.repository.lock().unwrap_or_else(PoisonError::into_inner) = None;
            }
        }
    }
}
