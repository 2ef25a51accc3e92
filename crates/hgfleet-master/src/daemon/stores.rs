//! The stores that a server serves and repairs: its own, or for one term those of a shared volume.

use std::sync::{Arc, Mutex, PoisonError};

use hgfleet_log::Log;
use hgfleet_replica::Replica;
use hgfleet_resync::{Resync, StopOnDrop};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::host::MasterHost;
use crate::options::{MasterError, MasterOptions};

/// Stores that are repaired and scrubbed, and of which other servers take copies over the inner door.
pub(crate) struct Stores {
    pub replica: Arc<Replica>,
    pub resync: Arc<Resync>,
    /// The inner door.
    _inner: JoinSet<()>,
    _repairing: StopOnDrop,
}

impl Stores {
    /// Begins to repair, and opens the inner door.
    pub(crate) fn start(
        options: &MasterOptions,
        log: &Arc<dyn Log>,
        replica: Arc<Replica>,
        applying: &Arc<tokio::sync::Mutex<()>>,
    ) -> Result<Stores, MasterError> {
        let host = MasterHost {
            name: options.name.clone(),
            log: log.clone(),
            replica: replica.clone(),
            applying: applying.clone(),
            runtime: Handle::current(),
        };
        let wrong = |error| MasterError::Io { verb: "open the inner door in", path: options.resync.run.clone(), error };
        let started = Resync::start(Arc::new(host), options.resync.clone(), Handle::current());
        let (resync, listener) = started.map_err(wrong)?;
        let mut inner = JoinSet::new();
        inner.spawn(resync.clone().serve(listener));
        Ok(Stores { replica, _inner: inner, _repairing: StopOnDrop(resync.clone()), resync })
    }
}

/// Where the stores of this server are kept, as its role changes.
#[derive(Default)]
pub(crate) struct Kept(Mutex<Option<Arc<Stores>>>);

impl Kept {
    pub(crate) fn get(&self) -> Option<Arc<Stores>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set(&self, stores: Stores) -> Arc<Stores> {
        let stores = Arc::new(stores);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(stores.clone());
        stores
    }

    pub(crate) fn take(&self) -> Option<Arc<Stores>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
