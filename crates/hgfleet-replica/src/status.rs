//! What a replica tells of a repository.

use std::path::PathBuf;

use hg_store::SnapshotState;
use hgfleet_log::{RepositoryName, Sequence};

use crate::repository::Entry;

/// A repository as of one sequence: everything that a reader needs to see just that.
#[derive(Debug, Clone)]
pub struct RepositorySnapshot {
    /// The repository's folder, with `.hg` in it.
    pub path: PathBuf,
    /// The folder of its index, for `Repository::open_indexed`: moved forward a moment after each record, and never
    /// needed.
    pub index: PathBuf,
    /// Lengths and small files.
    pub state: SnapshotState,
    /// The repository's last record that is in it.
    pub sequence: Sequence,
    /// Digest of the store's state, which is also that record's `after`.
    pub digest: [u8; 32],
    /// Which `.hg` it is: at the same path there may be another one in a moment.
    pub folder: FolderId,
}

/// What tells a directory from every other one that is there at the same time: its device, and its number there.
pub type FolderId = (u64, u64);

pub(crate) fn folder_id(stat: &rustix::fs::Stat) -> FolderId {
    (stat.st_dev, stat.st_ino)
}

/// A repository that was deleted, and is kept aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletedRepository {
    /// The record that deleted it.
    pub sequence: Sequence,
    /// Its name then.
    pub name: RepositoryName,
    /// When, by the record: Unix time in milliseconds.
    pub at_ms: u64,
}

/// One repository, for lists and for the status of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryStatus {
    /// Its name.
    pub name: RepositoryName,
    /// The record that made it: what tells it from another of the same name.
    pub created: Sequence,
    /// Its last record that is applied here.
    pub sequence: Sequence,
    /// Digest of the store's state after it.
    pub digest: [u8; 32],
    /// Why it is neither read nor written, where it isn't.
    pub quarantine: Option<String>,
    /// Bytes of its files, those that count for the digest.
    pub bytes: u64,
}

impl RepositoryStatus {
    pub(crate) fn of(entry: &Entry) -> Self {
        let current = entry.current();
        Self {
            name: entry.name.clone(),
            created: entry.created,
            sequence: current.sequence,
            digest: current.digest,
            quarantine: current.quarantine.clone(),
            bytes: current.bytes,
        }
    }
}
