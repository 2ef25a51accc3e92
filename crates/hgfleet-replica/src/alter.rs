//! A record that alters a store.

use std::io;
use std::path::Path;
use std::time::Duration;

use hg_store::apply::{Apply, ApplyMode, LockScope, Step, StoreLock, StoreStat};
use hg_store::change::{ChangeError, ChangeRef};
use hg_store::digest::DigestUpdate;
use hgfleet_log::{Sequence, StoreRecord, stop_at};

use crate::ReplicaError;
use crate::replica::{Inner, Outcome};
use crate::repository::{Entry, Writer};
use crate::state::Advance;

/// How long an apply waits for a plain `hg` that holds the store's lock.
const LOCK_WAIT: Duration = Duration::from_secs(10);

/// Why a record can't be applied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Obstacle {
    /// The repository's own trouble: it goes into quarantine.
    #[error("record {sequence}: {why}")]
    Repository { sequence: Sequence, why: String },
    /// The server's.
    #[error(transparent)]
    Server(#[from] ReplicaError),
}

/// Says of which record an error is, as a reason for a quarantine.
pub(crate) fn at<E: std::fmt::Display>(sequence: Sequence) -> impl Fn(E) -> Obstacle {
    move |error| Obstacle::Repository { sequence, why: error.to_string() }
}

impl Inner {
    pub(crate) fn alter(
        &self,
        sequence: Sequence,
        record: &StoreRecord,
        change: &[u8],
    ) -> Result<Outcome, ReplicaError> {
        let Some(entry) = self.entry(&record.repository) else {
            let reason = format!("record {sequence} alters a repository that no record made");
            return self.quarantine_unknown(&record.repository, sequence, reason);
        };
        let mut writer = entry.writer();
        let current = entry.current();
        if let Some(reason) = &current.quarantine {
            return Ok(Outcome::Quarantined(reason.clone()));
        }
        if sequence <= current.sequence {
            return Ok(Outcome::Already);
        }
        match self.alter_locked(&entry, &mut writer, sequence, record, change) {
            Ok(()) => Ok(Outcome::Applied),
            Err(Obstacle::Server(error)) => Err(error),
            Err(obstacle) => self.quarantine(&entry, obstacle.to_string()),
        }
    }

    fn alter_locked(
        &self,
        entry: &Entry,
        writer: &mut Writer,
        sequence: Sequence,
        record: &StoreRecord,
        bytes: &[u8],
    ) -> Result<(), Obstacle> {
        let refuse = |why: &str| at(sequence)(why);
        let current = entry.current();
        self.bring_here(entry, writer).map_err(at(sequence))?;
        let hg = self.folders.repository(&entry.name).join(".hg");
        if record.before != Some(current.digest) {
            return Err(refuse("it was made for another state of the store"));
        }
        let change = parse(record, bytes).map_err(at(sequence))?;
        let computed = writer.computed.take();
        let update = match computed.filter(|it| it.before == current.digest && it.change == *change.digest()) {
            Some(computed) => computed.update,
            None => DigestUpdate::of_change(&hg, &mut self.state.nodes(entry.id), &change).map_err(at(sequence))?,
        };
        // Known before the first byte, so a change that leads elsewhere is never written.
        if record.after != Some(*update.digest().as_bytes()) {
            return Err(refuse("its change does not lead to the state that it names"));
        }
        let state = change.state_after(&current.state).map_err(at(sequence))?;
        self.check_untouched(entry, writer, &hg, current.digest, sequence)?;

        self.state.set_intent(entry.id, sequence)?;
        writer.intent = sequence;
        self.stop("intent");
        write(self, &hg, &change, sequence)?;
        if change.operations().any(|operation| matches!(operation.path(), b"requires" | b"store/requires")) {
            entry.reopen();
        }
        self.stop("done");
        writer.stat = StoreStat::of(&hg).map_err(at(sequence))?;
        let bytes = grown(current.bytes, &update);
        self.state.advance(&Advance {
            id: entry.id,
            sequence,
            digest: *update.digest().as_bytes(),
            state: &state,
            stat: &writer.stat,
            bytes,
            nodes: Some(&update),
            afresh: false,
        })?;
        self.known().positions.volatile(sequence, &entry.name);
        self.volatile.add(&entry.name, entry.id, sequence, &change);
        entry.show(sequence, *update.digest().as_bytes(), state, bytes);
        Ok(())
    }

    /// A named step at which a test stops this server.
    pub(crate) fn stop(&self, step: &str) {
        stop_at(&format!("{}.apply.{step}", self.folders.label()));
    }
}

/// Returns how many bytes a store has after an update.
pub(crate) fn grown(bytes: u64, update: &DigestUpdate) -> u64 {
    bytes.saturating_add_signed(update.growth())
}

/// Writes a change, under the store's lock.
fn write(inner: &Inner, hg: &Path, change: &ChangeRef<'_>, sequence: Sequence) -> Result<(), Obstacle> {
    let lock = StoreLock::acquire(hg, LockScope::for_change(change), LOCK_WAIT).map_err(at(sequence))?;
    let mut stops = Stops { inner, operations: change.len(), opened: 0, written: false };
    let step = &mut |step: Step<'_>| {
        stops.pass(step);
        Ok::<(), io::Error>(())
    };
    let apply = Apply { mode: ApplyMode::Normal, skip: &|_| false, step };
    apply.run(&lock, change).map_err(at(sequence))
}

/// Finds the named steps within an apply.
struct Stops<'a> {
    inner: &'a Inner,
    operations: usize,
    /// Files that were begun.
    opened: usize,
    written: bool,
}

impl Stops<'_> {
    fn pass(&mut self, step: Step<'_>) {
        if step.path.starts_with(b"store/journal") {
            return;
        }
        if self.written {
            self.written = false;
            if self.opened == 1 {
                self.inner.stop("begun");
            }
        }
        match step.verb {
            "write" => self.written = true,
            "open" | "create" => {
                self.opened += 1;
                if self.opened == self.operations / 2 + 1 {
                    self.inner.stop("middle");
                }
            }
            _ => {}
        }
    }
}

/// Reads a record's change.
pub(crate) fn parse<'a>(record: &StoreRecord, bytes: &'a [u8]) -> Result<ChangeRef<'a>, ChangeError> {
    if record.change.bytes != bytes.len() as u64 {
        return Err(ChangeError::Damaged("it is not as long as its record says"));
    }
    ChangeRef::parse(bytes)
}
