//! `shared.sqlite`: small values that the fleet shares. Every role writes here, and whoever runs a command.
//!
//! A file of its own: `log.sqlite` has one writer, and what `members.sqlite` says may be lost.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension};

use super::files::{Place, SHARED, open_or_make};
use super::stopped::begin;
use super::values::Count;
use crate::log::rules::{check_key, check_value};
use crate::log::{LogError, StoredValue, VALUE_BYTES_MAX, ValueError};

/// The open file.
#[derive(Debug)]
pub(super) struct SharedValues {
    place: Place,
    connection: Connection,
}

impl SharedValues {
    /// Opens the file, and makes it where there is none.
    pub(super) fn open(dir: &Path) -> Result<SharedValues, LogError> {
        let place = Place(dir.join("shared.sqlite"));
        let connection = open_or_make(&place, &SHARED)?;
        connection.pragma_update(None, "synchronous", "FULL").map_err(place.sqlite("open"))?;
        Ok(SharedValues { place, connection })
    }

    pub(super) fn get(&self, key: &str) -> Result<Option<StoredValue>, LogError> {
        check_key(key)?;
        let value = value(&self.connection, key).map_err(self.place.sqlite("read"))?;
        match value {
            Some(value) if value.bytes.len() > VALUE_BYTES_MAX => {
                Err(LogError::Value(format!("{key} in {} has {} bytes", self.place.0.display(), value.bytes.len())))
            }
            value => Ok(value),
        }
    }

    pub(super) fn set(&self, key: &str, expected: Option<u64>, bytes: &[u8]) -> Result<u64, ValueError> {
        check_value(key, bytes)?;
        let failed = self.place.sqlite("write");
        let transaction = begin(&self.place, &self.connection).map_err(&failed)?;
        let current = value(&transaction, key).map_err(&failed)?;
        if current.map(|current| current.version) != expected {
            return Err(ValueError::Conflict);
        }
        let version = expected.map_or(1, |version| version + 1);
        transaction
            .execute(
                "INSERT OR REPLACE INTO shared (key, version, bytes) VALUES (?1, ?2, ?3)",
                (key, Count(version), bytes),
            )
            .map_err(&failed)?;
        transaction.commit().map_err(&failed)?;
        Ok(version)
    }
}

fn value(connection: &Connection, key: &str) -> rusqlite::Result<Option<StoredValue>> {
    connection
        .query_row("SELECT version, bytes FROM shared WHERE key = ?1", [key], |row| {
            Ok(StoredValue { version: row.get::<_, Count>(0)?.0, bytes: row.get(1)? })
        })
        .optional()
}
