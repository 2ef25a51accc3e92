//! A log in SQLite, for one machine. Its tables are described in `docs/formats/log.md`.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;

use crate::ids::{Epoch, LogId, RecordId, Sequence};
use crate::log::{AppendError, Draft, Lease, LeaseError, Log, LogError, Payload, Tail, ViewError};
use crate::membership::{Member, View};
use crate::name::RepositoryName;
use crate::record::Record;

/// A log in the files `log.sqlite` and `members.sqlite` of one folder.
#[derive(Clone, Debug)]
pub struct EmbeddedLog {}

impl EmbeddedLog {
    /// Opens the log in this folder for appending, and makes it where there is none.
    ///
    /// Blocks; afterwards everything that can be read is durable.
    ///
    /// # Errors
    /// Where it is no log, a newer hgfleet's, or can't be read and written.
    pub fn open_master(dir: &Path) -> Result<EmbeddedLog, LogError> {
        let _ = dir;
        todo!()
    }

    /// Opens the log in this folder for reading.
    ///
    /// # Errors
    /// [`LogError::Absent`] where there is none yet; where it is no log, a newer hgfleet's, or can't be read.
    pub fn open_reader(dir: &Path) -> Result<EmbeddedLog, LogError> {
        let _ = dir;
        todo!()
    }
}

#[async_trait]
impl Log for EmbeddedLog {
    async fn identity(&self) -> LogId {
        todo!()
    }
    async fn append(&self, _draft: Draft, _payload: Payload) -> Result<Record, AppendError> {
        todo!()
    }
    async fn end(&self) -> Result<Option<Tail>, LogError> {
        todo!()
    }
    async fn first(&self) -> Result<Sequence, LogError> {
        todo!()
    }
    async fn read(&self, _from: Sequence, _max: usize) -> Result<Vec<Record>, LogError> {
        todo!()
    }
    async fn payload(&self, _record: &Record, _into: &mut File) -> Result<(), LogError> {
        todo!()
    }
    async fn changed(&self, _after: Option<Sequence>, _wait: Duration) {
        todo!()
    }
    fn wake(&self) {
        todo!()
    }
    async fn last_of(&self, _repository: &RepositoryName) -> Result<Option<Record>, LogError> {
        todo!()
    }
    async fn find(&self, _id: &RecordId) -> Result<Option<Record>, LogError> {
        todo!()
    }
    async fn trim(&self, _checkpoint: Sequence) -> Result<(), LogError> {
        todo!()
    }
    async fn lease(&self) -> Result<Option<Lease>, LogError> {
        todo!()
    }
    async fn renew_lease(
        &self,
        _holder: &str,
        _epoch: Option<Epoch>,
        _counter: Option<u64>,
    ) -> Result<Lease, LeaseError> {
        todo!()
    }
    async fn view(&self) -> Result<Option<View>, LogError> {
        todo!()
    }
    async fn set_view(&self, _expected: Option<u64>, _view: View) -> Result<(), ViewError> {
        todo!()
    }
    async fn put_heartbeat(&self, _member: Member) -> Result<(), LogError> {
        todo!()
    }
    async fn members(&self) -> Result<Vec<Member>, LogError> {
        todo!()
    }
    async fn disk_bytes(&self) -> Result<u64, LogError> {
        todo!()
    }
}
