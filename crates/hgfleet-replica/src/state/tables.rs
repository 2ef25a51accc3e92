//! The tables of `state.sqlite`: made, and brought up to date.

use std::path::Path;

use hg_store::digest::bytes_of_node;
use hgfleet_log::Incarnation;
use rusqlite::{Connection, OpenFlags, Transaction, params};

use super::{boot_id, settle};
use crate::ReplicaError;

/// Says that the file is one of these: `hgst`.
const APPLICATION_ID: i32 = 0x6867_7374;
/// Version of the tables.
const VERSION: i32 = 4;

const TABLES: &str = "
    CREATE TABLE server (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        incarnation BLOB NOT NULL,
        boot TEXT NOT NULL,
        log BLOB,
        position INTEGER,
        durable INTEGER,
        seen INTEGER,
        seen_hash BLOB
    ) STRICT;
    CREATE TABLE repository (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        created INTEGER NOT NULL,
        sequence INTEGER NOT NULL,
        intent INTEGER NOT NULL,
        durable INTEGER,
        digest BLOB NOT NULL,
        state BLOB NOT NULL,
        stat BLOB NOT NULL,
        quarantine TEXT,
        bytes INTEGER NOT NULL DEFAULT 0,
        scrubbed INTEGER,
        tree INTEGER
    ) STRICT;
    CREATE TABLE node (
        repository INTEGER NOT NULL,
        key BLOB NOT NULL,
        value BLOB NOT NULL,
        PRIMARY KEY (repository, key)
    ) STRICT, WITHOUT ROWID;
";

/// From version 1, which did not keep how large the stores are, nor when they were scrubbed.
const COLUMNS_OF_2: &str = "
    ALTER TABLE repository ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE repository ADD COLUMN scrubbed INTEGER;
";

/// From version 2, which knew no volume with trees.
const COLUMNS_OF_3: &str = "ALTER TABLE repository ADD COLUMN tree INTEGER;";

/// Opens the file, of which other connections of this process may be open.
pub(super) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(std::time::Duration::from_secs(10))?;
    set_up(connection)
}

/// Opens the file, see [`super::StateFile::open_alone`].
pub(super) fn connect_alone(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags_and_vfs(path, OpenFlags::default(), c"unix-none")?;
    // Before the first access, or the write-ahead log's index would be memory that others may map.
    connection.pragma_update(None, "locking_mode", "exclusive")?;
    set_up(connection)
}

fn set_up(connection: Connection) -> rusqlite::Result<Connection> {
    connection.pragma_update(None, "journal_mode", "wal")?;
    // Commits are brought to disk by `set_durable`, and the file grows by checkpoints of its own thread.
    connection.pragma_update(None, "synchronous", "normal")?;
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "cache_size", -16_000)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}

/// Makes the tables of a new file, checks those of an old one.
pub(super) fn prepare(path: &Path, connection: &mut Connection) -> Result<(), ReplicaError> {
    let failed = |source| ReplicaError::State { path: path.to_owned(), source };
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    match (pragma("application_id").map_err(failed)?, pragma("user_version").map_err(failed)?) {
        (APPLICATION_ID, VERSION) => return Ok(()),
        (APPLICATION_ID, version @ 1..VERSION) => return migrate(connection, version).map_err(failed),
        (0, 0) => {}
        (APPLICATION_ID, version) => {
            let what = format!("version {version} of the format; this program reads version {VERSION}");
            return Err(ReplicaError::Format { path: path.to_owned(), what });
        }
        _ => return Err(ReplicaError::Format { path: path.to_owned(), what: "not a server's state".to_owned() }),
    }
    let incarnation = Incarnation::random().map_err(ReplicaError::io("make an incarnation for", path))?;
    let mut make = || {
        let transaction = connection.transaction()?;
        transaction.execute_batch(TABLES)?;
        transaction.execute_batch(settle::TABLE)?;
        let sql = "INSERT INTO server (id, incarnation, boot) VALUES (1, ?1, ?2)";
        transaction.execute(sql, params![incarnation.as_bytes(), boot_id()])?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
        transaction.commit()
    };
    make().map_err(failed)
}

/// Brings a file of an older version up to date.
fn migrate(connection: &mut Connection, version: i32) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    if version == 1 {
        migrate_to_2(&transaction)?;
    }
    if version <= 2 {
        transaction.execute_batch(COLUMNS_OF_3)?;
        transaction.execute_batch(settle::TABLE)?;
    }
    migrate_to_4(&transaction)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

/// Version 3 knew no manifests of bundles: a state ends with two more optional contents, each of which is a zero byte where there is
/// none.
fn migrate_to_4(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    let mut statement = transaction.prepare("SELECT id, state FROM repository")?;
    let states = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    for (id, mut state) in states.collect::<rusqlite::Result<Vec<(i64, Vec<u8>)>>>()? {
        state.extend_from_slice(&[0, 0]);
        transaction.execute("UPDATE repository SET state = ?2 WHERE id = ?1", params![id, state])?;
    }
    Ok(())
}

fn migrate_to_2(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute_batch(COLUMNS_OF_2)?;
    let mut bytes = std::collections::BTreeMap::<i64, u64>::new();
    let mut statement = transaction.prepare("SELECT repository, key, value FROM node")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (key, value): (Vec<u8>, Vec<u8>) = (row.get(1)?, row.get(2)?);
        *bytes.entry(row.get(0)?).or_default() += bytes_of_node(&key, &value).unwrap_or(0);
    }
    drop(rows);
    drop(statement);
    for (id, bytes) in bytes {
        transaction.execute("UPDATE repository SET bytes = ?2 WHERE id = ?1", params![id, bytes as i64])?;
    }
    Ok(())
}
