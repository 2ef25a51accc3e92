//! What can go wrong.

use std::io;
use std::path::{Path, PathBuf};

use hg_store::StoreError;
use hg_store::change::ChangeError;
use hg_store::digest::DigestError;
use hgfleet_log::{LogId, RepositoryName, Sequence};

/// Why a replica could not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    /// There is no such repository at this server's position.
    #[error("no repository {}", .0.as_str())]
    NotFound(RepositoryName),
    /// The repository is in quarantine: neither read nor written until it was repaired.
    #[error("repository {} is out of service on this server: {reason}", name.as_str())]
    Quarantined {
        /// Which.
        name: RepositoryName,
        /// Why.
        reason: String,
    },
    /// A name that can't be given to a new repository.
    #[error("{} can't be created: {other} {why}", name.as_str(), other = other.as_str())]
    NameTaken {
        /// The name that was asked for.
        name: RepositoryName,
        /// The repository that is in the way.
        other: RepositoryName,
        /// How.
        why: &'static str,
    },
    /// A record of another log than this server follows.
    #[error("record {sequence} belongs to log {found}, this server follows log {expected}")]
    OtherLog {
        /// The record.
        sequence: Sequence,
        /// Its log.
        found: LogId,
        /// This server's.
        expected: LogId,
    },
    /// A change that is none, or that breaks the rules.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// A change that does not fit the store, or a store that can't be read.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// A store that can't be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record that is needed could not be read.
    #[error("cannot read record {sequence}: {source}")]
    Source {
        /// The record.
        sequence: Sequence,
        /// What its keeper said.
        source: io::Error,
    },
    /// A copy of a repository can't be used.
    #[error("the copy of {} can't be used: {what}", name.as_str())]
    Copy {
        /// The repository.
        name: RepositoryName,
        /// What is wrong with it.
        what: String,
    },
    /// Nothing is kept of what a record deleted.
    #[error("nothing is kept here of what record {0} deleted")]
    NotKept(Sequence),
    /// The server's folder is in use by another process.
    #[error("{} is in use by another process; stop that one first", .0.display())]
    InUse(PathBuf),
    /// Something was asked for before [`crate::Replica::recover`] was called.
    #[error("the stores have not been recovered yet")]
    NotRecovered,
    /// Data could not be brought to disk. Nothing is believed any more: the process has to end, the next one recovers.
    #[error("data could not be brought to disk: {0}")]
    NotDurable(String),
    /// The kept state can't be read or written.
    #[error("{}: {source}", path.display())]
    State {
        /// `state.sqlite`.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The kept state is not what this program writes.
    #[error("{}: {what}", path.display())]
    Format {
        /// `state.sqlite`.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A system call failed.
    #[error("cannot {verb} {}: {source}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl ReplicaError {
    /// Whether the kept state could not be written because its disk is full: nothing was, and it may be tried again.
    pub fn is_full(&self) -> bool {
        match self {
            Self::State { source, .. } => source.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull),
            _ => false,
        }
    }

    pub(crate) fn io<E: Into<io::Error>>(verb: &'static str, path: &Path) -> impl FnOnce(E) -> Self {
        move |source| Self::Io { verb, path: path.to_owned(), source: source.into() }
    }
}
