//! Records that say which repositories there are, or exchange a whole store: deletion, bringing back, renaming, rewriting.
//!
//! Each moves folders, under one name or two, which can't be written again as bytes can. So it is a *barrier*: it begins
//! when every record before it is applied and on disk, and what it did is committed together with the server's durable
//! sequence. A start therefore finds either all of it, or nothing of it but folders that have moved already; the record
//! then comes again in the normal way, and looks where they are.

use std::path::PathBuf;
use std::sync::PoisonError;
use std::time::Duration;

use hg_store::apply::{ApplyMode, LockScope, StoreLock, apply_locked};
use hg_store::digest::DigestUpdate;
use hgfleet_log::{Body, Record, RepositoryName, Sequence, StoreKind, StoreRecord};

use crate::alter::{Obstacle, at, grown, parse};
use crate::copy::copy_store;
use crate::replica::{Inner, Outcome, Replica};
use crate::repository::{Entry, Writer};
use crate::state::{Advance, DeletedRow, RepositoryRow, ServerRow, Settled};
use crate::{DeletedRepository, ReplicaError};

/// How often it is looked whether the disk still takes what is applied, while a barrier waits for the records before it.
const LOOK_EVERY: Duration = Duration::from_millis(100);

impl Replica {
    /// Returns the repositories that were deleted and are kept aside, the oldest first.
    ///
    /// # Errors
    /// A failing `state.sqlite`.
    pub fn deleted(&self) -> Result<Vec<DeletedRepository>, ReplicaError> {
        let rows = self.inner.state.deleted()?.into_iter();
        Ok(rows.map(|DeletedRow { sequence, name, at_ms, .. }| DeletedRepository { sequence, name, at_ms }).collect())
    }

    /// Reads what is kept of the repository that a record deleted, all of it, and returns the digest that bringing it back
    /// leads to.
    ///
    /// # Errors
    /// [`ReplicaError::Copy`] where nothing is kept, or it is not what it was.
    pub fn digest_of_deleted(&self, deleted: Sequence) -> Result<[u8; 32], ReplicaError> {
        let row = self.inner.state.deleted()?.into_iter().find(|row| row.sequence == deleted);
        let bad = |name: &RepositoryName, what: String| ReplicaError::Copy { name: name.clone(), what };
        let row = row.ok_or(ReplicaError::NotKept(deleted))?;
        let read = DigestUpdate::of_store(&self.inner.folders.deleted(deleted).join(".hg"));
        let found = read.map_err(|error| bad(&row.name, error.to_string()))?;
        let found = *found.digest().as_bytes();
        match row.digest {
            Some(digest) if digest != found => Err(bad(&row.name, "its files are not what they were".to_owned())),
            _ => Ok(found),
        }
    }

    /// Copies a repository to a folder of its own, for a command that rewrites it, and returns that folder. The caller sees
    /// to it that no record of the repository is applied meanwhile, removes it in the end, and gives each another number; a
    /// start removes what is left.
    ///
    /// # Errors
    /// As for [`Replica::snapshot`]; a copy that can't be written.
    pub fn copy_to_rewrite(&self, name: &RepositoryName, number: u64) -> Result<PathBuf, ReplicaError> {
        let inner = &*self.inner;
        let (entry, _) = inner.readable(name)?;
        let _writer = entry.writer();
        let folder = inner.folders.make_rewrite(number)?;
        copy_store(&inner.hg(name), &folder.join(".hg"), || {})?;
        Ok(folder)
    }
}

impl Inner {
    /// Applies a record that is a barrier, once everything before it is applied.
    pub(crate) fn barrier(&self, record: &Record, change: &[u8]) -> Result<Outcome, ReplicaError> {
        let sequence = record.sequence;
        loop {
            let known = self.known();
            let position = known.positions.position();
            if position >= Some(sequence) {
                return Ok(Outcome::Already);
            }
            if position >= sequence.previous() {
                break;
            }
            self.volatile.check()?;
            drop(self.applied.wait_timeout(known, LOOK_EVERY));
        }
        self.sync()?;
        self.apply_barrier(record, change)
    }

    /// Applies a barrier that a repository in quarantine passed over.
    pub(crate) fn rewrite_again(&self, record: &Record, change: &[u8]) -> Result<Outcome, ReplicaError> {
        let Some(store) = record.store().filter(|store| store.kind == StoreKind::Rewrite) else {
            return Ok(Outcome::Quarantined(format!(
                "record {} can't be applied again; a copy is needed",
                record.sequence
            )));
        };
        self.sync()?;
        let _names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let _syncing = self.volatile.pause();
        self.rewrite(record.sequence, store, change, true)
    }

    fn apply_barrier(&self, record: &Record, change: &[u8]) -> Result<Outcome, ReplicaError> {
        let sequence = record.sequence;
        let _names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody else may say meanwhile up to where this server is.
        let _syncing = self.volatile.pause();
        match &record.body {
            Body::Purge { deleted } => self.purge(sequence, *deleted),
            Body::Store(store) => match &store.kind {
                StoreKind::Delete => self.delete(sequence, store, record.time_ms),
                StoreKind::Restore { deleted } => self.restore(sequence, store, *deleted),
                StoreKind::Rename { from } => self.rename(sequence, store, from),
                StoreKind::Rewrite => self.rewrite(sequence, store, change, false),
                StoreKind::Create | StoreKind::Alter => Ok(Outcome::NoStore),
            },
            Body::Epoch { .. } | Body::Empty => Ok(Outcome::NoStore),
        }
    }

    /// Deletes a repository, whatever state it is in: this also ends a quarantine.
    fn delete(&self, sequence: Sequence, record: &StoreRecord, at_ms: u64) -> Result<Outcome, ReplicaError> {
        let name = &record.repository;
        let Some(entry) = self.entry(name).filter(|entry| entry.created < sequence) else {
            return Ok(Outcome::Already);
        };
        let mut writer = entry.writer();
        // What lies in an older tree of a volume goes with that, and can't be kept there.
        if let Err(error) = self.bring_here(&entry, &mut writer) {
            tracing::warn!(%sequence, repository = name.as_str(), %error, "nothing is kept of a deleted repository");
        }
        self.stop("intent");
        let _stays = entry.place.write().unwrap_or_else(PoisonError::into_inner);
        self.folders.keep_deleted(name, sequence)?;
        self.stop("middle");
        self.folders.sync()?;
        let row = DeletedRow { sequence, name: name.clone(), digest: record.before, at_ms };
        self.settle(sequence, &Settled::Deleted { id: entry.id, row })?;
        self.remove(name);
        self.known().positions.forget(name);
        self.stop("done");
        Ok(Outcome::Applied)
    }

    fn purge(&self, sequence: Sequence, deleted: Sequence) -> Result<Outcome, ReplicaError> {
        self.stop("intent");
        self.folders.purge(deleted, sequence)?;
        self.folders.sync()?;
        self.settle(sequence, &Settled::Purged { deleted })?;
        self.stop("done");
        Ok(Outcome::NoStore)
    }

    fn restore(&self, sequence: Sequence, record: &StoreRecord, deleted: Sequence) -> Result<Outcome, ReplicaError> {
        let name = &record.repository;
        if let Some(entry) = self.entry(name) {
            let quarantine = entry.current().quarantine.clone();
            return match quarantine {
                Some(reason) => Ok(Outcome::Quarantined(reason)),
                None if entry.created >= sequence => Ok(Outcome::Already),
                None => self.quarantine(&entry, format!("record {sequence} brings back another of its name")),
            };
        }
        if let Err(error) = self.check_name(name) {
            return self.quarantine_unknown(name, sequence, format!("record {sequence}: {error}"));
        }
        self.stop("intent");
        match self.bring_back(sequence, record, deleted) {
            Ok(()) => Ok(Outcome::Applied),
            Err(Obstacle::Server(error)) => Err(error),
            Err(obstacle) => {
                // It is copied from another server, and what is here is of no use.
                self.folders.purge(deleted, sequence)?;
                let outcome = self.quarantine_unknown(name, sequence, obstacle.to_string());
                self.settle(sequence, &Settled::Purged { deleted })?;
                outcome
            }
        }
    }

    fn bring_back(&self, sequence: Sequence, record: &StoreRecord, deleted: Sequence) -> Result<(), Obstacle> {
        let name = &record.repository;
        let (aside, place) = (self.folders.deleted(deleted), self.folders.repository(name));
        let hg = [&aside, &place].map(|folder| folder.join(".hg")).into_iter().find(|hg| hg.exists());
        let hg = hg.ok_or_else(|| at(sequence)("nothing is here of what it brings back"))?;
        let nodes = DigestUpdate::of_store(&hg).map_err(at(sequence))?;
        if record.after != Some(*nodes.digest().as_bytes()) {
            return Err(at(sequence)("what it brings back is not here as it was"));
        }
        self.folders.move_to(&aside, name, sequence)?;
        self.stop("middle");
        self.made(sequence, name, None, Some(deleted), &nodes)
    }

    /// Takes into service what lies in a repository's place now.
    fn made(
        &self,
        sequence: Sequence,
        name: &RepositoryName,
        replaced: Option<i64>,
        deleted: Option<Sequence>,
        nodes: &DigestUpdate,
    ) -> Result<(), Obstacle> {
        self.folders.sync()?;
        let (state, stat) = self.look_at(name).map_err(at(sequence))?;
        let advance = Advance {
            id: 0,
            sequence,
            digest: *nodes.digest().as_bytes(),
            state: &state,
            stat: &stat,
            bytes: grown(0, nodes),
            nodes: Some(nodes),
            afresh: true,
        };
        let settled = Settled::Made { name, created: sequence, replaced, deleted, advance: &advance };
        let id = self.settle(sequence, &settled)?;
        self.enter(name, sequence, Advance { id, ..advance }, Some(sequence), None);
        self.stop("done");
        self.volatile.index_later(name);
        Ok(())
    }

    fn rename(&self, sequence: Sequence, record: &StoreRecord, from: &RepositoryName) -> Result<Outcome, ReplicaError> {
        let to = &record.repository;
        if self.entry(to).is_some_and(|entry| entry.created >= sequence) {
            return Ok(Outcome::Already);
        }
        let Some(entry) = self.entry(from).filter(|entry| entry.created < sequence) else {
            let why = format!("record {sequence} gives it this name, and nothing is here of {from}");
            return self.quarantine_unknown(to, sequence, why);
        };
        if let Err(error) = self.check_name(to) {
            return self.quarantine(&entry, format!("record {sequence}: {error}"));
        }
        let mut writer = entry.writer();
        let current = entry.current();
        if let Err(error) = self.bring_here(&entry, &mut writer) {
            return self.quarantine(&entry, format!("record {sequence}: {error}"));
        }
        let other = || format!("record {sequence} was made for another state of the store");
        let quarantine = current.quarantine.clone().or_else(|| (record.before != Some(current.digest)).then(other));
        self.stop("intent");
        let _stays = entry.place.write().unwrap_or_else(PoisonError::into_inner);
        self.folders.move_to(&self.folders.repository(from), to, sequence)?;
        self.folders.move_index(entry.created, sequence);
        self.stop("middle");
        self.folders.sync()?;
        let applied = quarantine.is_none().then_some(sequence);
        let renamed =
            Settled::Renamed { id: entry.id, name: to, created: sequence, applied, quarantine: quarantine.as_deref() };
        self.settle(sequence, &renamed)?;
        let row = RepositoryRow {
            id: entry.id,
            name: to.clone(),
            created: sequence,
            sequence: applied.unwrap_or(current.sequence),
            intent: applied.unwrap_or(writer.intent),
            durable: applied.or(writer.durable),
            digest: current.digest,
            state: current.state.clone(),
            stat: writer.stat.clone(),
            quarantine: quarantine.clone(),
            bytes: current.bytes,
            tree: None,
            scrubbed_ms: Some(entry.scrubbed_ms.load(std::sync::atomic::Ordering::Relaxed)),
        };
        self.put(row, Some(from));
        self.stop("done");
        Ok(match quarantine {
            Some(reason) => Outcome::Quarantined(reason),
            None => Outcome::Applied,
        })
    }

    /// `again`: it is in quarantine because this failed before.
    fn rewrite(
        &self,
        sequence: Sequence,
        record: &StoreRecord,
        change: &[u8],
        again: bool,
    ) -> Result<Outcome, ReplicaError> {
        let name = &record.repository;
        let Some(entry) = self.entry(name) else {
            let why = format!("record {sequence} rewrites a repository that no record made");
            return self.quarantine_unknown(name, sequence, why);
        };
        let mut writer = entry.writer();
        if let Some(reason) = entry.current().quarantine.clone().filter(|_| !again) {
            return Ok(Outcome::Quarantined(reason));
        }
        if entry.created >= sequence {
            return Ok(Outcome::Already);
        }
        match self.rewrite_locked(&entry, &mut writer, sequence, record, change) {
            Ok(()) => Ok(Outcome::Applied),
            Err(Obstacle::Server(error)) => Err(error),
            Err(obstacle) => self.quarantine(&entry, obstacle.to_string()),
        }
    }

    fn rewrite_locked(
        &self,
        entry: &Entry,
        writer: &mut Writer,
        sequence: Sequence,
        record: &StoreRecord,
        bytes: &[u8],
    ) -> Result<(), Obstacle> {
        let name = &record.repository;
        let digest = entry.current().digest;
        if record.before != Some(digest) {
            return Err(at(sequence)("it was made for another state of the store"));
        }
        self.bring_here(entry, writer).map_err(at(sequence))?;
        self.stop("intent");
        self.folders.put_back(name, sequence)?;
        let hg = self.hg(name);
        // Whatever is there by now: only the new store has the digest after.
        let there = DigestUpdate::of_store(&hg).map_err(at(sequence))?;
        let is_after = |nodes: &DigestUpdate| record.after == Some(*nodes.digest().as_bytes());
        let moving = || entry.place.write().unwrap_or_else(PoisonError::into_inner);
        // Only the exchange itself keeps readers waiting.
        let (nodes, _stays) = match is_after(&there) {
            true => (there, moving()),
            false => {
                self.check_untouched(entry, writer, &hg, digest, sequence)?;
                let change = parse(record, bytes).map_err(at(sequence))?;
                let made = self.folders.make(sequence).map_err(at(sequence))?;
                let new = made.join(".hg");
                copy_store(&hg, &new, || {}).map_err(at(sequence))?;
                let lock = StoreLock::acquire(&new, LockScope::All, Duration::ZERO).map_err(at(sequence))?;
                apply_locked(&lock, &change, ApplyMode::Normal).map_err(at(sequence))?;
                drop(lock);
                let nodes = DigestUpdate::of_store(&new).map_err(at(sequence))?;
                if !is_after(&nodes) {
                    return Err(at(sequence)("its change does not lead to the state that it names"));
                }
                // What takes the place is whole on disk, whatever becomes of the exchange.
                self.folders.sync()?;
                let stays = moving();
                self.folders.exchange(&made, name, sequence)?;
                self.stop("middle");
                (nodes, stays)
            }
        };
        self.made(sequence, name, Some(entry.id), None, &nodes)
    }

    /// Keeps what a barrier did, and that everything up to it is done and on disk.
    fn settle(&self, sequence: Sequence, settled: &Settled<'_>) -> Result<i64, ReplicaError> {
        let mut server = self.server_row();
        if server.durable < Some(sequence) && server.durable >= sequence.previous() {
            let position = server.position.max(Some(sequence));
            server = ServerRow { durable: Some(sequence), position, ..server };
        }
        let id = self.state.settle(&server, settled)?;
        self.known().positions.done(sequence);
        self.volatile.publish(server.durable);
        Ok(id)
    }
}
