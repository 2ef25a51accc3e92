//! The replica.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hg_store::Snapshot;
use hg_store::change::ChangeRef;
use hgfleet_log::{ChainHash, Incarnation, LogId, Record, RepositoryName, Sequence};

use crate::{ReplicaError, RepositorySnapshot, RepositoryStatus};

/// Where [`Replica::recover`] gets records from: the log, or what a mirror has staged. `None`: there is none with
/// this sequence, or not any more. The bytes are the record's change, empty where it has none.
pub type RedoSource<'a> = dyn FnMut(Sequence) -> io::Result<Option<(Record, Box<dyn AsRef<[u8]>>)>> + 'a;

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

/// What [`Replica::recover`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Records that were written again.
    pub redone: u64,
    /// Repositories that are in quarantine since, and why.
    pub quarantined: Vec<(RepositoryName, String)>,
}

/// One server's copy of the stores. `Send` and `Sync`; calls for different repositories run side by side.
#[derive(Debug)]
pub struct Replica {
    dir: PathBuf,
}

impl Replica {
    /// Opens the server's folder, made where it is missing. [`Self::recover`] must follow before anything is served
    /// or applied.
    ///
    /// # Errors
    /// The folder or its `state.sqlite` can't be used.
    pub fn open(dir: &Path) -> Result<Self, ReplicaError> {
        Ok(Self { dir: dir.to_owned() })
    }

    /// Redoes whatever may lie half written since the data was last known to be on disk, from the durable sequence to
    /// the intent, and compares digests. `end` is the highest sequence that this server may have begun to apply: for a
    /// master the log's end, for a mirror the view's visible position. (The kept intent is enough after a killed
    /// process, but not after a power cut: it is not fsynced on the way of a push.)
    ///
    /// # Errors
    /// Only what concerns the whole server; a repository that can't be brought back is in quarantine.
    pub fn recover(&self, end: Option<Sequence>, source: &mut RedoSource<'_>) -> Result<Recovery, ReplicaError> {
        let _ = source;
        todo!("{end:?} {:?}", self.dir)
    }

    /// Tries again with one repository in quarantine: redoes from its durable sequence up to `end`. Whatever kept it
    /// from applying (a full disk, a file that was altered) must be out of the way.
    ///
    /// # Errors
    /// Only what concerns the whole server; it tells whether the repository is back.
    pub fn retry(
        &self,
        name: &RepositoryName,
        end: Option<Sequence>,
        source: &mut RedoSource<'_>,
    ) -> Result<Outcome, ReplicaError> {
        let _ = source;
        todo!("{name:?} {end:?}")
    }

    /// Returns which life of this disk this is.
    pub fn incarnation(&self) -> Incarnation {
        todo!()
    }

    /// Returns the log that this server follows, once it has taken a record.
    pub fn log(&self) -> Option<LogId> {
        todo!()
    }

    /// Returns the highest record that this server ever took notice of.
    pub fn seen(&self) -> Option<(Sequence, ChainHash)> {
        todo!()
    }

    /// Keeps that the log has `record`, without applying it.
    ///
    /// # Errors
    /// A record of another log; `state.sqlite` can't be written.
    pub fn note_seen(&self, record: &Record) -> Result<(), ReplicaError> {
        todo!("{record:?}")
    }

    /// Returns the sequence up to which no repository lacks a record. Those in quarantine don't count.
    pub fn position(&self) -> Option<Sequence> {
        todo!()
    }

    /// Returns the sequence up to which everything that was applied is on disk, durably. At most [`Self::position`].
    pub fn durable_position(&self) -> Option<Sequence> {
        todo!()
    }

    /// Returns the last record of one repository that is applied here; `None` where there is no such repository. No I/O.
    pub fn position_of(&self, name: &RepositoryName) -> Option<Sequence> {
        todo!("{name:?}")
    }

    /// Returns all repositories, by name.
    pub fn repositories(&self) -> Vec<RepositoryStatus> {
        todo!()
    }

    /// Returns what a reader of this repository needs. No I/O.
    ///
    /// # Errors
    /// [`ReplicaError::NotFound`], [`ReplicaError::Quarantined`].
    pub fn snapshot(&self, name: &RepositoryName) -> Result<RepositorySnapshot, ReplicaError> {
        todo!("{name:?}")
    }

    /// Returns an opened snapshot of this repository, shared with all who ask before the next record.
    ///
    /// # Errors
    /// As for [`Self::snapshot`], and what opening it finds.
    pub fn shared_snapshot(&self, name: &RepositoryName) -> Result<Arc<Snapshot>, ReplicaError> {
        todo!("{name:?}")
    }

    /// Returns the digest that `change` leads to from this repository's state, having checked that the change fits it:
    /// paths, old lengths, what exists. For the commit, before the append; nothing is written.
    ///
    /// # Errors
    /// [`ReplicaError::Digest`] where it does not fit; [`ReplicaError::NotFound`], [`ReplicaError::Quarantined`].
    pub fn digest_after(&self, name: &RepositoryName, change: &ChangeRef<'_>) -> Result<[u8; 32], ReplicaError> {
        todo!("{name:?} {change:?}")
    }

    /// Returns the digest of a new repository whose whole content is `change`, having checked that it may have this
    /// name: none of that name, none inside it, and it inside none.
    ///
    /// # Errors
    /// [`ReplicaError::NameTaken`]; [`ReplicaError::Digest`] where the change does more than create files.
    pub fn digest_of_new(&self, name: &RepositoryName, change: &ChangeRef<'_>) -> Result<[u8; 32], ReplicaError> {
        todo!("{name:?} {change:?}")
    }

    /// Applies a record: in log order for each repository; records that say nothing of a store move the position.
    ///
    /// # Errors
    /// Only what concerns the whole server: another log's record, a failing `state.sqlite`. Whatever is wrong with the
    /// repository or the change puts the repository into quarantine, see [`Outcome`].
    pub fn apply(&self, record: &Record, change: &[u8]) -> Result<Outcome, ReplicaError> {
        todo!("{record:?} {change:?}")
    }

    /// Brings everything that was applied so far to disk and moves the durable sequence. A thread of the replica's own
    /// does so a moment after each apply; this is for an orderly end.
    ///
    /// # Errors
    /// A failed fsync, after which nothing more may be believed: the process should end and recover.
    pub fn sync(&self) -> Result<(), ReplicaError> {
        todo!()
    }

    /// Recomputes a repository's digest from its files, and returns it with the kept one. Records must not be applied
    /// to it meanwhile; the call waits for one that is.
    ///
    /// # Errors
    /// As for [`Self::snapshot`], and files that can't be read.
    pub fn scrub(&self, name: &RepositoryName) -> Result<([u8; 32], [u8; 32]), ReplicaError> {
        todo!("{name:?}")
    }

    /// Returns how many bytes are free on the disk that the stores are on.
    ///
    /// # Errors
    /// Where the system does not tell.
    pub fn free_bytes(&self) -> Result<u64, ReplicaError> {
        todo!()
    }
}
