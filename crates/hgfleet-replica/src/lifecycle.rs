//! Records by which a repository begins to exist.

use std::path::PathBuf;
use std::sync::PoisonError;
use std::time::Duration;

use hg_store::Repository;
use hg_store::apply::{ApplyMode, LockScope, StoreLock, StoreStat, apply_locked};
use hg_store::digest::DigestUpdate;
use hgfleet_log::{RepositoryName, Sequence, StoreRecord};

use crate::ReplicaError;
use crate::alter::{Obstacle, at, grown, parse};
use crate::replica::{Inner, Outcome};
use crate::state::{Advance, RepositoryRow};

impl Inner {
    /// Checks that a new repository may have this name.
    pub(crate) fn check_name(&self, name: &RepositoryName) -> Result<(), ReplicaError> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let taken =
            |other: &RepositoryName, why| ReplicaError::NameTaken { name: name.clone(), other: other.clone(), why };
        for other in entries.keys() {
            if other == name {
                return Err(taken(other, "exists already"));
            }
            if other.is_inside(name) {
                return Err(taken(other, "lies inside it"));
            }
            if name.is_inside(other) {
                return Err(taken(other, "is a repository, and none may lie inside another"));
            }
        }
        Ok(())
    }

    pub(crate) fn create(
        &self,
        sequence: Sequence,
        record: &StoreRecord,
        bytes: &[u8],
    ) -> Result<Outcome, ReplicaError> {
        let _names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let name = &record.repository;
        if let Some(entry) = self.entry(name) {
            let current = entry.current();
            return match &current.quarantine {
                Some(reason) => Ok(Outcome::Quarantined(reason.clone())),
                None if sequence <= current.sequence => Ok(Outcome::Already),
                None => self.quarantine(&entry, format!("record {sequence} creates it a second time")),
            };
        }
        if let Err(error) = self.check_name(name) {
            return self.quarantine_unknown(name, sequence, format!("record {sequence}: {error}"));
        }
        match self.make(sequence, record, bytes) {
            Ok(()) => Ok(Outcome::Applied),
            Err(Obstacle::Server(error)) => Err(error),
            Err(obstacle) => self.quarantine_unknown(name, sequence, obstacle.to_string()),
        }
    }

    fn make(&self, sequence: Sequence, record: &StoreRecord, bytes: &[u8]) -> Result<(), Obstacle> {
        let name = &record.repository;
        let change = parse(record, bytes).map_err(at(sequence))?;
        let nodes = DigestUpdate::of_new(&change).map_err(at(sequence))?;
        let digest = *nodes.digest().as_bytes();
        if record.after != Some(digest) {
            return Err(at(sequence)("its change does not lead to the state that it names"));
        }
        // A full disk is this repository's trouble alone, like everything that happens in its folder.
        let made = self.folders.make(sequence).map_err(at(sequence))?;
        let hg = made.join(".hg");
        self.stop("intent");
        let lock = StoreLock::acquire(&hg, LockScope::All, Duration::ZERO).map_err(at(sequence))?;
        apply_locked(&lock, &change, ApplyMode::Normal).map_err(at(sequence))?;
        drop(lock);
        self.folders.place(&made, name, sequence).map_err(at(sequence))?;
        self.stop("done");
        let (state, stat) = self.look_at(name).map_err(at(sequence))?;
        let bytes = grown(0, &nodes);
        let nodes = Some(&nodes);
        let advance = Advance { id: 0, sequence, digest, state: &state, stat: &stat, bytes, nodes, afresh: false };
        let id = self.state.create(name, sequence, None, &advance, None)?;
        self.known().positions.volatile(sequence, name);
        self.volatile.add_all(name, id, sequence);
        self.enter(name, sequence, Advance { id, ..advance }, None, None);
        Ok(())
    }

    /// Opens a repository as it lies on disk.
    pub(crate) fn look_at(&self, name: &RepositoryName) -> Result<(hg_store::SnapshotState, StoreStat), String> {
        let path = self.folders.repository(name);
        let state = Repository::open(&path).and_then(|repository| repository.current_state());
        let stat = StoreStat::of(&path.join(".hg"));
        Ok((state.map_err(|error| error.to_string())?, stat.map_err(|error| error.to_string())?))
    }

    /// Makes a repository known as it is kept since now: the one place where an entry in memory comes from a record.
    pub(crate) fn enter(
        &self,
        name: &RepositoryName,
        created: Sequence,
        kept: Advance<'_>,
        durable: Option<Sequence>,
        quarantine: Option<String>,
    ) {
        let row = RepositoryRow {
            id: kept.id,
            name: name.clone(),
            created,
            sequence: kept.sequence,
            intent: kept.sequence,
            durable,
            digest: kept.digest,
            state: kept.state.clone(),
            stat: kept.stat.clone(),
            quarantine,
            bytes: kept.bytes,
            scrubbed_ms: None,
            tree: None,
        };
        self.put(row, None);
    }

    /// Keeps that there should be a repository which could not be made.
    pub(crate) fn quarantine_unknown(
        &self,
        name: &RepositoryName,
        sequence: Sequence,
        reason: String,
    ) -> Result<Outcome, ReplicaError> {
        tracing::error!(repository = name.as_str(), reason, "repository put into quarantine");
        self.enter_absent(name, sequence, reason.clone())?;
        Ok(Outcome::Quarantined(reason))
    }

    /// Keeps, in quarantine, that there is a repository of which nothing is here.
    pub(crate) fn enter_absent(
        &self,
        name: &RepositoryName,
        created: Sequence,
        reason: String,
    ) -> Result<(), ReplicaError> {
        let nothing = Advance {
            id: 0,
            sequence: created,
            digest: [0; 32],
            state: &Default::default(),
            stat: &StoreStat::default(),
            bytes: 0,
            nodes: None,
            afresh: false,
        };
        let id = self.state.create(name, created, None, &nothing, Some(&reason))?;
        self.enter(name, created, Advance { id, ..nothing }, None, Some(reason));
        Ok(())
    }

    /// The folder in which a repository lies: the server's, or an older tree's, which is only read.
    pub(crate) fn place(&self, name: &RepositoryName) -> PathBuf {
        match self.entry(name).and_then(|entry| entry.tree()) {
            Some(tree) => self.folders.in_tree(tree, name),
            None => self.folders.repository(name),
        }
    }

    /// The `.hg` of a repository, to be read.
    pub(crate) fn hg(&self, name: &RepositoryName) -> PathBuf {
        self.place(name).join(".hg")
    }
}
