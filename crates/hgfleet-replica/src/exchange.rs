//! A whole copy of a repository, taken from another server, in the place of what is here.
//!
//! ```text
//! SERVER/copy/CREATED/.hg      the copy while it is made; what lies there is kept over a restart
//!        old/SEQUENCE.NUMBER   what a copy has taken the place of, until its readers have ended
//!        altered/SEQUENCE.NUMBER   the same, where somebody had written to it: until an operator removes it
//! ```
//!
//! The exchange survives a kill at any step: first the quarantine is durable, then the copy, then the old folder moves
//! away, the new one moves in, and last `state.sqlite` says so. Before that last step the repository is refused, and
//! whoever repairs it finds either the copy or, in its place already, a store that only has to be taken for what it is.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use hg_store::apply::{ApplyMode, LockScope, StoreLock, apply_locked};
use hg_store::change::ChangeRef;
use hg_store::digest::DigestUpdate;
use hgfleet_log::{RepositoryName, Sequence, StoreRecord};

use crate::ReplicaError;
use crate::alter::{grown, parse};
use crate::replica::{Inner, Replica};
use crate::repository::Entry;
use crate::state::Advance;

/// A copy that is whole, with the nodes of its digest.
#[derive(Debug)]
pub struct Copied {
    name: RepositoryName,
    created: Sequence,
    sequence: Sequence,
    hg: PathBuf,
    /// It lies in the repository's place already.
    in_place: bool,
    update: DigestUpdate,
    nodes: HashMap<Vec<u8>, Vec<u8>>,
}

impl Copied {
    /// The last record that is in it.
    pub fn sequence(&self) -> Sequence {
        self.sequence
    }

    /// Applies a record that alters the repository, in log order.
    ///
    /// # Errors
    /// A record that does not follow on what the copy is, or that can't be applied: the copy is of no use then.
    pub fn follow(mut self, sequence: Sequence, record: &StoreRecord, change: &[u8]) -> Result<Self, ReplicaError> {
        if record.before != Some(*self.update.digest().as_bytes()) {
            let what = format!("record {sequence} was made for another state than the copy's");
            return Err(ReplicaError::Copy { name: self.name, what });
        }
        let change: ChangeRef<'_> = parse(record, change)?;
        let update = DigestUpdate::of_change(&self.hg, &mut self.nodes, &change)?;
        if record.after != Some(*update.digest().as_bytes()) {
            let what = format!("record {sequence} does not lead to the state that it names");
            return Err(ReplicaError::Copy { name: self.name, what });
        }
        let wrong = |error: hg_store::apply::ApplyError| error.to_string();
        let applied = StoreLock::acquire(&self.hg, LockScope::All, Duration::ZERO)
            .and_then(|lock| apply_locked(&lock, &change, ApplyMode::Normal));
        if let Err(what) = applied.map_err(wrong) {
            return Err(ReplicaError::Copy { name: self.name, what });
        }
        update.keep(&mut self.nodes)?;
        self.update = self.update.then(update);
        self.sequence = sequence;
        Ok(self)
    }
}

impl Replica {
    /// Returns the `.hg` in which a copy of the repository that the record `created` made is put together; it is made
    /// where it is missing.
    ///
    /// # Errors
    /// Where it can't be made.
    pub fn copy_folder(&self, created: Sequence) -> Result<PathBuf, ReplicaError> {
        let hg = self.inner.folders.copy(created).join(".hg");
        fs::create_dir_all(&hg).map_err(ReplicaError::io("create", &hg))?;
        Ok(hg)
    }

    /// Removes what was copied of the repository that the record `created` made.
    ///
    /// # Errors
    /// Where it can't be removed.
    pub fn drop_copy(&self, created: Sequence) -> Result<(), ReplicaError> {
        remove(&self.inner.folders.copy(created))
    }

    /// Reads a copy back from disk, all of it, having brought it there. `None`: it has another digest.
    ///
    /// # Errors
    /// A file that can't be read; [`ReplicaError::NotDurable`].
    pub fn copied(
        &self,
        name: &RepositoryName,
        created: Sequence,
        sequence: Sequence,
        digest: [u8; 32],
    ) -> Result<Option<Copied>, ReplicaError> {
        self.inner.folders.sync()?;
        let hg = self.inner.folders.copy(created).join(".hg");
        self.inner.read_back(name, created, sequence, digest, hg, false)
    }

    /// Reads what lies in the place of a repository in quarantine: an exchange may have ended there, or what was wrong
    /// may have passed. `None`: it is not that state.
    ///
    /// # Errors
    /// A failing disk.
    pub fn in_place(
        &self,
        name: &RepositoryName,
        created: Sequence,
        sequence: Sequence,
        digest: [u8; 32],
    ) -> Result<Option<Copied>, ReplicaError> {
        let hg = self.inner.folders.repository(name).join(".hg");
        // What lies in an older tree is not in its place here.
        let is_here = |entry: &Arc<Entry>| entry.current().quarantine.is_some() && entry.tree().is_none();
        let quarantined = self.inner.entry(name).is_some_and(|entry| is_here(&entry));
        if !quarantined || !hg.join("store").is_dir() {
            return Ok(None);
        }
        self.inner.folders.sync()?;
        self.inner.read_back(name, created, sequence, digest, hg, true)
    }

    /// Puts a copy in the place of the repository, which leaves quarantine by it. The caller sees to it that no record
    /// of the repository that is not in the copy was passed over here, and that none is applied meanwhile.
    ///
    /// # Errors
    /// [`ReplicaError::Copy`] where the repository here is newer than the copy, or of a newer record, or is gone; a disk that
    /// fails.
    pub fn exchange(&self, copied: Copied) -> Result<(), ReplicaError> {
        let inner = &*self.inner;
        let _names = inner.names.lock().unwrap_or_else(PoisonError::into_inner);
        let Copied { name, created, sequence, in_place, update, .. } = copied;
        let entry = inner.entry(&name);
        if entry.is_none() {
            let what = "it was deleted or renamed meanwhile".to_owned();
            return Err(ReplicaError::Copy { name, what });
        }
        let mut writer = entry.as_ref().map(|entry| entry.writer());
        if let Some(entry) = &entry {
            let current = entry.current();
            if entry.created > created || (entry.created == created && current.sequence > sequence) {
                let what = format!("the repository is at record {} and the copy at {sequence}", current.sequence);
                return Err(ReplicaError::Copy { name, what });
            }
            if current.quarantine.is_none() {
                inner.quarantine(entry, "a copy takes its place".to_owned())?;
            }
        }
        let altered = self.inner.is_altered(entry.as_deref(), writer.as_deref());
        inner.state.sync()?;
        inner.folders.sync()?;
        inner.stop_copy("ready");
        if !in_place {
            if let Some(entry) = entry.as_deref().filter(|entry| altered && entry.tree().is_some()) {
                // Kept as well, where only this server writes.
                inner.copy_here(entry)?;
            }
            if let Some(aside) = inner.folders.set_aside(&name, sequence, altered)?
                && altered
            {
                let aside = aside.display();
                tracing::warn!(repository = name.as_str(), %aside, "what was altered is kept; remove it when nobody misses anything");
            }
            inner.stop_copy("moved-away");
            inner.folders.move_in(&name, created)?;
        }
        inner.stop_copy("moved-in");
        inner.folders.sync()?;
        let looked = inner.look_at(&name);
        let (state, stat) = looked.map_err(|what| ReplicaError::Copy { name: name.clone(), what })?;
        let kept = Advance {
            id: 0,
            sequence,
            digest: *update.digest().as_bytes(),
            state: &state,
            stat: &stat,
            bytes: grown(0, &update),
            nodes: Some(&update),
            afresh: true,
        };
        let id = inner.state.create(&name, created, entry.as_ref().map(|entry| entry.id), &kept, None)?;
        inner.known().positions.forget(&name);
        inner.state.set_durable(&inner.server_row(), &[(id, sequence)])?;
        inner.stop_copy("kept");
        inner.enter(&name, created, Advance { id, ..kept }, Some(sequence), None);
        inner.volatile.index_later(&name);
        if let Some(writer) = writer.take() {
            drop(writer);
        }
        Ok(())
    }
}

impl Inner {
    fn read_back(
        &self,
        name: &RepositoryName,
        created: Sequence,
        sequence: Sequence,
        digest: [u8; 32],
        hg: PathBuf,
        in_place: bool,
    ) -> Result<Option<Copied>, ReplicaError> {
        let update = match DigestUpdate::of_store(&hg) {
            Ok(update) if *update.digest().as_bytes() == digest => update,
            // What is in the place may be damaged in any way.
            Ok(_) => return Ok(None),
            Err(_) if in_place => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut nodes = HashMap::new();
        update.keep(&mut nodes)?;
        Ok(Some(Copied { name: name.clone(), created, sequence, hg, in_place, update, nodes }))
    }

    fn stop_copy(&self, step: &str) {
        hgfleet_log::stop_at(&format!("{}.copy.{step}", self.folders.label()));
    }
}

/// Removes a folder with everything in it, if it is there.
pub(crate) fn remove(path: &Path) -> Result<(), ReplicaError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(ReplicaError::io("remove", path)(error)),
        _ => Ok(()),
    }
}
