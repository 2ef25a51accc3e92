//! Applying a change to a store, under Mercurial's own lock and journal.

use std::io;
use std::path::Path;
use std::time::Duration;

use crate::change::ChangeRef;

/// How a change is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApplyMode {
    /// The store is exactly what the change was made for: old lengths and what exists are checked.
    Normal,
    /// Again, over whatever an interrupted apply left: the same bytes at the same absolute offsets, no check.
    Redo,
}

/// Why a change could not be applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Someone else holds the store's lock.
    #[error("the store is locked by {holder}")]
    Locked {
        /// What the lock says: host and process.
        holder: String,
    },
    /// An interrupted transaction that is not ours: `hg recover` has to be run first.
    #[error("the store has an interrupted transaction")]
    Interrupted,
    /// A file is not as the change expects it.
    #[error("{path} is not as the change expects it: {why}")]
    Unexpected {
        /// The path below `.hg`, printable.
        path: String,
        /// What is different.
        why: String,
    },
    /// A system call failed.
    #[error("cannot {verb} {path}: {source}")]
    Io {
        /// What was tried.
        verb: &'static str,
        /// The path below `.hg`, printable.
        path: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Mercurial's lock on a store, held until it is dropped.
#[derive(Debug)]
pub struct StoreLock {
    _hg: std::path::PathBuf,
}

/// Which of Mercurial's locks to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockScope {
    /// `store/lock`: all that lies in the store.
    Store,
    /// `wlock` before it: also the files beside the store, bookmarks among them where the store has them there.
    All,
}

impl StoreLock {
    /// Takes the lock as stock Mercurial does, and breaks one whose owner is dead on this host. Waits up to `wait`.
    ///
    /// # Errors
    /// [`ApplyError::Locked`] after `wait`; a failing system call.
    pub fn acquire(hg: &Path, scope: LockScope, wait: Duration) -> Result<Self, ApplyError> {
        todo!("{hg:?} {scope:?} {wait:?}")
    }
}

/// Applies `change` as [`apply`] does, under a lock that the caller holds.
///
/// # Errors
/// As for [`apply`].
pub fn apply_locked(lock: &StoreLock, hg: &Path, change: &ChangeRef<'_>, mode: ApplyMode) -> Result<(), ApplyError> {
    todo!("{lock:?} {hg:?} {change:?} {mode:?}")
}

/// Brings what `change` wrote to disk: the files that it touched and their directories.
///
/// # Errors
/// A failing system call; the data may or may not be on disk then.
pub fn sync(hg: &Path, change: &ChangeRef<'_>) -> Result<(), ApplyError> {
    todo!("{hg:?} {change:?}")
}

/// Applies `change` to the store in `hg`, a `.hg` directory.
///
/// # Errors
/// See [`ApplyError`]. Whatever was written by then stays, with a journal that keeps plain `hg` from writing; the
/// same call with [`ApplyMode::Redo`] completes it.
pub fn apply(hg: &Path, change: &ChangeRef<'_>, mode: ApplyMode) -> Result<(), ApplyError> {
    todo!("{hg:?} {change:?} {mode:?}")
}
