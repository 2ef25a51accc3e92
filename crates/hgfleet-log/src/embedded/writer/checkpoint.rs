//! Moving what is durable in the write-ahead log into the file itself, beside the appends and not between them.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

use rusqlite::Connection;

use crate::embedded::Shared;
use crate::embedded::files::{LOG, open_or_make};
use crate::log::LogError;

/// A checkpoint is due after so many bytes.
const DUE_BYTES: u64 = 4 << 20;
/// A write-ahead log of this length, in bytes, means that the other thread can't keep up: appends wait for a checkpoint.
const OVERDUE_BYTES: u64 = 512 << 20;
/// What a record costs beside its own bytes: pages of the table and of two indexes, each written whole.
const OVERHEAD_BYTES: u64 = 16 << 10;

/// The thread that makes them, and what was written since the last.
pub(super) struct Checkpoints {
    due: Option<SyncSender<()>>,
    bytes: u64,
}

impl Checkpoints {
    pub(super) fn start(shared: Arc<Shared>) -> Checkpoints {
        let (due, wake) = sync_channel(1);
        let thread = std::thread::Builder::new().name("log-checkpoint".to_owned()).spawn(move || {
            let mut connection = None;
            while wake.recv().is_ok() {
                if let Err(error) = passive(&shared, &mut connection) {
                    // The write-ahead log still has everything.
                    tracing::warn!(%error, "a checkpoint of the log failed and will be tried again");
                }
            }
        });
        // Without the thread the writer checkpoints itself, when it is overdue.
        Checkpoints { due: thread.is_ok().then_some(due), bytes: 0 }
    }

    /// A transaction with this many bytes was made.
    pub(super) fn written(&mut self, shared: &Shared, connection: &Connection, bytes: u64) {
        self.bytes += bytes + OVERHEAD_BYTES;
        if self.bytes < DUE_BYTES {
            return;
        }
        self.bytes = 0;
        if let Some(due) = &self.due {
            // Full: one is due already.
            let _ = due.try_send(());
        }
        let overdue = std::fs::metadata(&shared.wal).is_ok_and(|wal| wal.len() > OVERDUE_BYTES);
        if overdue && let Err(error) = checkpoint(connection, "TRUNCATE") {
            tracing::warn!(%error, "a checkpoint of the log failed and will be tried again");
        }
    }
}

fn passive(shared: &Shared, connection: &mut Option<Connection>) -> Result<(), LogError> {
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(open_or_make(&shared.place, &LOG)?),
    };
    checkpoint(connection, "PASSIVE").map_err(shared.place.sqlite("checkpoint"))
}

fn checkpoint(connection: &Connection, mode: &str) -> rusqlite::Result<()> {
    connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(()))
}
