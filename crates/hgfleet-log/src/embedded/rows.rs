//! Rows to records and back: what reading and writing share.

use std::fs::File;
use std::os::unix::fs::FileExt;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row};

use super::files::Place;
use super::values::Count;
use crate::ids::{LogId, RecordId, Sequence};
use crate::log::{LogError, Tail};
use crate::membership::{MIRRORS_MAX, MirrorInView, View};
use crate::name::RepositoryName;
use crate::record::Record;

/// A longer change lies in parts of this length, in bytes.
pub(super) const PART_BYTES: usize = 4 << 20;
/// Most bytes of records that one read returns (and one record at least).
const READ_BYTES_MAX: usize = 16 << 20;

/// A connection that reads, and the log that it reads.
pub(super) struct Rows<'a> {
    pub place: &'a Place,
    pub log: LogId,
    pub connection: &'a Connection,
}

impl Rows<'_> {
    /// Looks several times at one state of the log, so that nothing, such as trimming, comes between.
    pub(super) fn at_once<T>(&self, look: impl FnOnce(&Self) -> Result<T, LogError>) -> Result<T, LogError> {
        let _transaction = self.connection.unchecked_transaction().map_err(self.place.sqlite("read"))?;
        look(self)
    }

    pub(super) fn end(&self) -> Result<Option<Tail>, LogError> {
        let last = self.one("SELECT sequence, record FROM records ORDER BY sequence DESC LIMIT 1", [])?;
        Ok(last.as_ref().map(Tail::of))
    }

    /// The last sequence, without a look at its record.
    pub(super) fn last_sequence(&self) -> Result<Option<Sequence>, LogError> {
        self.connection
            .prepare_cached("SELECT max(sequence) FROM records")
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
            .map_err(self.place.sqlite("read"))
    }

    pub(super) fn first(&self) -> Result<Sequence, LogError> {
        let Count(trimmed) = self
            .connection
            .prepare_cached("SELECT trimmed FROM log")
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
            .map_err(self.place.sqlite("read"))?;
        Sequence::new(trimmed + 1).ok_or_else(|| LogError::Value(format!("{trimmed} records trimmed")))
    }

    pub(super) fn read(&self, from: Sequence, max: usize) -> Result<Vec<Record>, LogError> {
        let first = self.first()?;
        if from < first {
            return Err(LogError::Trimmed { from, first });
        }
        let mut statement = self
            .connection
            .prepare_cached("SELECT sequence, record FROM records WHERE sequence >= ?1 ORDER BY sequence LIMIT ?2")
            .map_err(self.place.sqlite("read"))?;
        let mut rows = statement.query((from, Count::clamped(max as u64))).map_err(self.place.sqlite("read"))?;
        let mut records = Vec::new();
        let mut bytes = 0;
        let mut due = Some(from);
        while let Some(row) = rows.next().map_err(self.place.sqlite("read"))? {
            let (record, record_bytes) = self.record(row)?;
            if due != Some(record.sequence) {
                let why = format!("missing: record {} comes in its place", record.sequence);
                return Err(LogError::Damaged { sequence: due.unwrap_or(from), why });
            }
            due = record.sequence.next();
            bytes += record_bytes;
            if bytes > READ_BYTES_MAX && !records.is_empty() {
                break;
            }
            records.push(record);
        }
        Ok(records)
    }

    pub(super) fn last_of(&self, repository: &RepositoryName) -> Result<Option<Record>, LogError> {
        let found = self.one(
            "SELECT sequence, record FROM records WHERE repository = ?1 ORDER BY sequence DESC LIMIT 1",
            [repository.as_str()],
        )?;
        match found {
            Some(record) if record.store().is_none_or(|store| store.repository != *repository) => {
                let why = format!("its row names repository {repository}, the record doesn't");
                Err(LogError::Damaged { sequence: record.sequence, why })
            }
            found => Ok(found),
        }
    }

    pub(super) fn find(&self, id: &RecordId) -> Result<Option<Record>, LogError> {
        let found = self.one("SELECT sequence, record FROM records WHERE id = ?1", [id.as_bytes()])?;
        match found {
            Some(record) if record.id != *id => {
                let why = format!("its row has id {id}, the record doesn't");
                Err(LogError::Damaged { sequence: record.sequence, why })
            }
            found => Ok(found),
        }
    }

    fn one(&self, sql: &str, parameters: impl rusqlite::Params) -> Result<Option<Record>, LogError> {
        let mut statement = self.connection.prepare_cached(sql).map_err(self.place.sqlite("read"))?;
        let mut rows = statement.query(parameters).map_err(self.place.sqlite("read"))?;
        match rows.next().map_err(self.place.sqlite("read"))? {
            Some(row) => self.record(row).map(|(record, _)| Some(record)),
            None => Ok(None),
        }
    }

    /// The record of a row of `sequence, record`, and how many bytes it has.
    fn record(&self, row: &Row<'_>) -> Result<(Record, usize), LogError> {
        let sequence = row.get(0).map_err(self.place.sqlite("read"))?;
        let bytes = row
            .get_ref(1)
            .map_err(self.place.sqlite("read"))?
            .as_blob()
            .map_err(|error| LogError::Damaged { sequence, why: error.to_string() })?;
        let record = Record::decode(bytes).map_err(|source| LogError::Record { sequence, source })?;
        if record.sequence != sequence || record.log != self.log {
            let why = format!("its row holds record {} of log {}", record.sequence, record.log);
            return Err(LogError::Damaged { sequence, why });
        }
        Ok((record, bytes.len()))
    }

    /// Writes a record's change to a file, from offset 0 on.
    pub(super) fn payload(&self, record: &Record, into: &File) -> Result<(), LogError> {
        let Some(store) = record.store() else { return Ok(()) };
        let mut writer = PayloadWriter { record, into, hasher: blake3::Hasher::new(), bytes: 0 };
        if store.change.bytes <= PART_BYTES as u64 {
            if store.change.bytes > 0 {
                self.part("SELECT change FROM records WHERE sequence = ?1 AND change IS NOT NULL", None, &mut writer)?;
            }
        } else {
            for part in 0..store.change.bytes.div_ceil(PART_BYTES as u64) {
                self.part("SELECT bytes FROM parts WHERE sequence = ?1 AND part = ?2", Some(part), &mut writer)?;
            }
        }
        writer.finish(store.change.bytes, &store.change.digest)
    }

    fn part(&self, sql: &str, part: Option<u64>, writer: &mut PayloadWriter<'_>) -> Result<(), LogError> {
        let sequence = writer.record.sequence;
        let mut statement = self.connection.prepare_cached(sql).map_err(self.place.sqlite("read"))?;
        let mut rows = match part {
            Some(part) => statement.query((sequence, Count(part))),
            None => statement.query([sequence]),
        }
        .map_err(self.place.sqlite("read"))?;
        match rows.next().map_err(self.place.sqlite("read"))? {
            Some(row) => match row.get_ref(0).map_err(self.place.sqlite("read"))? {
                ValueRef::Blob(bytes) => writer.write(bytes),
                _ => Err(LogError::Payload { sequence, why: "not stored as bytes".to_owned() }),
            },
            None => {
                let first = self.first()?;
                if sequence < first {
                    return Err(LogError::Trimmed { from: sequence, first });
                }
                Err(LogError::Payload { sequence, why: "missing in the log".to_owned() })
            }
        }
    }

    pub(super) fn view(&self) -> Result<Option<View>, LogError> {
        let view = self
            .connection
            .prepare_cached("SELECT epoch, version, visible FROM view")
            .and_then(|mut statement| {
                statement.query_row([], |row| {
                    let Count(version) = row.get(1)?;
                    Ok(View { epoch: row.get(0)?, version, visible: row.get(2)?, mirrors: Vec::new() })
                })
            })
            .optional()
            .map_err(self.place.sqlite("read"))?;
        let Some(mut view) = view else { return Ok(None) };
        let bad = |what: &str| LogError::Value(format!("the view's {what} can't be"));
        let mut statement = self
            .connection
            .prepare_cached("SELECT name, incarnation FROM view_mirrors ORDER BY name, incarnation")
            .map_err(self.place.sqlite("read"))?;
        let mut rows = statement.query([]).map_err(self.place.sqlite("read"))?;
        while let Some(row) = rows.next().map_err(self.place.sqlite("read"))? {
            let (name, incarnation): (String, String) =
                row.get(0).and_then(|name| Ok((name, row.get(1)?))).map_err(self.place.sqlite("read"))?;
            let incarnation = incarnation.parse().map_err(|_| bad("incarnation"))?;
            view.mirrors.push(MirrorInView { name, incarnation });
            if view.mirrors.len() > MIRRORS_MAX {
                return Err(bad("number of mirrors"));
            }
        }
        Ok(Some(view))
    }

    /// The table is made when the first reason is written: a log of an older release has none.
    pub(super) fn read_only(&self) -> Result<Option<String>, LogError> {
        let is_there = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'read_only')";
        let read = || {
            if !self.connection.query_row(is_there, [], |row| row.get(0))? {
                return Ok(None);
            }
            self.connection.query_row("SELECT reason FROM read_only", [], |row| row.get(0)).optional()
        };
        read().map_err(self.place.sqlite("read"))
    }
}

/// A change on its way out of the log, counted and hashed.
struct PayloadWriter<'a> {
    record: &'a Record,
    into: &'a File,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl PayloadWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), LogError> {
        if self.bytes + bytes.len() as u64 > self.record.change_bytes() {
            return Err(self.wrong("more bytes are stored than the record names"));
        }
        self.hasher.update(bytes);
        self.into.write_all_at(bytes, self.bytes).map_err(|source| LogError::Io {
            verb: "write",
            path: format!("the change of record {}", self.record.sequence).into(),
            source,
        })?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    fn finish(self, bytes: u64, digest: &[u8; 32]) -> Result<(), LogError> {
        if self.bytes != bytes {
            return Err(self.wrong("fewer bytes are stored than the record names"));
        }
        if self.hasher.finalize() != *digest {
            return Err(self.wrong("its digest does not match its bytes"));
        }
        Ok(())
    }

    fn wrong(&self, why: &str) -> LogError {
        LogError::Payload { sequence: self.record.sequence, why: why.to_owned() }
    }
}
