//! What barriers do to the tables, and what is kept of deleted repositories.

use hgfleet_log::{RepositoryName, Sequence};
use rusqlite::{Transaction, params};

use super::{Advance, ServerRow, StateFile, delete_rows, insert, sequence, set_durable, unsigned, write_server};
use crate::ReplicaError;

/// What is kept of repositories that records deleted, by those records.
pub(super) const TABLE: &str = "
    CREATE TABLE deleted (
        sequence INTEGER PRIMARY KEY,
        name TEXT NOT NULL,
        digest BLOB,
        at INTEGER NOT NULL
    ) STRICT;
";

/// A repository that a record deleted.
#[derive(Debug, Clone)]
pub(crate) struct DeletedRow {
    /// The record that did.
    pub(crate) sequence: Sequence,
    /// Its name then.
    pub(crate) name: RepositoryName,
    /// Digest of its state then.
    pub(crate) digest: Option<[u8; 32]>,
    /// When, by the record: Unix time in milliseconds.
    pub(crate) at_ms: u64,
}

/// What a barrier does to the tables.
#[derive(Debug)]
pub(crate) enum Settled<'a> {
    /// A repository goes, and is kept aside.
    Deleted { id: i64, row: DeletedRow },
    /// What was kept aside goes.
    Purged { deleted: Sequence },
    /// A repository begins to exist, in the place of what was `replaced`, or of what was kept aside of a `deleted` one.
    Made {
        name: &'a RepositoryName,
        created: Sequence,
        replaced: Option<i64>,
        deleted: Option<Sequence>,
        advance: &'a Advance<'a>,
    },
    /// A repository gets another name; with the reason it goes into quarantine. `applied`: the record counts as its last.
    Renamed {
        id: i64,
        name: &'a RepositoryName,
        created: Sequence,
        applied: Option<Sequence>,
        quarantine: Option<&'a str>,
    },
}

impl StateFile {
    /// Keeps what a barrier did together with where the server is then, and brings that to disk. Returns the number of the
    /// repository that it made, if it did.
    pub(crate) fn settle(&self, server: &ServerRow, settled: &Settled<'_>) -> Result<i64, ReplicaError> {
        let encoded = match settled {
            Settled::Made { advance, .. } => self.encode(advance)?,
            _ => Default::default(),
        };
        let id = self.with(|transaction| {
            let id = match settled {
                Settled::Deleted { id, row } => {
                    delete_rows(transaction, *id)?;
                    let sql = "INSERT OR REPLACE INTO deleted (sequence, name, digest, at) VALUES (?1, ?2, ?3, ?4)";
                    let sequence = row.sequence.get() as i64;
                    transaction.execute(sql, params![sequence, row.name.as_str(), row.digest, row.at_ms as i64])?;
                    *id
                }
                Settled::Purged { deleted } => {
                    forget_deleted(transaction, *deleted)?;
                    0
                }
                Settled::Made { name, created, replaced, deleted, advance } => {
                    if let Some(replaced) = replaced {
                        delete_rows(transaction, *replaced)?;
                    }
                    if let Some(deleted) = deleted {
                        forget_deleted(transaction, *deleted)?;
                    }
                    let id = insert(transaction, name, *created, advance, &encoded, None)?;
                    set_durable(transaction, id, advance.sequence)?;
                    id
                }
                Settled::Renamed { id, name, created, applied, quarantine } => {
                    let sql = "UPDATE repository SET name = ?2, created = ?3, quarantine = ?4 WHERE id = ?1";
                    transaction.execute(sql, params![id, name.as_str(), created.get() as i64, quarantine])?;
                    if let Some(applied) = applied {
                        let sql = "UPDATE repository SET sequence = ?2, intent = ?2 WHERE id = ?1";
                        transaction.execute(sql, params![id, applied.get() as i64])?;
                        set_durable(transaction, *id, *applied)?;
                    }
                    *id
                }
            };
            write_server(transaction, server)?;
            Ok(id)
        })?;
        self.sync()?;
        Ok(id)
    }

    /// Returns what is kept of repositories that were deleted.
    pub(crate) fn deleted(&self) -> Result<Vec<DeletedRow>, ReplicaError> {
        let rows = self.with(|transaction| {
            let sql = "SELECT sequence, name, digest, at FROM deleted ORDER BY sequence";
            let mut statement = transaction.prepare_cached(sql)?;
            let rows = statement.query_map([], |row| {
                Ok((sequence(row, 0)?, row.get::<_, String>(1)?, row.get(2)?, unsigned(row, 3)?))
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        })?;
        let bad = || self.format("a deleted repository can't be read");
        let row = |(sequence, name, digest, at_ms): (Option<Sequence>, String, _, Option<u64>)| {
            Ok(DeletedRow {
                sequence: sequence.ok_or_else(bad)?,
                name: RepositoryName::parse(&name).map_err(|_| bad())?,
                digest,
                at_ms: at_ms.unwrap_or(0),
            })
        };
        rows.into_iter().map(row).collect()
    }
}

fn forget_deleted(transaction: &Transaction<'_>, deleted: Sequence) -> rusqlite::Result<()> {
    transaction.execute("DELETE FROM deleted WHERE sequence = ?1", [deleted.get() as i64]).map(drop)
}
