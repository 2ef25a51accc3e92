//! The log as the source from which a server redoes what it may have lost.

use std::fs::File;
use std::io;
use std::sync::Arc;

use hgfleet_log::{Log, LogError, Record, Sequence};
use memmap2::Mmap;
use tokio::runtime::Handle;

use super::again::again;

/// Gives records with their changes, one at a time. Blocks: for a thread that may.
pub(crate) struct LogSource {
    log: Arc<dyn Log>,
    runtime: Handle,
}

/// A record with its change.
pub(crate) type Sourced = Option<(Record, Box<dyn AsRef<[u8]>>)>;

impl LogSource {
    /// Must be called within a runtime.
    pub(crate) fn new(log: Arc<dyn Log>) -> LogSource {
        LogSource { log, runtime: Handle::current() }
    }

    /// On a thread of its own, this runtime's or not.
    pub(crate) fn within(log: Arc<dyn Log>, runtime: Handle) -> LogSource {
        LogSource { log, runtime }
    }

    /// Returns the record with this sequence, if the log has it still.
    pub(crate) fn get(&mut self, sequence: Sequence) -> io::Result<Sourced> {
        let records = match self.runtime.block_on(again(|| self.log.read(sequence, 1))) {
            Ok(records) => records,
            Err(LogError::Trimmed { .. }) => return Ok(None),
            Err(error) => return Err(io::Error::other(error)),
        };
        let Some(record) = records.into_iter().next() else { return Ok(None) };
        let change = self.change(&record)?;
        Ok(Some((record, change)))
    }

    /// Returns a record's change.
    pub(crate) fn change(&self, record: &Record) -> io::Result<Box<dyn AsRef<[u8]>>> {
        if record.change_bytes() == 0 {
            return Ok(Box::new(Vec::new()));
        }
        let mut file: File = tempfile::tempfile()?;
        self.runtime.block_on(self.log.payload(record, &mut file)).map_err(io::Error::other)?;
        // SAFETY: the file is unlinked and this process alone has it open.
        let map = unsafe { Mmap::map(&file)? };
        Ok(Box::new(map))
    }
}
