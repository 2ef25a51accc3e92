//! The master, or a standby, as the one that copies are taken for.

use std::io;
use std::sync::Arc;

use hgfleet_log::{Log, LogError, Record, RepositoryName, Sequence};
use hgfleet_replica::{Fetched, Replica};
use hgfleet_resync::{Held, Host};
use tokio::runtime::Handle;
use tokio::sync::Mutex;

use super::redo::LogSource;

/// See [`Host`].
pub(crate) struct MasterHost {
    pub name: String,
    pub log: Arc<dyn Log>,
    pub replica: Arc<Replica>,
    /// Held while a standby applies.
    pub applying: Arc<Mutex<()>>,
    pub runtime: Handle,
}

impl Host for MasterHost {
    fn name(&self) -> &str {
        &self.name
    }

    fn is_mirror(&self) -> bool {
        false
    }

    fn replica(&self) -> &Arc<Replica> {
        &self.replica
    }

    fn shown(&self) -> Option<Sequence> {
        // It shows whatever the log has.
        self.runtime.block_on(self.log.end()).ok().flatten().map(|tail| tail.sequence)
    }

    fn record(&self, sequence: Sequence) -> io::Result<Option<Record>> {
        match self.runtime.block_on(self.log.read(sequence, 1)) {
            Ok(records) => Ok(records.into_iter().next()),
            Err(LogError::Trimmed { .. }) => Ok(None),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    fn fetch(&self, sequence: Sequence) -> io::Result<Option<Fetched>> {
        LogSource::within(self.log.clone(), self.runtime.clone()).get(sequence)
    }

    fn last_of(&self, name: &RepositoryName) -> io::Result<Option<Record>> {
        self.runtime.block_on(self.log.last_of(name)).map_err(io::Error::other)
    }

    /// What a standby passes over is kept away meanwhile. A master tries each push that the log has again until it is
    /// applied, so it passes over none; and an exchange refuses a copy that is older than what was applied.
    fn hold(&self, name: &RepositoryName) -> Held {
        let guard = self.applying.clone().blocking_lock_owned();
        let last = self.last_of(name).ok().flatten().map(|record| record.sequence);
        Held { end: last, guard: Box::new(guard) }
    }

    fn heals_altered(&self) -> bool {
        // Somebody's commit in the master's store may be nowhere else: an operator decides.
        false
    }
}
