//! A start: what may lie half written in the stores is written again, from `staged/` or, where that
//! lacks a record, from the log.

use std::io;
use std::sync::Arc;

use hgfleet_log::{Access, Log, LogLocation, Record, Sequence};
use memmap2::Mmap;
use tokio::runtime::Handle;

use crate::staging::Staging;

/// A record's change, from wherever it came.
pub(crate) type Change = Box<dyn AsRef<[u8]>>;

/// Gives the replica records again. Blocks: for a thread that may.
#[derive(Debug, Clone)]
pub(crate) struct Records {
    staging: Arc<Staging>,
    log: Option<Arc<dyn Log>>,
    runtime: Handle,
}

impl Records {
    /// Takes records from `staging` first, then from `log`.
    pub(crate) fn new(staging: Arc<Staging>, log: Option<Arc<dyn Log>>, runtime: Handle) -> Self {
        Self { staging, log, runtime }
    }

    /// Opens the log too, if it can be read: a mirror starts without it as well.
    pub(crate) fn open(staging: Arc<Staging>, log: &LogLocation, runtime: Handle) -> Self {
        let log = runtime.block_on(log.open(Access::Read));
        let log = log.map_err(|error| tracing::info!(%error, "starting without the log"));
        Self::new(staging, log.ok(), runtime)
    }

    /// The position that the fleet shows, as the log knows it.
    pub(crate) fn visible(&self) -> Option<Sequence> {
        let log = self.log.as_ref()?;
        self.runtime.block_on(log.view()).ok()??.visible
    }

    /// One record with its change; none where neither has it.
    ///
    /// # Errors
    ///
    /// What has it can't be read.
    pub(crate) fn get(&self, sequence: Sequence) -> io::Result<Option<(Record, Change)>> {
        if let Some((record, change)) = self.staging.get(sequence).map_err(io::Error::other)? {
            return Ok(Some((Record::clone(&record), Box::new(change))));
        }
        let Some(log) = &self.log else {
            return Ok(None);
        };
        let read = self.runtime.block_on(log.read(sequence, 1));
        let record = match read {
            Ok(records) => records.into_iter().next(),
            Err(hgfleet_log::LogError::Trimmed { .. }) => None,
            Err(error) => return Err(io::Error::other(error)),
        };
        let Some(record) = record.filter(|record| record.sequence == sequence) else {
            return Ok(None);
        };
        if record.change_bytes() == 0 {
            return Ok(Some((record, Box::new([]))));
        }
        let mut file = self.staging.scratch(record.change_bytes())?;
        let fetched = self.runtime.block_on(log.payload(&record, &mut file));
        fetched.map_err(io::Error::other)?;
        // SAFETY: the file has no name, and nobody else has it.
        let map = unsafe { Mmap::map(&file)? };
        Ok(Some((record, Box::new(map))))
    }
}
