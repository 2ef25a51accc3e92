//! `state.sqlite`: what a server keeps of its repositories.

mod settle;
mod tables;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hg_store::SnapshotState;
use hg_store::apply::StoreStat;
use hg_store::digest::{DigestError, DigestNodes, DigestUpdate};
use hgfleet_log::{ChainHash, Incarnation, LogId, RepositoryName, Sequence};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use self::tables::{connect, connect_alone, prepare};
use crate::ReplicaError;

pub(crate) use self::settle::{DeletedRow, Settled};

pub(crate) const FILE: &str = "state.sqlite";
/// Longest kept snapshot state, in bytes: phase roots and bookmarks are most of it.
const STATE_BYTES_MAX: usize = 512 << 20;
/// A write-ahead log longer than this is brought into the file, in the background.
const WAL_BYTES_MAX: u64 = 4 << 20;

/// The server's own row.
#[derive(Debug, Clone)]
pub(crate) struct ServerRow {
    pub(crate) incarnation: Incarnation,
    /// Whether the machine has not been booted since the row was last written.
    pub(crate) same_boot: bool,
    pub(crate) log: Option<LogId>,
    pub(crate) position: Option<Sequence>,
    pub(crate) durable: Option<Sequence>,
    pub(crate) seen: Option<(Sequence, ChainHash)>,
}

/// One repository's row.
#[derive(Debug, Clone)]
pub(crate) struct RepositoryRow {
    pub(crate) id: i64,
    pub(crate) name: RepositoryName,
    /// The record that made it: what tells it from another of the same name.
    pub(crate) created: Sequence,
    /// Its last record that is applied.
    pub(crate) sequence: Sequence,
    /// Its last record that was begun.
    pub(crate) intent: Sequence,
    /// Its last record that is on disk.
    pub(crate) durable: Option<Sequence>,
    pub(crate) digest: [u8; 32],
    pub(crate) state: SnapshotState,
    pub(crate) stat: StoreStat,
    pub(crate) quarantine: Option<String>,
    /// Bytes of all files that count for the digest.
    pub(crate) bytes: u64,
    /// When all files were last read and found to be as kept: Unix time in milliseconds.
    pub(crate) scrubbed_ms: Option<u64>,
    /// The older tree of a shared volume in which it lies; none where it lies in this folder.
    pub(crate) tree: Option<u64>,
}

/// What a repository is after a record.
#[derive(Debug)]
pub(crate) struct Advance<'a> {
    pub(crate) id: i64,
    pub(crate) sequence: Sequence,
    pub(crate) digest: [u8; 32],
    pub(crate) state: &'a SnapshotState,
    pub(crate) stat: &'a StoreStat,
    pub(crate) bytes: u64,
    /// None where nothing is known of the files.
    pub(crate) nodes: Option<&'a DigestUpdate>,
    /// Nodes that are kept so far are of no use.
    pub(crate) afresh: bool,
}

#[derive(Debug)]
pub(crate) struct StateFile {
    path: PathBuf,
    connection: Mutex<Connection>,
    /// For checkpoints, which would hold up whoever waits for the other. None in a volume, see [`Self::open_alone`].
    checkpoints: Option<Mutex<Connection>>,
}

impl StateFile {
    pub(crate) fn open(dir: &Path) -> Result<(Self, ServerRow), ReplicaError> {
        let path = dir.join(FILE);
        let failed = |source| ReplicaError::State { path: path.clone(), source };
        let mut connection = connect(&path).map_err(failed)?;
        prepare(&path, &mut connection)?;
        let checkpoints = connect(&path).map_err(failed)?;
        let state = Self { path, connection: Mutex::new(connection), checkpoints: Some(Mutex::new(checkpoints)) };
        let server = state.server()?;
        Ok((state, server))
    }

    /// Opens the file in a shared volume, where the log and not a lock says that nobody else has it open: no locks, which a
    /// dead host would leave behind for as long as its NFS server waits for it; no memory that is mapped from the volume;
    /// one connection, whose index of the write-ahead log is its own.
    pub(crate) fn open_alone(dir: &Path) -> Result<(Self, ServerRow), ReplicaError> {
        let path = dir.join(FILE);
        let failed = |source| ReplicaError::State { path: path.clone(), source };
        let mut connection = connect_alone(&path).map_err(failed)?;
        prepare(&path, &mut connection)?;
        let state = Self { path, connection: Mutex::new(connection), checkpoints: None };
        let server = state.server()?;
        Ok((state, server))
    }

    /// Notes of all repositories that lie in this folder that they lie in an older tree: this file is a copy of that one's.
    pub(crate) fn leave_in(&self, tree: u64) -> Result<(), ReplicaError> {
        self.with(|transaction| {
            transaction.execute("UPDATE repository SET tree = ?1 WHERE tree IS NULL", [tree as i64]).map(drop)
        })
    }

    /// Notes that a repository lies in this folder now.
    pub(crate) fn set_here(&self, id: i64, stat: &StoreStat) -> Result<(), ReplicaError> {
        let stat = postcard::to_stdvec(stat).map_err(|_| self.format("files' times"))?;
        self.with(|transaction| {
            let sql = "UPDATE repository SET tree = NULL, stat = ?2 WHERE id = ?1";
            transaction.execute(sql, params![id, stat]).map(drop)
        })
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>) -> Result<T, ReplicaError> {
        let mut connection = self.lock();
        let run = || {
            let transaction = connection.transaction()?;
            let result = work(&transaction)?;
            transaction.commit()?;
            Ok(result)
        };
        run().map_err(|source| ReplicaError::State { path: self.path.clone(), source })
    }

    fn format(&self, what: impl Into<String>) -> ReplicaError {
        ReplicaError::Format { path: self.path.clone(), what: what.into() }
    }

    fn server(&self) -> Result<ServerRow, ReplicaError> {
        let boot = boot_id();
        let row = self.with(|transaction| {
            let sql = "SELECT incarnation, boot, log, position, durable, seen, seen_hash FROM server";
            let row = transaction.query_row(sql, [], |row| {
                Ok(ServerRow {
                    incarnation: Incarnation::from_bytes(row.get(0)?),
                    same_boot: row.get::<_, String>(1)? == boot,
                    log: row.get::<_, Option<_>>(2)?.map(LogId::from_bytes),
                    position: sequence(row, 3)?,
                    durable: sequence(row, 4)?,
                    seen: sequence(row, 5)?.zip(row.get::<_, Option<_>>(6)?.map(ChainHash::from_bytes)),
                })
            })?;
            Ok(row)
        })?;
        Ok(row)
    }

    /// Notes that what was in danger at the last boot has been redone.
    pub(crate) fn set_boot(&self) -> Result<(), ReplicaError> {
        self.with(|transaction| transaction.execute("UPDATE server SET boot = ?1", [boot_id()]).map(drop))
    }

    pub(crate) fn repositories(&self) -> Result<Vec<RepositoryRow>, ReplicaError> {
        let rows = self.with(|transaction| {
            let sql =
                "SELECT id, name, created, sequence, intent, durable, digest, state, stat, quarantine, bytes, scrubbed, tree
                 FROM repository";
            let mut statement = transaction.prepare(sql)?;
            let rows = statement.query_map([], |row| {
                let name: String = row.get(1)?;
                Ok((
                    (row.get(0)?, name, sequence(row, 2)?, sequence(row, 3)?, sequence(row, 4)?, sequence(row, 5)?),
                    (row.get(6)?, row.get::<_, Vec<u8>>(7)?, row.get::<_, Vec<u8>>(8)?, row.get(9)?),
                    (unsigned(row, 10)?, unsigned(row, 11)?, unsigned(row, 12)?),
                ))
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        })?;
        rows.into_iter()
            .map(
                |(
                    (id, name, created, sequence, intent, durable),
                    (digest, state, stat, quarantine),
                    (bytes, scrubbed_ms, tree),
                )| {
                    let bad = |what: &str| self.format(format!("repository {name}: its {what} can't be read"));
                    Ok(RepositoryRow {
                        id,
                        name: RepositoryName::parse(&name).map_err(|_| bad("name"))?,
                        created: created.ok_or_else(|| bad("sequence"))?,
                        sequence: sequence.ok_or_else(|| bad("sequence"))?,
                        intent: intent.ok_or_else(|| bad("intent"))?,
                        durable,
                        digest,
                        state: postcard::from_bytes(&state).map_err(|_| bad("state"))?,
                        stat: postcard::from_bytes(&stat).map_err(|_| bad("files' times"))?,
                        quarantine,
                        bytes: bytes.unwrap_or(0),
                        scrubbed_ms,
                        tree,
                    })
                },
            )
            .collect()
    }

    /// Adds a repository, in the place of `replaced` where that is given; returns its number.
    pub(crate) fn create(
        &self,
        name: &RepositoryName,
        created: Sequence,
        replaced: Option<i64>,
        advance: &Advance<'_>,
        quarantine: Option<&str>,
    ) -> Result<i64, ReplicaError> {
        let encoded = self.encode(advance)?;
        self.with(|transaction| {
            if let Some(replaced) = replaced {
                delete_rows(transaction, replaced)?;
            }
            insert(transaction, name, created, advance, &encoded, quarantine)
        })
    }

    /// Keeps that a record's change is about to be written.
    pub(crate) fn set_intent(&self, id: i64, intent: Sequence) -> Result<(), ReplicaError> {
        self.with(|transaction| {
            let sql = "UPDATE repository SET intent = ?2 WHERE id = ?1";
            transaction.prepare_cached(sql)?.execute(params![id, intent.get() as i64]).map(drop)
        })
    }

    /// Keeps what a repository is after a record. It leaves quarantine, if it was there.
    pub(crate) fn advance(&self, advance: &Advance<'_>) -> Result<(), ReplicaError> {
        let (state, stat) = self.encode(advance)?;
        self.with(|transaction| {
            if advance.afresh {
                transaction.execute("DELETE FROM node WHERE repository = ?1", [advance.id])?;
            }
            let sql =
                "UPDATE repository SET sequence = ?2, intent = max(intent, ?2), digest = ?3, state = ?4, stat = ?5,
                       bytes = ?6, quarantine = NULL, tree = NULL WHERE id = ?1";
            let sequence = advance.sequence.get() as i64;
            let values = params![advance.id, sequence, advance.digest, state, stat, advance.bytes as i64];
            transaction.prepare_cached(sql)?.execute(values)?;
            keep_nodes(transaction, advance.id, advance.nodes)
        })
    }

    /// Keeps the times of a store's files, after its digest was found to be right.
    pub(crate) fn set_stat(&self, id: i64, stat: &StoreStat) -> Result<(), ReplicaError> {
        let stat = postcard::to_stdvec(stat).map_err(|_| self.format("files' times"))?;
        self.with(|transaction| {
            transaction.execute("UPDATE repository SET stat = ?2 WHERE id = ?1", params![id, stat]).map(drop)
        })
    }

    pub(crate) fn set_quarantine(&self, id: i64, reason: &str) -> Result<(), ReplicaError> {
        self.with(|transaction| {
            transaction.execute("UPDATE repository SET quarantine = ?2 WHERE id = ?1", params![id, reason]).map(drop)
        })
    }

    pub(crate) fn delete(&self, id: i64) -> Result<(), ReplicaError> {
        self.with(|transaction| delete_rows(transaction, id))
    }

    /// Keeps positions, the log, and what is on disk of each repository; then brings all commits so far to disk.
    pub(crate) fn set_durable(&self, server: &ServerRow, durable: &[(i64, Sequence)]) -> Result<(), ReplicaError> {
        self.with(|transaction| {
            for (id, sequence) in durable {
                set_durable(transaction, *id, *sequence)?;
            }
            write_server(transaction, server)
        })?;
        self.sync()
    }

    /// Brings all commits so far to disk. Not by SQLite itself, which would hold up every other commit meanwhile.
    pub(crate) fn sync(&self) -> Result<(), ReplicaError> {
        let wal = self.path.with_extension("sqlite-wal");
        let bytes = match std::fs::File::open(&wal) {
            Ok(file) => {
                file.sync_data().map_err(ReplicaError::io("sync", &wal))?;
                file.metadata().map_err(ReplicaError::io("stat", &wal))?.len()
            }
            // A checkpoint brought everything into the file, and that to disk.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
            Err(error) => return Err(ReplicaError::io("open", &wal)(error)),
        };
        if bytes > WAL_BYTES_MAX {
            let checkpoints = self.checkpoints.as_ref().unwrap_or(&self.connection);
            checkpoints
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
                .map_err(|source| ReplicaError::State { path: self.path.clone(), source })?;
        }
        Ok(())
    }

    /// Keeps when a repository was found to be whole.
    pub(crate) fn set_scrubbed(&self, id: i64, at_ms: u64) -> Result<(), ReplicaError> {
        self.with(|transaction| {
            let sql = "UPDATE repository SET scrubbed = ?2 WHERE id = ?1";
            transaction.execute(sql, params![id, at_ms as i64]).map(drop)
        })
    }

    /// Returns all digest nodes of a repository.
    pub(crate) fn all_nodes(&self, id: i64) -> Result<HashMap<Vec<u8>, Vec<u8>>, ReplicaError> {
        let connection = self.lock();
        let all = || {
            let mut statement = connection.prepare_cached("SELECT key, value FROM node WHERE repository = ?1")?;
            let rows = statement.query_map([id], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect::<rusqlite::Result<_>>()
        };
        all().map_err(|source| ReplicaError::State { path: self.path.clone(), source })
    }

    /// Returns the digest nodes of a repository.
    pub(crate) fn nodes(&self, repository: i64) -> KeptNodes<'_> {
        KeptNodes { state: self, repository }
    }

    fn encode(&self, advance: &Advance<'_>) -> Result<(Vec<u8>, Vec<u8>), ReplicaError> {
        let state = postcard::to_stdvec(advance.state).map_err(|error| self.format(error.to_string()))?;
        if state.len() > STATE_BYTES_MAX {
            return Err(self.format("a repository's bookmarks and phase roots are too long"));
        }
        let stat = postcard::to_stdvec(advance.stat).map_err(|error| self.format(error.to_string()))?;
        Ok((state, stat))
    }
}

/// The nodes of one repository. They are written by [`StateFile::advance`], with everything else.
#[derive(Debug)]
pub(crate) struct KeptNodes<'a> {
    state: &'a StateFile,
    repository: i64,
}

impl DigestNodes for KeptNodes<'_> {
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, DigestError> {
        let connection = self.state.lock();
        let get = || {
            let sql = "SELECT value FROM node WHERE repository = ?1 AND key = ?2";
            connection.prepare_cached(sql)?.query_row(params![self.repository, key], |row| row.get(0)).optional()
        };
        get().map_err(|error| DigestError::Nodes(error.to_string()))
    }

    fn put(&mut self, _: &[u8], _: Option<&[u8]>) -> Result<(), DigestError> {
        Err(DigestError::Nodes("they are read only here".to_owned()))
    }
}

/// Writes nodes within a transaction.
struct NodeWriter<'a>(&'a Transaction<'a>, i64);

impl DigestNodes for NodeWriter<'_> {
    fn get(&mut self, _: &[u8]) -> Result<Option<Vec<u8>>, DigestError> {
        Err(DigestError::Nodes("they are written only here".to_owned()))
    }

    fn put(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), DigestError> {
        let put = || match value {
            Some(value) => self
                .0
                .prepare_cached("INSERT OR REPLACE INTO node (repository, key, value) VALUES (?1, ?2, ?3)")?
                .execute(params![self.1, key, value]),
            None => self
                .0
                .prepare_cached("DELETE FROM node WHERE repository = ?1 AND key = ?2")?
                .execute(params![self.1, key]),
        };
        put().map(drop).map_err(|error| DigestError::Nodes(error.to_string()))
    }
}

fn insert(
    transaction: &Transaction<'_>,
    name: &RepositoryName,
    created: Sequence,
    advance: &Advance<'_>,
    (state, stat): &(Vec<u8>, Vec<u8>),
    quarantine: Option<&str>,
) -> rusqlite::Result<i64> {
    let sql = "INSERT INTO repository (name, created, sequence, intent, digest, state, stat, bytes, quarantine)
               VALUES (?1, ?2, ?3, ?3, ?4, ?5, ?6, ?7, ?8)";
    transaction.prepare_cached(sql)?.execute(params![
        name.as_str(),
        created.get() as i64,
        advance.sequence.get() as i64,
        advance.digest,
        state,
        stat,
        advance.bytes as i64,
        quarantine
    ])?;
    let id = transaction.last_insert_rowid();
    keep_nodes(transaction, id, advance.nodes)?;
    Ok(id)
}

fn set_durable(transaction: &Transaction<'_>, id: i64, sequence: Sequence) -> rusqlite::Result<()> {
    let sql = "UPDATE repository SET durable = max(coalesce(durable, 0), ?2) WHERE id = ?1";
    transaction.prepare_cached(sql)?.execute(params![id, sequence.get() as i64]).map(drop)
}

fn write_server(transaction: &Transaction<'_>, server: &ServerRow) -> rusqlite::Result<()> {
    let number = |sequence: Option<Sequence>| sequence.map(|sequence| sequence.get() as i64);
    let sql = "UPDATE server SET log = ?1, position = ?2, durable = ?3, seen = ?4, seen_hash = ?5";
    let mut statement = transaction.prepare_cached(sql)?;
    let values = params![
        server.log.map(|log| *log.as_bytes()),
        number(server.position),
        number(server.durable),
        number(server.seen.map(|seen| seen.0)),
        server.seen.map(|seen| *seen.1.as_bytes()),
    ];
    statement.execute(values).map(drop)
}

fn delete_rows(transaction: &Transaction<'_>, id: i64) -> rusqlite::Result<()> {
    transaction.execute("DELETE FROM node WHERE repository = ?1", [id])?;
    transaction.execute("DELETE FROM repository WHERE id = ?1", [id]).map(drop)
}

fn keep_nodes(transaction: &Transaction<'_>, id: i64, nodes: Option<&DigestUpdate>) -> rusqlite::Result<()> {
    let Some(nodes) = nodes else { return Ok(()) };
    nodes
        .keep(&mut NodeWriter(transaction, id))
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

/// What tells this boot of the machine from all others; nothing where the system does not tell, which is then never the
/// same boot.
pub(crate) fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map_or_else(|_| unknown_boot(), |id| id.trim().to_owned())
}

fn unknown_boot() -> String {
    format!("unknown, process {}", std::process::id())
}

fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<u64>> {
    let number: Option<i64> = row.get(column)?;
    number
        .map(|number| u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, number)))
        .transpose()
}

fn sequence(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Sequence>> {
    let number: Option<i64> = row.get(column)?;
    match number {
        None => Ok(None),
        Some(number) => match u64::try_from(number).ok().and_then(Sequence::new) {
            Some(sequence) => Ok(Some(sequence)),
            None => Err(rusqlite::Error::IntegralValueOutOfRange(column, number)),
        },
    }
}
