//! After a crash: writing again what may be torn.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hg_store::apply::{Apply, ApplyMode, LockScope, StoreLock};
use hg_store::change::{ChangeRef, Operation};
use hg_store::digest::DigestUpdate;
use hgfleet_log::{Record, RepositoryName, Sequence, StoreKind, StoreRecord, planted};

use crate::alter::{Obstacle, at, grown, parse};
use crate::replica::{Inner, Outcome, Replica};
use crate::state::Advance;
use crate::{ReplicaError, repository::Entry};

/// How long a redo waits for a plain `hg` that holds the store's lock.
const LOCK_WAIT: Duration = Duration::from_secs(10);

/// Repositories of an older tree that are copied before a server begins to serve, in bytes: they are copied and written
/// again one by one, and all the others wait for it. What is beyond it is copied afterwards.
const COPIED_AT_ONCE_MAX: u64 = 64 << 20;

/// Where [`Replica::recover`] gets records from: the log, or what a mirror has staged. `None`: there is none with
/// this sequence, or not any more. The bytes are the record's change, empty where it has none.
pub type RedoSource<'a> = dyn FnMut(Sequence) -> io::Result<Option<Fetched>> + 'a;

/// A record, and the bytes of its change: usually mapped.
pub type Fetched = (Record, Box<dyn AsRef<[u8]>>);

/// What [`Replica::recover`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Records that were written again.
    pub redone: u64,
    /// Repositories that are in quarantine since, and why.
    pub quarantined: Vec<(RepositoryName, String)>,
}

/// A record that is redone.
struct Redo {
    sequence: Sequence,
    kind: StoreKind,
}

impl Replica {
    /// Redoes whatever may lie half written, from where data was last known to be on disk to where it was last begun to
    /// be written, and compares digests.
    ///
    /// `end` is the highest sequence that this server may have begun to apply: for a master the log's end, for a mirror
    /// the view's visible position. It matters after the machine was booted anew, see the crate's page.
    ///
    /// # Errors
    /// Only what concerns the whole server; a repository that can't be brought back is in quarantine.
    pub fn recover(&self, end: Option<Sequence>, source: &mut RedoSource<'_>) -> Result<Recovery, ReplicaError> {
        let inner = &*self.inner;
        if planted::is("not-redone") {
            inner.set_recovered();
            return Ok(Recovery::default());
        }
        let booted = !inner.same_boot.load(Ordering::Relaxed);
        let first = Sequence::after(inner.server_row().durable);
        let last = inner.last_begun().max(end.filter(|_| booted));
        let mut plan = BTreeMap::<RepositoryName, Vec<Redo>>::new();
        // What a barrier is about is left to it, which is not here, or everything would be on disk up to it.
        let mut behind = BTreeSet::<RepositoryName>::new();
        let mut without_store = Vec::new();
        let mut next = first.filter(|first| Some(*first) <= last);
        while let Some(sequence) = next {
            let Some((record, _)) = fetch(source, sequence)? else { break };
            inner.note_seen(&record)?;
            match record.store() {
                _ if record.is_barrier() => behind.extend(record.repositories().cloned()),
                Some(store) if behind.contains(&store.repository) => {}
                Some(store) => {
                    plan.entry(store.repository.clone()).or_default().push(Redo { sequence, kind: store.kind.clone() });
                }
                None => without_store.push(sequence),
            }
            next = sequence.next().filter(|next| Some(*next) <= last);
        }
        for entry in inner.entries() {
            // Without a record for it, what must be redone is found missing.
            plan.entry(entry.name.clone()).or_default();
        }
        let mut recovery = Recovery::default();
        let mut bytes_left = COPIED_AT_ONCE_MAX;
        for (name, mut redos) in plan {
            if let Some(reason) = inner.put_off(&name, &redos, &mut bytes_left)? {
                recovery.quarantined.push((name, reason));
                redos.iter().for_each(|redo| inner.known().positions.done(redo.sequence));
                continue;
            }
            if !booted {
                // What was not begun is left to be applied in the normal way.
                let begun = inner.entry(&name).map(|entry| entry.writer().intent);
                redos.retain(|redo| Some(redo.sequence) <= begun);
            }
            match inner.redo(&name, &redos, source)? {
                Outcome::Quarantined(reason) => recovery.quarantined.push((name, reason)),
                _ => recovery.redone += redos.len() as u64,
            }
            redos.iter().for_each(|redo| inner.known().positions.done(redo.sequence));
        }
        without_store.iter().for_each(|sequence| inner.known().positions.done(*sequence));
        inner.set_recovered();
        inner.sync()?;
        inner.state.set_boot()?;
        Ok(recovery)
    }

    /// Tries again with one repository in quarantine: redoes from its durable sequence up to `end`. Whatever kept it
    /// from applying (a full disk, a file that was altered) must be out of the way.
    ///
    /// # Errors
    /// Only what concerns the whole server; the outcome tells whether the repository is back.
    pub fn retry(
        &self,
        name: &RepositoryName,
        end: Option<Sequence>,
        source: &mut RedoSource<'_>,
    ) -> Result<Outcome, ReplicaError> {
        let inner = &*self.inner;
        let Some(entry) = inner.entry(name) else { return Err(ReplicaError::NotFound(name.clone())) };
        let durable = entry.writer().durable;
        let mut redos = Vec::new();
        // One that was never made begins with the record that makes it.
        let mut next = Some(durable.and_then(Sequence::next).unwrap_or(entry.created));
        while let Some(sequence) = next.filter(|next| Some(*next) <= end) {
            let Some((record, change)) = fetch(source, sequence)? else { break };
            if let Some(store) = record.store().filter(|store| store.repository == *name) {
                if record.is_barrier() {
                    return match inner.rewrite_again(&record, (*change).as_ref())? {
                        Outcome::Applied => self.retry(name, end, source),
                        outcome => Ok(outcome),
                    };
                }
                redos.push(Redo { sequence, kind: store.kind.clone() });
            }
            next = sequence.next();
        }
        inner.redo(name, &redos, source)
    }
}

impl Inner {
    /// Writes these records of one repository again, whatever is there of them.
    fn redo(
        &self,
        name: &RepositoryName,
        redos: &[Redo],
        source: &mut RedoSource<'_>,
    ) -> Result<Outcome, ReplicaError> {
        let _names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let last = redos.last().map(|redo| redo.sequence);
        if let Some(entry) = self.entry(name) {
            let (intent, durable) = {
                let writer = entry.writer();
                (writer.intent, writer.durable)
            };
            if let Some(reason) = entry.current().quarantine.clone().filter(|_| last.is_none()) {
                return Ok(Outcome::Quarantined(reason));
            }
            if Some(intent) > durable && last < Some(intent) {
                let reason = format!("record {intent} is needed to write again what may be torn, and is gone");
                return self.quarantine(&entry, reason);
            }
        }
        let Some(last) = last else { return Ok(Outcome::Already) };
        match self.redo_named(name, redos, source) {
            Ok(()) => Ok(Outcome::Applied),
            Err(Obstacle::Server(error)) => Err(error),
            Err(obstacle) => match self.entry(name) {
                Some(entry) => self.quarantine(&entry, obstacle.to_string()),
                None => self.quarantine_unknown(name, last, obstacle.to_string()),
            },
        }
    }

    fn redo_named(&self, name: &RepositoryName, redos: &[Redo], source: &mut RedoSource<'_>) -> Result<(), Obstacle> {
        // Only what came after the last creation is left to write.
        let made = redos.iter().rposition(|redo| redo.kind == StoreKind::Create);
        let fresh = made.is_some();
        let redos = &redos[made.unwrap_or(0)..];
        let Some(last) = redos.last() else { return Ok(()) };
        if fresh && !self.folders.repository(name).join(".hg/store").is_dir() {
            let made = self.folders.make(redos[0].sequence)?;
            self.folders.place(&made, name, redos[0].sequence)?;
        }
        let entry = self.entry(name);
        if entry.is_none() && !fresh {
            return Err(at(last.sequence)("it alters a repository that no record made"));
        }
        let elsewhere = entry.as_deref().filter(|entry| !fresh && entry.tree().is_some());
        if let Some(entry) = elsewhere {
            self.copy_here(entry).map_err(at(last.sequence))?;
        }
        let afresh = |entry: &Entry| fresh || elsewhere.is_some() || entry.current().quarantine.is_some();
        let kept = entry.as_deref().map(|entry| (entry, afresh(entry)));
        self.redo_onto(name, kept, redos, last.sequence, source)
    }

    /// Puts off what would keep the others waiting: a repository in an older tree that has to be copied and written again, and
    /// is in quarantine or large. Returns the reason of its quarantine, from which it is repaired later.
    fn put_off(&self, name: &RepositoryName, redos: &[Redo], left: &mut u64) -> Result<Option<String>, ReplicaError> {
        let Some(entry) = self.entry(name) else { return Ok(None) };
        let Some(tree) = entry.tree() else { return Ok(None) };
        if redos.iter().any(|redo| redo.kind != StoreKind::Alter) {
            return Ok(None);
        }
        let current = entry.current();
        if current.quarantine.is_some() || redos.is_empty() {
            return Ok(current.quarantine.clone());
        }
        if let Some(rest) = left.checked_sub(current.bytes) {
            *left = rest;
            return Ok(None);
        }
        let reason =
            format!("it was written to as the last master's epoch ended, and is copied from the volume's tree e{tree}");
        self.quarantine(&entry, reason.clone())?;
        Ok(Some(reason))
    }

    /// Returns the highest record that was begun, as far as it was kept.
    fn last_begun(&self) -> Option<Sequence> {
        self.entries().into_iter().map(|entry| entry.writer().intent).max()
    }

    /// Writes records of one repository again and compares the digest. `entry`: what is kept of it, and whether its
    /// digest's nodes are of no use.
    fn redo_onto(
        &self,
        name: &RepositoryName,
        entry: Option<(&Entry, bool)>,
        redos: &[Redo],
        last: Sequence,
        source: &mut RedoSource<'_>,
    ) -> Result<(), Obstacle> {
        let hg = self.folders.repository(name).join(".hg");
        if self.folders.breaks_locks() && !self.is_recovered() {
            self.folders.break_locks(name).map_err(at(last))?;
        }
        let mut touched = BTreeSet::<Vec<u8>>::new();
        let mut replaced = HashMap::<Vec<u8>, Sequence>::new();
        let mut after = None;
        for redo in redos {
            let fetched = fetch_store(source, redo.sequence)?;
            let (store, change) = change_of(&fetched)?;
            for operation in change.operations() {
                touched.insert(operation.path().to_vec());
                if !matches!(operation, Operation::Append { .. }) {
                    replaced.insert(operation.path().to_vec(), redo.sequence);
                }
            }
            after = store.after;
        }
        for redo in redos {
            let fetched = fetch_store(source, redo.sequence)?;
            let (_, change) = change_of(&fetched)?;
            let lock = StoreLock::acquire(&hg, LockScope::All, LOCK_WAIT).map_err(at(redo.sequence))?;
            // Each file from its last replacement on: an append to what came before would go into what came after.
            let skip = &|path: &[u8]| replaced.get(path).is_some_and(|&last| last > redo.sequence);
            let apply = Apply { mode: ApplyMode::Redo, skip, step: &mut |_| Ok(()) };
            apply.run(&lock, &change).map_err(at(redo.sequence))?;
        }
        let afresh = entry.is_none_or(|(_, afresh)| afresh);
        let nodes = match entry {
            Some((entry, false)) => {
                let paths = touched.iter().map(|path| path.as_slice());
                DigestUpdate::of_files(&hg, &mut self.state.nodes(entry.id), paths)
            }
            _ => DigestUpdate::of_store(&hg),
        };
        let nodes = nodes.map_err(at(last))?;
        let digest = *nodes.digest().as_bytes();
        if after != Some(digest) {
            return Err(at(last)("written again, it does not lead to the state that it names"));
        }
        let (state, stat) = self.look_at(name).map_err(at(last))?;
        let before = entry.filter(|_| !afresh).map_or(0, |(entry, _)| entry.current().bytes);
        let advance = Advance {
            id: entry.map_or(0, |(entry, _)| entry.id),
            sequence: last,
            digest,
            state: &state,
            stat: &stat,
            bytes: grown(before, &nodes),
            nodes: Some(&nodes),
            afresh,
        };
        let (id, created) = match entry {
            Some((entry, _)) => {
                self.state.advance(&advance)?;
                (entry.id, entry.created)
            }
            None => (self.state.create(name, redos[0].sequence, None, &advance, None)?, redos[0].sequence),
        };
        self.known().positions.volatile(last, name);
        self.volatile.add_all(name, id, last);
        let durable = entry.and_then(|(entry, _)| entry.writer().durable);
        self.enter(name, created, Advance { id, ..advance }, durable, None);
        Ok(())
    }
}

fn fetch(source: &mut RedoSource<'_>, sequence: Sequence) -> Result<Option<Fetched>, ReplicaError> {
    source(sequence).map_err(|source| ReplicaError::Source { sequence, source })
}

/// Fetches a record once more, of which it is known that it is there and says something of a store.
fn fetch_store(source: &mut RedoSource<'_>, sequence: Sequence) -> Result<Fetched, Obstacle> {
    let gone = || at(sequence)("it is needed to write again what may be torn, and is gone");
    fetch(source, sequence)?.ok_or_else(gone)
}

/// Reads the change of a record, of which it is known that it says something of a store.
fn change_of<'a>((record, bytes): &'a Fetched) -> Result<(&'a StoreRecord, ChangeRef<'a>), Obstacle> {
    let store = record.store().ok_or_else(|| at(record.sequence)("it says nothing of a store"))?;
    let change = parse(store, (**bytes).as_ref()).map_err(at(record.sequence))?;
    Ok((store, change))
}
