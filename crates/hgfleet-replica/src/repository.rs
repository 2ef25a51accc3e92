//! One repository in memory.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use hg_store::apply::StoreStat;
use hg_store::digest::DigestUpdate;
use hg_store::{Repository, Snapshot, SnapshotState};
use hgfleet_log::{RepositoryName, Sequence};

use crate::state::RepositoryRow;

/// A repository that a record made. Another of the same name later is another one of these.
pub(crate) struct Entry {
    pub(crate) name: RepositoryName,
    pub(crate) id: i64,
    pub(crate) created: Sequence,
    /// Held by who alters the store.
    writer: Mutex<Writer>,
    shown: RwLock<Shown>,
    totals: Arc<Totals>,
    /// Held by who opens the folder, so that it is still the one that this entry is of; and by who moves it.
    pub(crate) place: RwLock<()>,
    /// The store, opened when first asked for.
    pub(crate) repository: Mutex<Option<Arc<Repository>>>,
    /// The older tree of a shared volume in which it lies.
    tree: RwLock<Option<u64>>,
    /// An index was asked for while it lay there.
    pub(crate) is_indexed: AtomicBool,
    /// When all files were last read and found to be as kept: Unix time in milliseconds; 0, never.
    pub(crate) scrubbed_ms: AtomicU64,
}

/// Sums over a server's repositories, so that nobody has to look at ten thousand of them for a sign of life.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    /// Bytes of all files that count for digests.
    pub(crate) bytes: AtomicU64,
    /// Repositories that are neither read nor written.
    pub(crate) quarantined: AtomicUsize,
}

struct Shown {
    current: Arc<Current>,
    /// It is among the server's repositories, and counted in its [`Totals`].
    is_counted: bool,
}

/// What only the writer needs.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) stat: StoreStat,
    /// The last record that was begun.
    pub(crate) intent: Sequence,
    /// The last record that is on disk.
    pub(crate) durable: Option<Sequence>,
    /// What was computed for a commit, to be used by its apply.
    pub(crate) computed: Option<Computed>,
}

#[derive(Debug)]
pub(crate) struct Computed {
    /// The state's digest before the change.
    pub(crate) before: [u8; 32],
    /// The change's own digest.
    pub(crate) change: [u8; 32],
    pub(crate) update: DigestUpdate,
}

/// What readers need.
pub(crate) struct Current {
    pub(crate) sequence: Sequence,
    pub(crate) digest: [u8; 32],
    pub(crate) state: SnapshotState,
    pub(crate) quarantine: Option<String>,
    /// Bytes of all files that count for the digest.
    pub(crate) bytes: u64,
    pub(crate) opened: Opened,
}

/// A snapshot that readers share, opened by the first of them.
#[derive(Default)]
pub(crate) struct Opened {
    pub(crate) snapshot: Mutex<Option<Arc<Snapshot>>>,
    /// When it was last asked for, by a count of such requests.
    pub(crate) used: AtomicU64,
}

impl Entry {
    pub(crate) fn new(row: RepositoryRow, totals: &Arc<Totals>) -> Self {
        let RepositoryRow {
            id, name, created, sequence, intent, durable, digest, state, stat, quarantine, tree, ..
        } = row;
        let current = Current { sequence, digest, state, quarantine, bytes: row.bytes, opened: Opened::default() };
        Self {
            name,
            id,
            created,
            writer: Mutex::new(Writer { stat, intent, durable, computed: None }),
            shown: RwLock::new(Shown { current: Arc::new(current), is_counted: false }),
            totals: totals.clone(),
            place: RwLock::new(()),
            scrubbed_ms: AtomicU64::new(row.scrubbed_ms.unwrap_or(0)),
            repository: Mutex::default(),
            tree: RwLock::new(tree),
            is_indexed: AtomicBool::new(false),
        }
    }

    pub(crate) fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn current(&self) -> Arc<Current> {
        self.shown.read().unwrap_or_else(PoisonError::into_inner).current.clone()
    }

    /// Returns the older tree of a shared volume in which it lies; none where it lies in the server's folder.
    pub(crate) fn tree(&self) -> Option<u64> {
        *self.tree.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whoever asks from the next record on opens it anew: it asks something else of its readers.
    pub(crate) fn reopen(&self) {
        *self.repository.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// It lies in the server's folder now: whoever asks from here on reads it there.
    pub(crate) fn is_here(&self) {
        *self.tree.write().unwrap_or_else(PoisonError::into_inner) = None;
        *self.repository.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let current = self.current();
        self.set(Current {
            sequence: current.sequence,
            digest: current.digest,
            state: current.state.clone(),
            quarantine: current.quarantine.clone(),
            bytes: current.bytes,
            opened: Opened::default(),
        });
    }

    /// Shows readers what the repository is after a record.
    pub(crate) fn show(&self, sequence: Sequence, digest: [u8; 32], state: SnapshotState, bytes: u64) {
        self.set(Current { sequence, digest, state, quarantine: None, bytes, opened: Opened::default() });
    }

    /// Refuses readers from now on.
    pub(crate) fn refuse(&self, reason: &str) {
        let current = self.current();
        self.set(Current {
            sequence: current.sequence,
            digest: current.digest,
            state: current.state.clone(),
            quarantine: Some(reason.to_owned()),
            bytes: current.bytes,
            opened: Opened::default(),
        });
    }

    fn set(&self, current: Current) {
        let mut shown = self.shown.write().unwrap_or_else(PoisonError::into_inner);
        if shown.is_counted {
            self.totals.add(&current);
            self.totals.take(&shown.current);
        }
        shown.current = Arc::new(current);
    }

    /// It is one of the server's repositories from now on, or no more.
    pub(crate) fn count(&self, is_counted: bool) {
        let mut shown = self.shown.write().unwrap_or_else(PoisonError::into_inner);
        match (std::mem::replace(&mut shown.is_counted, is_counted), is_counted) {
            (false, true) => self.totals.add(&shown.current),
            (true, false) => self.totals.take(&shown.current),
            _ => {}
        }
    }
}

impl Totals {
    fn add(&self, current: &Current) {
        self.bytes.fetch_add(current.bytes, Ordering::Relaxed);
        self.quarantined.fetch_add(usize::from(current.quarantine.is_some()), Ordering::Relaxed);
    }

    fn take(&self, current: &Current) {
        self.bytes.fetch_sub(current.bytes, Ordering::Relaxed);
        self.quarantined.fetch_sub(usize::from(current.quarantine.is_some()), Ordering::Relaxed);
    }
}

impl Opened {
    pub(crate) fn touch(&self, clock: &AtomicU64) {
        self.used.store(clock.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
    }
}
