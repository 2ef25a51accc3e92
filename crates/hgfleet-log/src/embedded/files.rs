//! The files of an embedded log: made, opened, and refused where they are something else.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::stopped::{WRITERS_AND_READERS, end_holders};
use crate::ids::LogId;
use crate::log::LogError;

/// What the tables of one file are, and how to know the file.
pub(super) struct Format {
    /// In the file's header (`PRAGMA application_id`).
    pub application_id: i64,
    /// In the file's header (`PRAGMA user_version`).
    pub version: i64,
    /// The tables.
    pub schema: &'static str,
}

/// `log.sqlite`.
pub(super) const LOG: Format = Format {
    application_id: 0x6867_666c, // "hgfl"
    version: 1,
    schema: "
        CREATE TABLE log (
            one INTEGER PRIMARY KEY CHECK (one = 1),
            identity BLOB NOT NULL CHECK (length(identity) = 16),
            trimmed INTEGER NOT NULL DEFAULT 0
        ) STRICT;
        CREATE TABLE records (
            sequence INTEGER PRIMARY KEY,
            id BLOB NOT NULL CHECK (length(id) = 16),
            repository TEXT,
            record BLOB NOT NULL,
            change BLOB
        ) STRICT;
        CREATE UNIQUE INDEX records_by_id ON records (id);
        CREATE INDEX records_by_repository ON records (repository, sequence) WHERE repository IS NOT NULL;
        CREATE TABLE parts (
            sequence INTEGER NOT NULL,
            part INTEGER NOT NULL,
            bytes BLOB NOT NULL
        ) STRICT;
        CREATE UNIQUE INDEX parts_by_place ON parts (sequence, part);
        CREATE TABLE view (
            one INTEGER PRIMARY KEY CHECK (one = 1),
            epoch INTEGER NOT NULL,
            version INTEGER NOT NULL,
            visible INTEGER
        ) STRICT;
        CREATE TABLE view_mirrors (
            name TEXT NOT NULL,
            incarnation TEXT NOT NULL,
            PRIMARY KEY (name, incarnation)
        ) STRICT;
    ",
};

/// `members.sqlite`.
pub(super) const MEMBERS: Format = Format {
    application_id: 0x6867_666d, // "hgfm"
    version: 1,
    schema: "
        CREATE TABLE lease (
            one INTEGER PRIMARY KEY CHECK (one = 1),
            holder TEXT NOT NULL,
            epoch INTEGER,
            counter INTEGER NOT NULL
        ) STRICT;
        CREATE TABLE members (
            name TEXT PRIMARY KEY,
            role TEXT NOT NULL,
            state TEXT NOT NULL,
            address TEXT NOT NULL,
            pid INTEGER NOT NULL,
            incarnation TEXT,
            staged_position INTEGER,
            position INTEGER,
            lag_seconds REAL NOT NULL,
            reason TEXT NOT NULL,
            at_ms INTEGER NOT NULL,
            log_bytes INTEGER NOT NULL,
            staged_bytes INTEGER NOT NULL,
            store_bytes INTEGER NOT NULL,
            free_bytes INTEGER NOT NULL
        ) STRICT;
    ",
};

/// `shared.sqlite`.
pub(super) const SHARED: Format = Format {
    application_id: 0x6867_6673, // "hgfs"
    version: 1,
    schema: "
        CREATE TABLE shared (
            key TEXT PRIMARY KEY,
            version INTEGER NOT NULL,
            bytes BLOB NOT NULL
        ) STRICT;
    ",
};

/// No value in a row is longer, in bytes: a part, or a record at its bound, and some room.
const VALUE_BYTES_MAX: i32 = 16 << 20;
/// How long a connection waits for another process's lock.
const BUSY_WAIT: Duration = Duration::from_secs(5);

/// Which of our files it is, for messages.
#[derive(Clone, Debug)]
pub(super) struct Place(pub PathBuf);

impl Place {
    /// Returns how to fold an error of SQLite.
    pub(super) fn sqlite(&self, verb: &'static str) -> impl Fn(rusqlite::Error) -> LogError + '_ {
        move |source| LogError::Sqlite { verb, path: self.0.clone(), source }
    }

    /// Returns how to fold an error of the operating system.
    pub(super) fn io(&self, verb: &'static str) -> impl Fn(std::io::Error) -> LogError + '_ {
        move |source| LogError::Io { verb, path: self.0.clone(), source }
    }
}

/// Opens a file for writing, and makes it where there is none or an empty one.
pub(super) fn open_or_make(place: &Place, format: &Format) -> Result<Connection, LogError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(&place.0, flags).map_err(place.sqlite("open"))?;
    prepare(place, &connection)?;
    if is_blank(place, &connection)? {
        // Two that make it at once would refuse each other the locks.
        let folder = place.0.parent().unwrap_or(Path::new("."));
        let _alone = lock_folder(folder).map_err(Place(folder.to_owned()).io("lock"))?;
        // Both take effect on a file without pages only.
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL").map_err(place.sqlite("make"))?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(place.sqlite("make"))?;
        connection.pragma_update(None, "synchronous", "FULL").map_err(place.sqlite("make"))?;
        make(place, &mut connection, format)?;
    }
    check(place, &connection, format)?;
    Ok(connection)
}

/// Opens a file for reading; it must be there.
pub(super) fn open_read_only(place: &Place, format: &Format) -> Result<Connection, LogError> {
    if !place.0.exists() {
        return Err(LogError::Absent(place.0.clone()));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(&place.0, flags).map_err(place.sqlite("open"))?;
    prepare(place, &connection)?;
    if is_blank(place, &connection)? {
        return Err(LogError::Absent(place.0.clone()));
    }
    check(place, &connection, format)?;
    Ok(connection)
}

fn prepare(place: &Place, connection: &Connection) -> Result<(), LogError> {
    connection.busy_timeout(BUSY_WAIT).map_err(not_a_log(place, "open"))?;
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, VALUE_BYTES_MAX).map_err(not_a_log(place, "open"))?;
    // A file from elsewhere could hold views and triggers that call functions.
    connection.pragma_update(None, "trusted_schema", false).map_err(not_a_log(place, "open"))?;
    connection.pragma_update(None, "cell_size_check", true).map_err(not_a_log(place, "open"))?;
    connection.pragma_update(None, "cache_size", -8192).map_err(not_a_log(place, "open"))
}

fn is_blank(place: &Place, connection: &Connection) -> Result<bool, LogError> {
    connection
        .query_row(
            "SELECT (SELECT count(*) FROM sqlite_schema) = 0 AND (SELECT user_version FROM pragma_user_version) = 0",
            [],
            |row| row.get(0),
        )
        .map_err(not_a_log(place, "read"))
}

fn make(place: &Place, connection: &mut Connection, format: &Format) -> Result<(), LogError> {
    let transaction =
        connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(place.sqlite("make"))?;
    // Another process may have been faster.
    if is_blank(place, &transaction)? {
        transaction.execute_batch(format.schema).map_err(place.sqlite("make"))?;
        transaction.pragma_update(None, "application_id", format.application_id).map_err(place.sqlite("make"))?;
        transaction.pragma_update(None, "user_version", format.version).map_err(place.sqlite("make"))?;
        if format.application_id == LOG.application_id {
            let identity = LogId::random().map_err(place.io("make an identity for"))?;
            transaction
                .execute("INSERT INTO log (one, identity) VALUES (1, ?1)", [identity.as_bytes()])
                .map_err(place.sqlite("make"))?;
        }
    }
    transaction.commit().map_err(place.sqlite("make"))?;
    // SQLite syncs the file; the folder that names it is for us to sync.
    sync_folder(place.0.parent())
}

/// Waits for the lock; it is let go with the file.
fn lock_folder(folder: &Path) -> std::io::Result<File> {
    let folder = File::open(folder)?;
    folder.lock()?;
    Ok(folder)
}

fn sync_folder(folder: Option<&Path>) -> Result<(), LogError> {
    let Some(folder) = folder else { return Ok(()) };
    let place = Place(folder.to_owned());
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(place.io("sync"))
}

fn check(place: &Place, connection: &Connection, format: &Format) -> Result<(), LogError> {
    let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let application_id = number("application_id").map_err(place.sqlite("read"))?;
    if application_id != format.application_id {
        return Err(LogError::NotALog {
            path: place.0.clone(),
            why: format!("its application_id is {application_id:#x}"),
        });
    }
    let found = number("user_version").map_err(place.sqlite("read"))?;
    if found > format.version {
        return Err(LogError::NewerFormat { path: place.0.clone(), found, known: format.version });
    }
    if found < format.version {
        return Err(LogError::NotALog { path: place.0.clone(), why: format!("its format is {found}") });
    }
    Ok(())
}

/// A file that SQLite can't make sense of is not a log; anything else is an error as it comes.
fn not_a_log<'a>(place: &'a Place, verb: &'static str) -> impl Fn(rusqlite::Error) -> LogError + 'a {
    move |error| match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => {
            LogError::NotALog { path: place.0.clone(), why: error.to_string() }
        }
        _ => place.sqlite(verb)(error),
    }
}

/// Returns the log's identity.
pub(super) fn identity(place: &Place, connection: &Connection) -> Result<LogId, LogError> {
    let identity: Option<[u8; 16]> = connection
        .query_row("SELECT identity FROM log", [], |row| row.get(0))
        .optional()
        .map_err(place.sqlite("read"))?;
    identity
        .map(LogId::from_bytes)
        .ok_or_else(|| LogError::NotALog { path: place.0.clone(), why: "it has no identity".to_owned() })
}

/// Writes everything that is in the write-ahead log into the file itself, synced, and empties the former.
///
/// After a crash the operating system may show bytes of the write-ahead log that never reached the disk. What
/// is read after this call did.
pub(super) fn settle(place: &Place, connection: &Connection) -> Result<(), LogError> {
    let tries = 50;
    for _ in 0..tries {
        let busy: i64 = connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
            .map_err(place.sqlite("checkpoint"))?;
        if busy == 0 {
            return Ok(());
        }
        end_holders(place, &WRITERS_AND_READERS);
        std::thread::sleep(Duration::from_millis(100));
    }
    let busy = std::io::Error::from(std::io::ErrorKind::ResourceBusy);
    Err(place.io("checkpoint")(busy))
}
