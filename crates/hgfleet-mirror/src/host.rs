//! The mirror as the one that copies are taken for.

use std::io;
use std::sync::Arc;

use hgfleet_log::{LogError, Record, RepositoryName, Sequence};
use hgfleet_replica::{Fetched, Replica};
use hgfleet_resync::{Held, Host};
use tokio::runtime::Handle;

use crate::follow::Standing;
use crate::recover::Records;
use crate::show::Showing;
use crate::staging::Staging;

/// See [`Host`].
pub(crate) struct MirrorHost {
    pub(crate) name: String,
    pub(crate) replica: Arc<Replica>,
    pub(crate) staging: Arc<Staging>,
    pub(crate) showing: Arc<Showing>,
    pub(crate) standing: Arc<Standing>,
    pub(crate) runtime: Handle,
}

impl Host for MirrorHost {
    fn name(&self) -> &str {
        &self.name
    }

    fn is_mirror(&self) -> bool {
        true
    }

    fn replica(&self) -> &Arc<Replica> {
        &self.replica
    }

    fn shown(&self) -> Option<Sequence> {
        self.showing.position()
    }

    fn record(&self, sequence: Sequence) -> io::Result<Option<Record>> {
        if let Some((record, _)) = self.staging.get(sequence).map_err(io::Error::other)? {
            return Ok(Some(Record::clone(&record)));
        }
        let Some(log) = self.standing.log() else { return Ok(None) };
        match self.runtime.block_on(log.read(sequence, 1)) {
            Ok(records) => Ok(records.into_iter().next()),
            Err(LogError::Trimmed { .. }) => Ok(None),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    fn fetch(&self, sequence: Sequence) -> io::Result<Option<Fetched>> {
        Records::new(self.staging.clone(), self.standing.log(), self.runtime.clone()).get(sequence)
    }

    fn last_of(&self, name: &RepositoryName) -> io::Result<Option<Record>> {
        let Some(log) = self.standing.log() else { return Ok(None) };
        self.runtime.block_on(log.last_of(name)).map_err(io::Error::other)
    }

    fn hold(&self, name: &RepositoryName) -> Held {
        let (end, guard) = self.showing.hold(name);
        Held { end, guard: Box::new(guard) }
    }

    fn heals_altered(&self) -> bool {
        // Nothing is written here but what the log has.
        true
    }
}
