//! What can go wrong with a log, and what is certain then.

use std::path::PathBuf;

use super::Lease;
use crate::ids::{Epoch, RecordId, Sequence};
use crate::membership::View;
use crate::record::RecordError;

/// Why an append was not acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Nothing was stored, and never will be.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// It may be stored or not; read the log to know.
    #[error("outcome unknown: {0}")]
    Unknown(String),
    /// More bytes than a record may carry; nothing was stored.
    #[error("a record with {bytes} bytes, and {bytes_max} are allowed")]
    TooLarge {
        /// How many there are.
        bytes: u64,
        /// How many are allowed.
        bytes_max: u64,
    },
}

/// Why an append was refused.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The log ends elsewhere. Read what lies between before anything else.
    #[error("wrong last sequence: the log ends at {}", show(last))]
    WrongLastSequence {
        /// Where it ends.
        last: Option<Sequence>,
    },
    /// Another server holds a newer epoch.
    #[error("epoch {newest} has begun elsewhere")]
    Fenced {
        /// The newest epoch.
        newest: Epoch,
    },
    /// It is made under an epoch that no epoch record began.
    #[error("epoch {0} has not begun")]
    EpochNotBegun(Epoch),
    /// It holds another hash than that of the record that it follows.
    #[error("the hash of the record before it does not match")]
    BrokenChain,
    /// A record with this id is in the log already.
    #[error("record {0} is in the log already")]
    Duplicate(RecordId),
    /// It is no valid record.
    #[error("{0}")]
    Invalid(#[from] RecordError),
    /// The payload is not what the record names, or can't be read.
    #[error("the change's bytes: {0}")]
    Payload(String),
    /// Too little room on the log's disk.
    #[error("the log's disk is full: {free} bytes are free, and {needed} are needed")]
    NoSpace {
        /// Bytes that are free.
        free: u64,
        /// Bytes that it needs, with a reserve.
        needed: u64,
    },
    /// The log was opened for reading, is closed, or an earlier error ended it.
    #[error("the log takes no appends: {0}")]
    Closed(String),
}

fn show(last: &Option<Sequence>) -> u64 {
    last.map_or(0, Sequence::get)
}

fn remedy(error: &RecordError) -> &'static str {
    match error {
        RecordError::Version(_) | RecordError::Kind(_) => "Use the hgfleet that wrote it",
        _ => "Restore log.sqlite from a copy",
    }
}

/// Why a log can't be read or opened.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The operating system said no.
    #[error("{verb} {}: {source}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// SQLite said no.
    #[error("{verb} {}: {source}", path.display())]
    Sqlite {
        /// What was tried.
        verb: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: rusqlite::Error,
    },
    /// The servers that keep the log did not do what was asked of them.
    #[error("{what} of the log's servers: {why}")]
    Server {
        /// What was asked.
        what: &'static str,
        /// Why not.
        why: String,
    },
    /// The stream that keeps the log has a setting under which records could be lost.
    #[error("stream {stream} has {setting} {found}, and the log needs {needed}: {remedy}")]
    Setting {
        /// Which stream.
        stream: String,
        /// Which setting, by its name in the stream's configuration.
        setting: &'static str,
        /// Its value.
        found: String,
        /// What it must be.
        needed: String,
        /// What to do.
        remedy: &'static str,
    },
    /// There is no log.
    #[error("{} is not there; the master makes it", .0.display())]
    Absent(PathBuf),
    /// The file is no log of ours.
    #[error("{} is not a log of hgfleet: {why}", path.display())]
    NotALog {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A newer hgfleet made it.
    #[error("{} has format {found}, and this hgfleet knows formats up to {known}: use a newer hgfleet", path.display())]
    NewerFormat {
        /// Which file.
        path: PathBuf,
        /// Its format's version.
        found: i64,
        /// The newest that is known here.
        known: i64,
    },
    /// The record was trimmed.
    #[error("record {from} was trimmed; the log begins at {first}")]
    Trimmed {
        /// What was asked for.
        from: Sequence,
        /// What can be read.
        first: Sequence,
    },
    /// A record is damaged, or of a version or kind that is unknown here.
    #[error("record {sequence} in the log can't be used: {source}. {}", remedy(source))]
    Record {
        /// Which.
        sequence: Sequence,
        /// What is wrong.
        source: RecordError,
    },
    /// A sequence below the end is missing, or a row says something else than its record.
    #[error("record {sequence} in the log is damaged: {why}. Restore log.sqlite from a copy")]
    Damaged {
        /// Which.
        sequence: Sequence,
        /// What is wrong.
        why: String,
    },
    /// The stored change is not the one that the record names.
    #[error("the change of record {sequence} in the log is damaged: {why}. Restore log.sqlite from a copy")]
    Payload {
        /// Which.
        sequence: Sequence,
        /// What is wrong.
        why: String,
    },
    /// A value beside the log can't be what it should.
    #[error("{0}")]
    Value(String),
    /// The log was opened for reading, is closed, or an earlier error ended it.
    #[error("the log is closed: {0}")]
    Closed(String),
}

/// Why the lease was not renewed.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Somebody else renewed it.
    #[error("the lease is held by {}", current.as_ref().map_or("nobody", |lease| lease.holder.as_str()))]
    Lost {
        /// As it stands.
        current: Option<Lease>,
    },
    /// The log failed.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// Why a value was not written.
#[derive(Debug, thiserror::Error)]
pub enum ValueError {
    /// Somebody else wrote it meanwhile.
    #[error("the value has changed")]
    Conflict,
    /// It is longer than a value may be.
    #[error("{bytes} bytes, and {} are allowed", super::VALUE_BYTES_MAX)]
    TooLarge {
        /// How long it is.
        bytes: usize,
    },
    /// The log failed; it may be written or not.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// Why the view, or what says that the fleet is read only, was not replaced.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// Another one is there.
    #[error("the view has changed")]
    Conflict {
        /// As it stands.
        current: Option<View>,
    },
    /// Its epoch is not the log's newest.
    #[error("epoch {newest} has begun elsewhere")]
    Fenced {
        /// The newest.
        newest: Epoch,
    },
    /// Its position lies below the one that is shown, or beyond the log's end, or a count is out of bounds.
    #[error("it may not follow: {0}")]
    Invalid(&'static str),
    /// The log failed; it may be written or not.
    #[error(transparent)]
    Log(#[from] LogError),
}
