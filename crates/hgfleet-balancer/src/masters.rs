//! Where the master is, at the moment of asking.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use hgfleet_log::Log;
use hgfleet_log::holder::{Holder, MIRRORS_SOCKET, NewestEpoch, SSH_SOCKET, holder};

use crate::MasterAddress;
use crate::ssh::Door;

/// Finds the lease's holder, and its doors.
#[derive(Debug)]
pub(crate) struct Masters {
    run: PathBuf,
    elsewhere: Vec<MasterAddress>,
    log: RwLock<Option<Arc<dyn Log>>>,
    /// Of the views that were seen.
    pub(crate) epoch: NewestEpoch,
}

impl Masters {
    pub(crate) fn new(run: PathBuf, elsewhere: Vec<MasterAddress>) -> Arc<Self> {
        Arc::new(Self { run, elsewhere, log: RwLock::new(None), epoch: NewestEpoch::default() })
    }

    /// The log was opened, or can't be read any more.
    pub(crate) fn set_log(&self, log: Option<Arc<dyn Log>>) {
        *self.log.write().unwrap_or_else(PoisonError::into_inner) = log;
    }

    /// The master, as the log names it now; none while there is none, or the log can't be read.
    pub(crate) async fn holder(&self) -> Option<Holder> {
        let log = self.log.read().unwrap_or_else(PoisonError::into_inner).clone();
        match holder(&*log?).await {
            Ok(holder) => holder,
            Err(error) => {
                tracing::debug!(%error, "the lease can't be read");
                None
            }
        }
    }

    /// Where a master takes streams.
    pub(crate) fn streams(&self, holder: &Holder) -> Option<PathBuf> {
        holder.socket(&self.run, MIRRORS_SOCKET)
    }

    /// Where a master takes SSH connections.
    pub(crate) fn ssh(&self, holder: &Holder) -> Option<Door> {
        match self.elsewhere.iter().find(|there| there.name == holder.name) {
            Some(there) => Some(Door::Network(there.address)),
            None => holder.socket(&self.run, SSH_SOCKET).map(Door::Socket),
        }
    }
}
