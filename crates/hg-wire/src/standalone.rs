//! A host for one repository without a fleet: the log of one.
//!
//! A push is durable before the store changes, as in a fleet: its change is written to a file beside the store, [`PENDING`], and that file being there is the
//! commit. Then the change is applied and brought to disk, and the file goes. Whoever opens the repository next and finds the file applies it again, from its
//! first byte on: a process that was killed at any instruction leaves a push whole or not there.
//!
//! Other programs are kept out by Mercurial's own locks, from before the push is checked until after it is applied.

mod pending;

use crate::host::{CommitError, Host, HostError, Push};
use hg_store::apply::{ApplyError, LockScope, StoreLock};
use hg_store::config::Configure;
use hg_store::prepare::PreparedChange;
use hg_store::requirements::ReadOnly;
use hg_store::{Repository, Snapshot, SnapshotState, StoreError};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use pending::{PENDING, PendingError};

/// For how long a push waits for other writers; stock's default of `ui.timeout`.
pub const LOCK_WAIT: Duration = Duration::from_secs(600);

/// A repository can't be served.
#[derive(Debug, thiserror::Error)]
pub enum StandaloneError {
    /// It can't be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A push that was stored can't be applied.
    #[error(transparent)]
    Pending(#[from] PendingError),
}

/// One repository, served by this process alone.
pub struct StandaloneHost {
    repository: Arc<Repository>,
    hg: PathBuf,
    lock_wait: Duration,
    /// Told before a push waits for a lock: a whole line for the client.
    on_wait: Box<dyn FnMut(&str)>,
    kept: Option<(SnapshotState, Arc<Snapshot>)>,
}

impl StandaloneHost {
    /// Opens the repository in the folder `root`, and first applies a push that was stored and not applied.
    ///
    /// # Errors
    /// It can't be opened or read, or the stored push can't be applied.
    pub fn open(root: &Path, on_wait: impl FnMut(&str) + 'static) -> Result<StandaloneHost, StandaloneError> {
        StandaloneHost::of(Repository::open(root)?, on_wait)
    }

    /// The same, with somebody who says what its configuration is.
    ///
    /// # Errors
    /// As for [`StandaloneHost::open`].
    pub fn open_configured(
        root: &Path,
        configure: Arc<dyn Configure>,
        on_wait: impl FnMut(&str) + 'static,
    ) -> Result<StandaloneHost, StandaloneError> {
        StandaloneHost::of(Repository::open_configured(root, configure)?, on_wait)
    }

    fn of(repository: Arc<Repository>, on_wait: impl FnMut(&str) + 'static) -> Result<StandaloneHost, StandaloneError> {
        let hg = repository.hg_of_store();
        pending::redo(&hg, scope(&repository), LOCK_WAIT)?;
        Ok(StandaloneHost { repository, hg, lock_wait: LOCK_WAIT, on_wait: Box::new(on_wait), kept: None })
    }

    /// Changes how long a push waits for other writers.
    pub fn set_lock_wait(&mut self, wait: Duration) {
        self.lock_wait = wait;
    }

    fn current(&mut self) -> Result<Arc<Snapshot>, HostError> {
        let failed = |error: StoreError| HostError::Failed(error.to_string());
        let state = self.repository.current_state().map_err(failed)?;
        if let Some((kept, snapshot)) = &self.kept
            && *kept == state
        {
            return Ok(Arc::clone(snapshot));
        }
        let snapshot = Arc::new(self.repository.snapshot(state.clone()).map_err(failed)?);
        self.kept = Some((state, Arc::clone(&snapshot)));
        Ok(snapshot)
    }

    fn lock(&mut self) -> Result<StoreLock, HostError> {
        let scope = scope(&self.repository);
        let refused = |error: ApplyError| match error {
            ApplyError::Locked { .. } => {
                HostError::Refused(format!("refused: {error}, on this repository. Push again later"))
            }
            other => HostError::Failed(other.to_string()),
        };
        match StoreLock::acquire(&self.hg, scope, Duration::ZERO) {
            Err(ApplyError::Locked { holder }) => {
                (self.on_wait)(&format!(
                    "waiting for lock on repository {} held by {holder}\n",
                    self.repository.root().display()
                ));
                StoreLock::acquire(&self.hg, scope, self.lock_wait).map_err(refused)
            }
            other => other.map_err(refused),
        }
    }
}

/// Which of Mercurial's locks a push takes: as stock's, the working folder's too where bookmarks lie beside the store.
fn scope(repository: &Repository) -> LockScope {
    if repository.requirements().bookmarks_in_store() { LockScope::Store } else { LockScope::All }
}

impl Host for StandaloneHost {
    fn snapshot(&mut self) -> Result<Arc<Snapshot>, HostError> {
        self.current()
    }

    /// A file in the repository's folder, so that what it holds can become the stored push without being copied.
    fn spool(&mut self) -> io::Result<File> {
        tempfile::tempfile_in(&self.hg)
    }

    fn begin_push(&mut self) -> Result<Box<dyn Push + '_>, HostError> {
        // Before the lock: where there is no `store`, there is no place for it.
        if let Some(why) = self.repository.requirements().read_only() {
            let ReadOnly { what, remedy } = why;
            return Err(HostError::Refused(format!(
                "refused: {what} can't be written here, on this repository. {remedy}"
            )));
        }
        let lock = self.lock()?;
        if pending::exists(&self.hg) {
            pending::redo_locked(&self.hg, &lock)
                .map_err(|error| HostError::Failed(format!("an earlier push can't be applied: {error}")))?;
        }
        if self.hg.join("store/journal").symlink_metadata().is_ok() {
            return Err(HostError::Refused(
                "refused: abandoned transaction found, in the store. Run 'hg recover' on the server".into(),
            ));
        }
        let snapshot = self.current()?;
        Ok(Box::new(StandalonePush { hg: &self.hg, lock, snapshot }))
    }
}

/// A push under the repository's locks.
struct StandalonePush<'h> {
    hg: &'h Path,
    lock: StoreLock,
    snapshot: Arc<Snapshot>,
}

impl Push for StandalonePush<'_> {
    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot)
    }

    fn commit(self: Box<Self>, change: PreparedChange, _messages: &mut dyn Write) -> Result<(), CommitError> {
        pending::store(self.hg, &change)?;
        pending::apply(self.hg, &self.lock)
    }
}

#[cfg(test)]
mod tests;
