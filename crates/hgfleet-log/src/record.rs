//! One record of the log. Its bytes are described in `docs/formats/record.md`.

mod decode;
mod encode;
#[cfg(test)]
mod tests;

use std::fmt;

use crate::ids::{ChainHash, Epoch, LogId, RecordId, Sequence};
use crate::name::{NameError, RepositoryName};

/// Bounds on what a record holds. All are checked when a record is made and when one is read, before
/// anything is allocated.
pub mod limits {
    /// Longest encoded record, in bytes, its change not counted.
    pub const RECORD_BYTES_MAX: usize = 4 << 20;
    /// Longest summary of a change, in bytes. A longer one must be shortened by who makes the record.
    pub const SUMMARY_BYTES_MAX: usize = 3 << 20;
    /// Longest change of a store, in bytes.
    pub const CHANGE_BYTES_MAX: u64 = 1 << 36;
    /// Longest name of an epoch's holder, in bytes.
    pub const HOLDER_BYTES_MAX: usize = 255;
    /// Longest name of who pushed, in bytes.
    pub const WHO_BYTES_MAX: usize = 1024;
    /// Longest description of where a push came from, in bytes.
    pub const SOURCE_BYTES_MAX: usize = 1024;
}

/// One record, as the log holds it.
///
/// Made by [`Draft::seal`](crate::Draft::seal) or by [`Record::decode`], so that it is within all bounds and
/// its hash is that of its bytes; whoever changes a field has no record of the log any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The log that it belongs to.
    pub log: LogId,
    /// Its place there.
    pub sequence: Sequence,
    /// The epoch under which it was appended; an epoch record begins the one that it names.
    pub epoch: Epoch,
    /// Hash of the record before it; [`ChainHash::NONE`] in the first.
    pub previous: ChainHash,
    /// Its own name, chosen before it was appended.
    pub id: RecordId,
    /// When it was made, by its maker's clock: Unix time in milliseconds. For people; nothing is decided by it.
    pub time_ms: u64,
    /// What it says.
    pub body: Body,
    pub(crate) hash: ChainHash,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "nearly all records are of stores, and a box would cost each of them")]
pub enum Body {
    /// The log changed hands: the record's epoch begins.
    Epoch {
        /// Name of the server that holds it.
        holder: String,
    },
    /// Nothing. It takes a place, so that an append with unknown outcome can't take it any more.
    Empty,
    /// A repository was made, altered, deleted, brought back, renamed or rewritten.
    Store(StoreRecord),
    /// What was kept of a deleted repository is given up.
    Purge {
        /// The record that deleted it.
        deleted: Sequence,
    },
}

/// A change of one store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreRecord {
    /// The repository.
    pub repository: RepositoryName,
    /// What happens to it.
    pub kind: StoreKind,
    /// Digest of the store's state that the change starts from: absent for [`StoreKind::Create`] and [`StoreKind::Restore`],
    /// optional for [`StoreKind::Delete`], else present.
    pub before: Option<[u8; 32]>,
    /// Digest of the state that it leads to: absent for [`StoreKind::Delete`], else present.
    pub after: Option<[u8; 32]>,
    /// The account that asked for it, at most [`limits::WHO_BYTES_MAX`] bytes.
    pub who: String,
    /// Where it came from (for example `ssh:192.0.2.7`), at most [`limits::SOURCE_BYTES_MAX`] bytes.
    pub source: String,
    /// What moved, for people and notifiers. Opaque to the log; at most [`limits::SUMMARY_BYTES_MAX`] bytes.
    pub summary: Vec<u8>,
    /// The change itself, which lies beside the record.
    pub change: ChangePayload,
}

/// What a [`StoreRecord`] does to its repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// It begins to exist.
    Create,
    /// Its store changes.
    Alter,
    /// It ceases to exist; what it was is kept aside, until a [`Body::Purge`].
    Delete,
    /// It gets the record's name, and is what it was. Both digests are the same.
    Rename {
        /// Its name so far.
        from: RepositoryName,
    },
    /// It exists again, under the record's name, as it was when it was deleted.
    Restore {
        /// The record that deleted it.
        deleted: Sequence,
    },
    /// Its store is exchanged for a new one: the change is applied to a copy, and readers of the old one keep that.
    Rewrite,
}

/// How to know a change's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangePayload {
    /// How many they are; 0 where a record carries no change.
    pub bytes: u64,
    /// BLAKE3 over them.
    pub digest: [u8; 32],
}

impl ChangePayload {
    /// Returns the description of these bytes.
    pub fn of(bytes: &[u8]) -> ChangePayload {
        ChangePayload { bytes: bytes.len() as u64, digest: *blake3::hash(bytes).as_bytes() }
    }
}

/// Why bytes are no record, or why a record can't be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Fewer bytes than it says, or than any record has.
    #[error("cut short: {have} of {need} bytes")]
    Short {
        /// Bytes that are there.
        have: usize,
        /// Bytes that there must be at least.
        need: usize,
    },
    /// More bytes than it says.
    #[error("{0} bytes follow its end")]
    Trailing(usize),
    /// It doesn't begin as a record does.
    #[error("not a record: wrong magic")]
    Magic,
    /// Made by a version of hgfleet that this one doesn't know.
    #[error("record format version {0} is unknown here; this server is older than the one that wrote it")]
    Version(u16),
    /// Of a kind that this version doesn't know.
    #[error("record kind {0} is unknown here; this server is older than the one that wrote it")]
    Kind(u16),
    /// Its bytes are not those that were written.
    #[error("its digest does not match its bytes")]
    Digest,
    /// A field is beyond its bound.
    #[error("{field}: {value} is more than {max}")]
    TooLarge {
        /// Which.
        field: &'static str,
        /// What it has.
        value: u64,
        /// What it may have.
        max: u64,
    },
    /// A field has a value that no writer writes.
    #[error("{0} has a value that is not allowed")]
    Field(&'static str),
    /// The repository's name breaks the grammar.
    #[error("repository name: {0}")]
    Name(#[from] NameError),
}

impl Record {
    /// Returns the hash by which the next record names this one: BLAKE3 over its encoded bytes.
    pub fn chain_hash(&self) -> ChainHash {
        self.hash
    }

    /// Returns what it says of a store, if it does.
    pub fn store(&self) -> Option<&StoreRecord> {
        match &self.body {
            Body::Store(store) => Some(store),
            Body::Epoch { .. } | Body::Empty | Body::Purge { .. } => None,
        }
    }

    /// Returns the repositories that must have no other record under way while this one is applied: the one that it names, and the
    /// name that it takes away.
    pub fn repositories(&self) -> impl Iterator<Item = &RepositoryName> {
        let from = self.store().and_then(|store| match &store.kind {
            StoreKind::Rename { from } => Some(from),
            _ => None,
        });
        self.store().map(|store| &store.repository).into_iter().chain(from)
    }

    /// Whether it says which repositories there are, and not only what is in one.
    pub fn is_of_names(&self) -> bool {
        match &self.body {
            Body::Epoch { .. } | Body::Empty => false,
            Body::Store(store) => store.kind != StoreKind::Alter,
            Body::Purge { .. } => true,
        }
    }

    /// Whether it is applied only once all records before it are, whatever they are about. It moves folders, and is never
    /// redone: either all of it has happened, or the next start finds everything before it on disk.
    pub fn is_barrier(&self) -> bool {
        self.is_of_names() && self.store().is_none_or(|store| store.kind != StoreKind::Create)
    }

    /// Returns how many bytes of change lie beside it.
    pub fn change_bytes(&self) -> u64 {
        self.store().map_or(0, |store| store.change.bytes)
    }
}

impl fmt::Display for StoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StoreKind::Create => "create",
            StoreKind::Alter => "alter",
            StoreKind::Delete => "delete",
            StoreKind::Rename { .. } => "rename",
            StoreKind::Restore { .. } => "restore",
            StoreKind::Rewrite => "rewrite",
        })
    }
}
