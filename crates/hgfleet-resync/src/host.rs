//! The server that copies are taken for.

use std::any::Any;
use std::io;
use std::sync::Arc;

use hgfleet_log::{Record, RepositoryName, Sequence};
use hgfleet_replica::{Fetched, Replica};

/// A server with stores: what it has to tell and to do for its own repair. Calls block, on threads that may.
pub trait Host: Send + Sync + 'static {
    /// Its name in the configuration.
    fn name(&self) -> &str;

    /// Whether it is a mirror: those are asked for copies first.
    fn is_mirror(&self) -> bool;

    /// Its stores.
    fn replica(&self) -> &Arc<Replica>;

    /// Up to where its readers may see the log: nothing newer is taken into service.
    fn shown(&self) -> Option<Sequence>;

    /// Returns a record; none where it is not there, or not any more.
    ///
    /// # Errors
    /// What has it can't be read.
    fn record(&self, sequence: Sequence) -> io::Result<Option<Record>>;

    /// Returns a record with its change; none where it is not there, or not any more.
    ///
    /// # Errors
    /// What has it can't be read.
    fn fetch(&self, sequence: Sequence) -> io::Result<Option<Fetched>>;

    /// Returns the last record of a repository.
    ///
    /// # Errors
    /// The log can't be read.
    fn last_of(&self, name: &RepositoryName) -> io::Result<Option<Record>>;

    /// Waits until no record of this repository is being applied, and lets none be until what is returned is dropped.
    fn hold(&self, name: &RepositoryName) -> Held;

    /// Whether a store that somebody else wrote to is exchanged without an operator's word. Where such a write may be
    /// somebody's only copy of their work, it is not.
    fn heals_altered(&self) -> bool;
}

/// A repository to which no record is applied meanwhile.
pub struct Held {
    /// All of its records up to here were applied, or passed over; those behind will be applied.
    pub end: Option<Sequence>,
    /// Ends the hold.
    pub guard: Box<dyn Any + Send>,
}
