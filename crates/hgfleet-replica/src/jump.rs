//! Going on from a later record, where the log no longer has those between.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use hgfleet_log::{LogId, RepositoryName, Sequence, Tail};

use crate::ReplicaError;
use crate::replica::Replica;
use crate::state::Settled;

/// A repository as another server has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Theirs {
    /// Its name.
    pub name: RepositoryName,
    /// The record that made it.
    pub created: Sequence,
    /// Its last record that is applied there.
    pub sequence: Sequence,
}

impl Replica {
    /// Goes on behind `to`, whatever is missing before it. `theirs` is what another server has, at `to` or later: what
    /// that server has and this one lacks goes into quarantine, to be copied; what it does not have, and `is_later` does
    /// not say to be removed by a record behind `to`, was deleted. All else stays in service.
    ///
    /// Returns how many repositories have to be copied. Everything that was applied must be on disk.
    ///
    /// # Errors
    /// A record of another log; a disk that fails. Called again it goes on.
    pub fn jump(
        &self,
        log: LogId,
        to: Tail,
        theirs: &[Theirs],
        is_later: &dyn Fn(&RepositoryName) -> bool,
    ) -> Result<usize, ReplicaError> {
        let inner = &*self.inner;
        let _names = inner.names.lock().unwrap_or_else(PoisonError::into_inner);
        let by_name: BTreeMap<&RepositoryName, &Theirs> = theirs.iter().map(|one| (&one.name, one)).collect();
        for entry in inner.entries() {
            let gone = match by_name.get(&entry.name) {
                Some(theirs) => theirs.created > entry.created && theirs.created <= to.sequence,
                None => !is_later(&entry.name),
            };
            if gone {
                let _writer = entry.writer();
                tracing::info!(repository = entry.name.as_str(), "a record that this server never saw deleted it");
                inner.folders.set_aside(&entry.name, to.sequence, false)?;
                inner.state.delete(entry.id)?;
                inner.remove(&entry.name);
                inner.known().positions.forget(&entry.name);
            }
        }
        // Which of them were given up meanwhile, nobody tells.
        for row in inner.state.deleted()?.into_iter().filter(|row| row.sequence <= to.sequence) {
            inner.folders.purge(row.sequence, to.sequence)?;
            inner.state.settle(&inner.server_row(), &Settled::Purged { deleted: row.sequence })?;
        }
        let mut lacking = 0;
        // What was made later comes by its record.
        for theirs in theirs.iter().filter(|theirs| theirs.created <= to.sequence) {
            let reason = || format!("records up to {} are no longer in the log; a copy is needed", to.sequence);
            match inner.entry(&theirs.name) {
                Some(entry) => {
                    let current = entry.current();
                    if current.quarantine.is_none() && current.sequence < theirs.sequence {
                        inner.quarantine(&entry, reason())?;
                    }
                    lacking += usize::from(entry.current().quarantine.is_some());
                }
                None => {
                    inner.enter_absent(&theirs.name, theirs.created, reason())?;
                    lacking += 1;
                }
            }
        }
        {
            let mut known = inner.known();
            let expected = *known.log.get_or_insert(log);
            if expected != log {
                return Err(ReplicaError::OtherLog { sequence: to.sequence, found: log, expected });
            }
            if known.seen.is_none_or(|(seen, _)| seen < to.sequence) {
                known.seen = Some((to.sequence, to.hash));
            }
            known.positions.jump(to.sequence);
        }
        inner.sync()?;
        Ok(lacking)
    }
}
