//! Applying a change to a store, under Mercurial's own lock and journal.
//!
//! Bytes are written at absolute offsets, small files and split indexes are exchanged by rename in their directory,
//! and nothing is ever truncated, so readers that have files mapped are safe. The order is the change's own, which
//! leaves every prefix harmless to a plain `hg` that only reads. One that *wrote* on a prefix would take half written
//! revisions for known ones; so while an apply goes on, `store/journal` lists the old lengths as an interrupted
//! transaction of stock Mercurial would: it refuses to write, and its `hg recover` cuts the store back. Whatever is
//! left of an interrupted apply, the same change with [`ApplyMode::Redo`] completes.
//!
//! # Limitations
//! Nothing is brought to disk here but by [`sync`]: after a power cut the store may have any part of a change, and of
//! its journal, until it is redone.

mod directories;
mod journal;
mod lock;
mod stat;
mod sync;
mod write;

use std::io;
use std::path::Path;
use std::time::Duration;

use crate::change::ChangeRef;

pub use directories::Directories;
pub use lock::{LockScope, StoreLock};
pub use stat::StoreStat;
pub use sync::{SyncPaths, sync};

/// How long [`apply`] waits for a store's lock.
const LOCK_WAIT: Duration = Duration::from_secs(10);

/// How a change is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApplyMode {
    /// The store is exactly what the change was made for: old lengths and what exists are checked before the first
    /// byte.
    Normal,
    /// Again, over whatever an interrupted apply left: the same bytes at the same absolute offsets, no check, nothing
    /// left out because it looks done.
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
    /// There is an interrupted transaction: of stock Mercurial, whose `hg recover` has to be run, or of an apply that
    /// has to be redone.
    #[error("the store has an interrupted transaction")]
    Interrupted,
    /// A file is not as the change expects it. Nothing was written.
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

impl ApplyError {
    pub(crate) fn io<E: Into<io::Error>>(verb: &'static str, path: &[u8]) -> impl FnOnce(E) -> Self {
        let path = path.escape_ascii().to_string();
        move |source| Self::Io { verb, path, source: source.into() }
    }

    fn unexpected(path: &[u8], why: impl Into<String>) -> Self {
        Self::Unexpected { path: path.escape_ascii().to_string(), why: why.into() }
    }

    /// Returns what the system said, where a system call failed.
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        match self {
            Self::Io { source, .. } => Some(source.kind()),
            _ => None,
        }
    }
}

/// One thing that an apply is about to do.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// What, for example `write`.
    pub verb: &'static str,
    /// To which path below `.hg`.
    pub path: &'a [u8],
}

/// An apply with everything that can be set.
pub struct Apply<'a> {
    /// How.
    pub mode: ApplyMode,
    /// Paths whose operations are left out: in a redo of several changes, those that a later one replaces anyhow.
    pub skip: &'a dyn Fn(&[u8]) -> bool,
    /// Asked before each system call that alters anything; its error ends the apply there, as a kill would.
    pub step: &'a mut dyn FnMut(Step<'_>) -> io::Result<()>,
}

impl Apply<'_> {
    /// Applies `change` to the store that `lock` is of.
    ///
    /// # Errors
    /// See [`apply`].
    pub fn run(self, lock: &StoreLock, change: &ChangeRef<'_>) -> Result<(), ApplyError> {
        write::run(self, lock, change)
    }
}

/// Applies `change` to the store in `hg`, a `.hg` directory.
///
/// # Errors
/// See [`ApplyError`]. Whatever was written by then stays, with a journal that keeps plain `hg` from writing; the
/// same call with [`ApplyMode::Redo`] completes it.
pub fn apply(hg: &Path, change: &ChangeRef<'_>, mode: ApplyMode) -> Result<(), ApplyError> {
    let lock = StoreLock::acquire(hg, LockScope::for_change(change), LOCK_WAIT)?;
    apply_locked(&lock, change, mode)
}

/// Applies `change` as [`apply`] does, under a lock that the caller holds.
///
/// # Errors
/// As for [`apply`].
pub fn apply_locked(lock: &StoreLock, change: &ChangeRef<'_>, mode: ApplyMode) -> Result<(), ApplyError> {
    Apply { mode, skip: &|_| false, step: &mut |_| Ok(()) }.run(lock, change)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
