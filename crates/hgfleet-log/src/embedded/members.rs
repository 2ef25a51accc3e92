//! `members.sqlite`: the lease and what each server says of itself. Every role writes here.
//!
//! Nothing is decided by it that a lost or stale row could harm, so a commit here waits for no disk
//! (`synchronous=NORMAL`: consistent after a power failure, perhaps older).

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row};

use super::files::{MEMBERS, Place, open_or_make};
use super::stopped::begin;
use super::values::Count;
use crate::ids::{Epoch, Incarnation};
use crate::log::rules::{FORGET_AFTER_MS, MEMBERS_MAX, check_holder, check_member};
use crate::log::{Lease, LeaseError, LogError};
use crate::membership::{DiskUse, Member, Role, ServerState};

/// The open file.
#[derive(Debug)]
pub(super) struct Members {
    place: Place,
    connection: Connection,
}

impl Members {
    pub(super) fn open(dir: &Path) -> Result<Members, LogError> {
        let place = Place(dir.join("members.sqlite"));
        let connection = open_or_make(&place, &MEMBERS)?;
        connection.pragma_update(None, "synchronous", "NORMAL").map_err(place.sqlite("open"))?;
        Ok(Members { place, connection })
    }

    /// As [`Members::open`]; a damaged file is put aside and made again, since nothing in it is worth a halt.
    pub(super) fn open_or_replace(dir: &Path) -> Result<Members, LogError> {
        match Members::open(dir) {
            Err(LogError::NotALog { path, why }) => {
                tracing::warn!(path = %path.display(), why, "the members' file is damaged and begins anew");
                let place = Place(path.clone());
                for suffix in ["-wal", "-shm"] {
                    let mut side = path.clone().into_os_string();
                    side.push(suffix);
                    match std::fs::remove_file(side) {
                        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                            return Err(place.io("remove the side file of")(error));
                        }
                        _ => {}
                    }
                }
                std::fs::rename(&path, path.with_extension("damaged")).map_err(place.io("put aside"))?;
                Members::open(dir)
            }
            opened => opened,
        }
    }

    pub(super) fn lease(&self) -> Result<Option<Lease>, LogError> {
        lease(&self.connection).map_err(self.place.sqlite("read"))
    }

    pub(super) fn renew_lease(
        &self,
        holder: &str,
        epoch: Option<Epoch>,
        counter: Option<u64>,
    ) -> Result<Lease, LeaseError> {
        check_holder(holder)?;
        let failed = self.place.sqlite("write");
        let transaction = begin(&self.place, &self.connection).map_err(&failed)?;
        let current = lease(&transaction).map_err(&failed)?;
        if current.as_ref().map(|lease| lease.counter) != counter {
            return Err(LeaseError::Lost { current });
        }
        let lease = Lease { holder: holder.to_owned(), epoch, counter: counter.map_or(1, |counter| counter + 1) };
        transaction
            .execute(
                "INSERT OR REPLACE INTO lease (one, holder, epoch, counter) VALUES (1, ?1, ?2, ?3)",
                (&lease.holder, epoch, Count(lease.counter)),
            )
            .map_err(&failed)?;
        transaction.commit().map_err(&failed)?;
        Ok(lease)
    }

    pub(super) fn put(&self, member: &Member) -> Result<(), LogError> {
        check_member(member)?;
        let failed = self.place.sqlite("write");
        let transaction = begin(&self.place, &self.connection).map_err(&failed)?;
        transaction
            .prepare_cached(
                "INSERT OR REPLACE INTO members (name, role, state, address, pid, incarnation, staged_position, \
                 position, lag_seconds, reason, at_ms, log_bytes, staged_bytes, store_bytes, free_bytes) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
            )
            .and_then(|mut statement| {
                statement.execute((
                    &member.name,
                    member.role.as_str(),
                    member.state.as_str(),
                    &member.address,
                    member.pid,
                    member.incarnation.map(|incarnation| incarnation.to_string()),
                    member.staged_position,
                    member.position,
                    if member.lag_seconds.is_finite() { member.lag_seconds } else { 0.0 },
                    &member.reason,
                    Count::clamped(member.at_ms),
                    Count::clamped(member.disk.log_bytes),
                    Count::clamped(member.disk.staged_bytes),
                    Count::clamped(member.disk.store_bytes),
                    Count::clamped(member.disk.free_bytes),
                ))
            })
            .map_err(&failed)?;
        transaction.commit().map_err(&failed)
    }

    /// Forgets servers that were silent for a day before this time (Unix, milliseconds).
    pub(super) fn forget_silent(&self, now_ms: u64) -> Result<(), LogError> {
        let failed = self.place.sqlite("write");
        let transaction = begin(&self.place, &self.connection).map_err(&failed)?;
        transaction
            .execute("DELETE FROM members WHERE at_ms < ?1", [Count::clamped(now_ms.saturating_sub(FORGET_AFTER_MS))])
            .map_err(&failed)?;
        transaction.commit().map_err(&failed)
    }

    pub(super) fn all(&self) -> Result<Vec<Member>, LogError> {
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT name, role, state, address, pid, incarnation, staged_position, position, lag_seconds, \
                 reason, at_ms, log_bytes, staged_bytes, store_bytes, free_bytes FROM members ORDER BY name",
            )
            .map_err(self.place.sqlite("read"))?;
        let mut rows = statement.query([]).map_err(self.place.sqlite("read"))?;
        let mut members = Vec::new();
        while let Some(row) = rows.next().map_err(self.place.sqlite("read"))? {
            match member(row) {
                Ok(Some(member)) => members.push(member),
                // One bad row must not hide the others from whoever asks how the fleet is.
                Ok(None) => tracing::warn!("a server's row has a value that is unknown here"),
                Err(error) => tracing::warn!(%error, "a server's row can't be read"),
            }
            if members.len() == MEMBERS_MAX {
                break;
            }
        }
        Ok(members)
    }
}

fn lease(connection: &Connection) -> rusqlite::Result<Option<Lease>> {
    connection
        .query_row("SELECT holder, epoch, counter FROM lease", [], |row| {
            Ok(Lease { holder: row.get(0)?, epoch: row.get(1)?, counter: row.get::<_, Count>(2)?.0 })
        })
        .optional()
}

fn member(row: &Row<'_>) -> rusqlite::Result<Option<Member>> {
    let word = |index| row.get::<_, String>(index);
    let (Some(role), Some(state)) = (Role::from_word(&word(1)?), ServerState::from_word(&word(2)?)) else {
        return Ok(None);
    };
    let incarnation = match row.get::<_, Option<String>>(5)? {
        Some(text) => match text.parse::<Incarnation>() {
            Ok(incarnation) => Some(incarnation),
            Err(_) => return Ok(None),
        },
        None => None,
    };
    let count = |index| row.get::<_, Count>(index).map(|count| count.0);
    Ok(Some(Member {
        name: row.get(0)?,
        role,
        state,
        address: row.get(3)?,
        pid: row.get(4)?,
        incarnation,
        staged_position: row.get(6)?,
        position: row.get(7)?,
        lag_seconds: row.get(8)?,
        reason: row.get(9)?,
        at_ms: count(10)?,
        disk: DiskUse {
            log_bytes: count(11)?,
            staged_bytes: count(12)?,
            store_bytes: count(13)?,
            free_bytes: count(14)?,
        },
    }))
}
