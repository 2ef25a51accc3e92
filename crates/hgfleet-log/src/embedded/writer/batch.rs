//! One transaction: the jobs that waited together.

use std::borrow::Cow;
use std::os::unix::fs::FileExt;

use rusqlite::{Connection, ErrorCode};

use super::{Append, Job};
use crate::embedded::Shared;
use crate::embedded::rows::{PART_BYTES, Rows};
use crate::embedded::stopped::begin;
use crate::embedded::values::Count;
use crate::ids::{Epoch, Sequence};
use crate::log::rules::{may_follow, read_only_may_follow, view_may_follow};
use crate::log::{AppendError, LogError, Payload, Refusal, ViewError};
use crate::membership::View;
use crate::planted;
use crate::stop_at::stop_at;

/// Bytes that stay free on the log's disk, so that a full disk is met before SQLite meets it.
const RESERVE_BYTES: u64 = 16 << 20;
/// Bytes that must be free for whatever is written, the reserve's use included.
const LEAST_BYTES: u64 = 1 << 20;

/// Jobs that share one write to disk.
pub(super) struct Batch {
    pub jobs: Vec<Job>,
    pub bytes: u64,
}

/// What became of one job, to be told once the transaction is durable.
enum Answer {
    Append(Result<(), AppendError>),
    View(Result<(), ViewError>),
    Trim(Result<(), LogError>),
}

/// Why a whole transaction came to nothing.
enum Failed {
    /// Nothing was stored, for certain.
    Nothing(rusqlite::Error),
    /// Nobody knows what was stored.
    Unknown(rusqlite::Error),
}

impl Batch {
    pub(super) fn new(first: Job) -> Batch {
        Batch { bytes: first.bytes(), jobs: vec![first] }
    }

    pub(super) fn push(&mut self, job: Job) {
        self.bytes += job.bytes();
        self.jobs.push(job);
    }

    /// Does the jobs, in order, and answers them.
    pub(super) fn run(mut self, shared: &Shared, connection: &Connection) {
        if let Ok(free) = shared.free_bytes() {
            self.refuse_without_room(free);
        }
        if self.jobs.is_empty() {
            return;
        }
        match transact(shared, connection, &self.jobs) {
            Ok(answers) => {
                shared.notify.notify_waiters();
                for (job, answer) in self.jobs.into_iter().zip(answers) {
                    job.answer(answer);
                }
            }
            Err(Failed::Nothing(error)) => {
                let why = error.to_string();
                self.jobs.into_iter().for_each(|job| job.refuse(&why));
            }
            Err(Failed::Unknown(error)) => {
                shared.failure.set(&error.to_string());
                self.jobs.into_iter().for_each(|job| job.unknown(&error.to_string()));
            }
        }
    }

    /// Refuses what there is no room for. Changes leave a reserve, out of which what was stored before is settled and
    /// shown: views, epochs and empty records.
    fn refuse_without_room(&mut self, free: u64) {
        // Everything is written twice: to the write-ahead log, then to the file.
        let written = 2 * self.bytes;
        let (changes, others) = std::mem::take(&mut self.jobs).into_iter().partition(Job::is_change);
        for (jobs, needed) in [(changes, written + RESERVE_BYTES), (others, written.min(RESERVE_BYTES) + LEAST_BYTES)] {
            let jobs: Vec<Job> = jobs;
            match free < needed {
                true => jobs.into_iter().for_each(|job| no_space(job, free, needed)),
                false => self.jobs.extend(jobs),
            }
        }
    }
}

impl Job {
    /// Whether it adds a change of a store to the log.
    fn is_change(&self) -> bool {
        matches!(self, Job::Append { append, .. } if append.record.store().is_some())
    }

    fn answer(self, answer: Answer) {
        let _ = match (self, answer) {
            (Job::Append { append, reply }, Answer::Append(answer)) => {
                reply.send(answer.map(|()| append.record)).is_ok()
            }
            (Job::View { reply, .. } | Job::ReadOnly { reply, .. }, Answer::View(answer)) => reply.send(answer).is_ok(),
            (Job::Trim { reply, .. }, Answer::Trim(answer)) => reply.send(answer).is_ok(),
            // Each job is answered in its own kind, see `transact`; without an answer the outcome is unknown.
            _ => false,
        };
    }

    fn unknown(self, why: &str) {
        let why = why.to_owned();
        let _ = match self {
            Job::Append { reply, .. } => reply.send(Err(AppendError::Unknown(why))).is_ok(),
            Job::View { reply, .. } | Job::ReadOnly { reply, .. } => {
                reply.send(Err(LogError::Closed(why).into())).is_ok()
            }
            Job::Trim { reply, .. } => reply.send(Err(LogError::Closed(why))).is_ok(),
        };
    }
}

fn no_space(job: Job, free: u64, needed: u64) {
    match job {
        Job::Append { reply, .. } => {
            let _ = reply.send(Err(Refusal::NoSpace { free, needed }.into()));
        }
        job => job.refuse("its disk is full"),
    }
}

fn transact(shared: &Shared, connection: &Connection, jobs: &[Job]) -> Result<Vec<Answer>, Failed> {
    // Busy: another process writes for longer than we wait; nothing was begun.
    let transaction = begin(&shared.place, connection).map_err(|error| match code(&error) {
        Some(ErrorCode::DatabaseBusy) => Failed::Nothing(error),
        _ => Failed::Unknown(error),
    })?;
    let mut answers = Vec::with_capacity(jobs.len());
    for job in jobs {
        let done = match job {
            Job::Append { append, .. } => append_one(shared, &transaction, append).map(Answer::Append),
            Job::View { expected, view, .. } => set_view(shared, &transaction, *expected, view).map(Answer::View),
            Job::ReadOnly { epoch, reason, .. } => {
                set_read_only(shared, &transaction, *epoch, reason.as_deref()).map(Answer::View)
            }
            Job::Trim { checkpoint, .. } => trim(shared, &transaction, *checkpoint).map(Answer::Trim),
        };
        match done {
            Ok(answer) => answers.push(answer),
            // A disk that fills up within a transaction leaves nothing of it, if it can be taken back.
            Err(error) if code(&error) == Some(ErrorCode::DiskFull) => {
                return Err(match transaction.rollback() {
                    Ok(()) => Failed::Nothing(error),
                    Err(_) => Failed::Unknown(error),
                });
            }
            Err(error) => return Err(Failed::Unknown(error)),
        }
    }
    stop_at("log.written");
    shared.before_commit().map_err(Failed::Unknown)?;
    transaction.commit().map_err(Failed::Unknown)?;
    Ok(answers)
}

fn code(error: &rusqlite::Error) -> Option<ErrorCode> {
    error.sqlite_error_code()
}

/// What SQLite says ends the transaction; what the log's own rules say ends this job alone.
type Done<E, T = ()> = rusqlite::Result<Result<T, E>>;

fn append_one(shared: &Shared, connection: &Connection, append: &Append) -> Done<AppendError> {
    let rows = Rows { place: &shared.place, log: shared.log, connection };
    let tail = match rows.end() {
        Ok(tail) => tail,
        Err(LogError::Sqlite { source, .. }) => return Err(source),
        Err(error) => return Ok(Err(Refusal::Closed(error.to_string()).into())),
    };
    let anything = planted::is("stale-append-taken");
    if let Err(refusal) = may_follow(tail.as_ref(), &append.record)
        && !anything
    {
        return Ok(Err(refusal.into()));
    }
    let taken = "SELECT EXISTS (SELECT 1 FROM records WHERE id = ?1)";
    let id = append.record.id;
    if connection.prepare_cached(taken)?.query_row([id.as_bytes()], |row| row.get(0))? {
        return Ok(Err(Refusal::Duplicate(id).into()));
    }
    let sequence = append.record.sequence;
    let change = match store_change(connection, append)? {
        Ok(change) => change,
        Err(why) => {
            connection.prepare_cached("DELETE FROM parts WHERE sequence = ?1")?.execute([sequence])?;
            return Ok(Err(Refusal::Payload(why).into()));
        }
    };
    if anything {
        connection.execute("DELETE FROM records WHERE sequence = ?1", [sequence])?;
    }
    let repository = append.record.store().map(|store| store.repository.as_str());
    connection
        .prepare_cached("INSERT INTO records (sequence, id, repository, record, change) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute((sequence, id.as_bytes(), repository, &append.encoded, change.as_deref()))?;
    Ok(Ok(()))
}

/// Stores a long change in parts, or returns a short one, which goes into the record's row. `Err`: it isn't what the record names.
fn store_change<'a>(connection: &Connection, append: &'a Append) -> Done<String, Option<Cow<'a, [u8]>>> {
    let Some(store) = append.record.store() else { return Ok(Ok(None)) };
    let unreadable = |error| Ok(Err(format!("can't be read: {error}")));
    let mut hasher = blake3::Hasher::new();
    let change = match &append.payload {
        Payload::Empty => None,
        Payload::Bytes(bytes) if bytes.len() > PART_BYTES => {
            return Ok(Err(format!("more than {PART_BYTES} bytes come in a file")));
        }
        Payload::Bytes(bytes) => Some(Cow::Borrowed(bytes.as_slice())),
        Payload::File { file, bytes } if *bytes <= PART_BYTES as u64 => {
            let mut buffer = vec![0; *bytes as usize];
            if let Err(error) = file.read_exact_at(&mut buffer, 0) {
                return unreadable(error);
            }
            Some(Cow::Owned(buffer))
        }
        Payload::File { file, bytes } => {
            let sql = "INSERT INTO parts (sequence, part, bytes) VALUES (?1, ?2, ?3)";
            let mut insert = connection.prepare_cached(sql)?;
            let mut buffer = vec![0; PART_BYTES];
            for (part, at) in (0..*bytes).step_by(PART_BYTES).enumerate() {
                let length = (bytes - at).min(PART_BYTES as u64) as usize;
                if let Err(error) = file.read_exact_at(&mut buffer[..length], at) {
                    return unreadable(error);
                }
                hasher.update(&buffer[..length]);
                insert.execute((append.record.sequence, Count(part as u64), &buffer[..length]))?;
            }
            None
        }
    };
    if let Some(change) = &change {
        hasher.update(change);
    }
    if hasher.finalize() != store.change.digest {
        return Ok(Err("their digest is not the one that the record names".to_owned()));
    }
    Ok(Ok(change.filter(|change| !change.is_empty())))
}

fn set_view(shared: &Shared, connection: &Connection, expected: Option<u64>, view: &View) -> Done<ViewError> {
    let rows = Rows { place: &shared.place, log: shared.log, connection };
    let (tail, current) = match rows.end().and_then(|tail| Ok((tail, rows.view()?))) {
        Ok(found) => found,
        Err(LogError::Sqlite { source, .. }) => return Err(source),
        Err(error) => return Ok(Err(error.into())),
    };
    if let Err(error) = view_may_follow(tail.as_ref(), current, expected, view)
        && !planted::is("stale-view-taken")
    {
        return Ok(Err(error));
    }
    connection
        .prepare_cached("INSERT OR REPLACE INTO view (one, epoch, version, visible) VALUES (1, ?1, ?2, ?3)")?
        .execute((view.epoch, Count(view.version), view.visible))?;
    connection.prepare_cached("DELETE FROM view_mirrors")?.execute([])?;
    let mut insert = connection.prepare_cached("INSERT INTO view_mirrors (name, incarnation) VALUES (?1, ?2)")?;
    for mirror in &view.mirrors {
        insert.execute((&mirror.name, mirror.incarnation.to_string()))?;
    }
    Ok(Ok(()))
}

fn set_read_only(shared: &Shared, connection: &Connection, epoch: Epoch, reason: Option<&str>) -> Done<ViewError> {
    let rows = Rows { place: &shared.place, log: shared.log, connection };
    let tail = match rows.end() {
        Ok(tail) => tail,
        Err(LogError::Sqlite { source, .. }) => return Err(source),
        Err(error) => return Ok(Err(error.into())),
    };
    if let Err(error) = read_only_may_follow(tail.as_ref(), epoch, reason) {
        return Ok(Err(error));
    }
    connection.execute_batch("CREATE TABLE IF NOT EXISTS read_only (reason TEXT NOT NULL) STRICT")?;
    connection.execute("DELETE FROM read_only", [])?;
    if let Some(reason) = reason {
        connection.execute("INSERT INTO read_only (reason) VALUES (?1)", [reason])?;
    }
    Ok(Ok(()))
}

fn trim(shared: &Shared, connection: &Connection, checkpoint: Sequence) -> Done<LogError> {
    let rows = Rows { place: &shared.place, log: shared.log, connection };
    let (last, first) = match rows.last_sequence().and_then(|last| Ok((last, rows.first()?))) {
        Ok(found) => found,
        Err(LogError::Sqlite { source, .. }) => return Err(source),
        Err(error) => return Ok(Err(error)),
    };
    if Some(checkpoint) > last {
        return Ok(Err(LogError::Value(format!("checkpoint {checkpoint} lies beyond the log's end"))));
    }
    if checkpoint < first {
        return Ok(Ok(()));
    }
    connection.execute("DELETE FROM parts WHERE sequence <= ?1", [checkpoint])?;
    // The log's last record says where the next one follows; a repository's last one says what its next change starts from.
    connection.execute(
        "DELETE FROM records WHERE sequence <= ?1 AND sequence < (SELECT max(sequence) FROM records) AND (
             repository IS NULL OR sequence < (
                 SELECT max(later.sequence) FROM records AS later WHERE later.repository = records.repository))",
        [checkpoint],
    )?;
    connection.execute("UPDATE records SET change = NULL WHERE sequence <= ?1 AND change IS NOT NULL", [checkpoint])?;
    connection.execute("UPDATE log SET trimmed = ?1", [checkpoint])?;
    Ok(Ok(()))
}
