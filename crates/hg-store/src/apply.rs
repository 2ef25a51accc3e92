//! Applying a change to a store, under Mercurial's own lock and journal.

use std::io;
use std::path::Path;

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

/// Applies `change` to the store in `hg`, a `.hg` directory.
///
/// # Errors
/// See [`ApplyError`]. Whatever was written by then stays, with a journal that keeps plain `hg` from writing; the
/// same call with [`ApplyMode::Redo`] completes it.
pub fn apply(hg: &Path, change: &ChangeRef<'_>, mode: ApplyMode) -> Result<(), ApplyError> {
    todo!("{hg:?} {change:?} {mode:?}")
}
