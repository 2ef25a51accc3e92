//! What every backend of the log does.

mod error;
pub(crate) mod rules;

use std::fs::File;
use std::time::Duration;

use async_trait::async_trait;

pub use self::error::{AppendError, LeaseError, LogError, Refusal, ValueError, ViewError};

use crate::ids::{ChainHash, Epoch, LogId, RecordId, Sequence};
use crate::membership::{Member, View};
use crate::name::RepositoryName;
use crate::record::{Body, Record, RecordError};

/// Longest reason why the fleet takes no pushes, in bytes.
pub const READ_ONLY_BYTES_MAX: usize = 4096;

/// A durable, totally ordered sequence of records, with the lease, the view and the members beside it.
///
/// All methods may be called at once from many tasks. Dropping a future of [`Log::append`] takes nothing
/// back: the record may still be stored.
#[async_trait]
pub trait Log: std::fmt::Debug + Send + Sync {
    /// Returns the log's identity, which each of its records holds.
    async fn identity(&self) -> LogId;

    /// Returns whether an append may be issued while the one that it expects to follow is still under way.
    ///
    /// Where true, appends that wait together are looked at in the order of the calls, whatever stands behind a refused one is
    /// refused, and all that are stored share one write to disk ([`Draft::seal`] tells the hash that the next one
    /// needs). Where false, only an acknowledged record may be followed: a sequence alone would let
    /// a stale master's second append land behind another's record.
    fn appends_together(&self) -> bool {
        false
    }

    /// Returns why this log takes and shows nothing more in this process, once it does not: a server
    /// that met this ends, and its next start finds out what the log holds.
    fn failure(&self) -> Option<String> {
        None
    }

    /// Stores one record behind the one it expects to follow; the change of a [`Body::Store`] comes as `payload`.
    ///
    /// The record is durable before this returns `Ok`.
    ///
    /// # Errors
    /// [`AppendError::Refused`] and [`AppendError::TooLarge`]: nothing was stored, and never will be.
    /// [`AppendError::Unknown`]: only reading the log tells.
    async fn append(&self, draft: Draft, payload: Payload) -> Result<Record, AppendError>;

    /// Returns the last record's place, hash and epoch; none for an empty log.
    ///
    /// # Errors
    /// Where the log can't be read.
    async fn end(&self) -> Result<Option<Tail>, LogError>;

    /// Returns the oldest sequence that can still be read (one past the end where all were trimmed).
    ///
    /// # Errors
    /// Where the log can't be read.
    async fn first(&self) -> Result<Sequence, LogError>;

    /// Returns records from `from` on, in order without a gap, at most `max` and at most 16 MiB of them; none at the end.
    ///
    /// Each is decoded and its digest checked. How one follows on the other is for a
    /// [`Follower`](crate::Follower) to check.
    ///
    /// # Errors
    /// [`LogError::Trimmed`] where `from` was trimmed, [`LogError::Record`] where a stored record is damaged or
    /// of an unknown version, and where the log can't be read.
    async fn read(&self, from: Sequence, max: usize) -> Result<Vec<Record>, LogError>;

    /// Writes the record's change to `into`, from its offset 0 on, and checks its length and digest.
    ///
    /// Neither truncates `into` nor syncs it.
    ///
    /// # Errors
    /// [`LogError::Trimmed`] where it was trimmed, [`LogError::Payload`] where what is stored is not what the
    /// record names, and where the log or `into` fails.
    async fn payload(&self, record: &Record, into: &mut File) -> Result<(), LogError>;

    /// Waits until the log's end may have moved past `after`, `wait` at most.
    async fn changed(&self, after: Option<Sequence>, wait: Duration);

    /// Ends the waits of [`Log::changed`] in this process: somebody else said that there is more.
    fn wake(&self);

    /// Returns the repository's last store record, also where it was trimmed otherwise; none where it never had one.
    ///
    /// A deleted repository's last record may be gone after trimming.
    ///
    /// # Errors
    /// Where the log can't be read or the record is damaged.
    async fn last_of(&self, repository: &RepositoryName) -> Result<Option<Record>, LogError>;

    /// Returns the record with this id, if it is in the log and not trimmed.
    ///
    /// # Errors
    /// Where the log can't be read or the record is damaged.
    async fn find(&self, id: &RecordId) -> Result<Option<Record>, LogError>;

    /// Gives up all records up to and with `checkpoint`, but for the last of each repository that exists, whose
    /// change is given up all the same.
    ///
    /// # Errors
    /// Where `checkpoint` lies beyond the log's end, and where the log fails.
    async fn trim(&self, checkpoint: Sequence) -> Result<(), LogError>;

    /// Returns the lease as it stands; none where nobody ever held it.
    ///
    /// # Errors
    /// Where it can't be read.
    async fn lease(&self) -> Result<Option<Lease>, LogError>;

    /// Writes a sign of life: the lease's counter is set to the next number if it still is `counter`.
    ///
    /// # Errors
    /// [`LeaseError::Lost`] where somebody else renewed it, and where the log fails.
    async fn renew_lease(&self, holder: &str, epoch: Option<Epoch>, counter: Option<u64>) -> Result<Lease, LeaseError>;

    /// Returns the view; none before the first.
    ///
    /// # Errors
    /// Where it can't be read.
    async fn view(&self) -> Result<Option<View>, LogError>;

    /// Puts `view` in the place of the one with version `expected`, durable before it returns.
    ///
    /// # Errors
    /// See [`ViewError`]; unless it is [`ViewError::Log`], nothing was written.
    async fn set_view(&self, expected: Option<u64>, view: View) -> Result<(), ViewError>;

    /// Returns why the whole fleet takes no pushes; none where it takes them.
    ///
    /// # Errors
    /// Where it can't be read.
    async fn read_only(&self) -> Result<Option<String>, LogError>;

    /// Says that the whole fleet takes no pushes, and why, or (none) that it takes them again; durable before it returns.
    ///
    /// # Errors
    /// [`ViewError::Fenced`] where a newer epoch than `epoch` has begun, [`ViewError::Invalid`] where it has not begun or the reason
    /// is longer than [`READ_ONLY_BYTES_MAX`]; unless it is [`ViewError::Log`], nothing was written.
    async fn set_read_only(&self, epoch: Epoch, reason: Option<String>) -> Result<(), ViewError>;

    /// Returns a small value that the fleet shares beside its records; none where it was never written.
    ///
    /// `key` is 1 to 32 lower-case letters and `-`.
    ///
    /// # Errors
    /// Where it can't be read, or `key` is no key.
    async fn value(&self, key: &str) -> Result<Option<StoredValue>, LogError>;

    /// Puts `bytes` in the place of the value with version `expected` (none: it was never written), durable before it
    /// returns, and returns the new version. Every server may write, whoever is master.
    ///
    /// # Errors
    /// See [`ValueError`]; unless it is [`ValueError::Log`], nothing was written.
    async fn set_value(&self, key: &str, expected: Option<u64>, bytes: Vec<u8>) -> Result<u64, ValueError>;

    /// Says how one server is. Cheap and not durable.
    ///
    /// # Errors
    /// Where it can't be written.
    async fn put_heartbeat(&self, member: Member) -> Result<(), LogError>;

    /// Returns what each server last said of itself, by name.
    ///
    /// # Errors
    /// Where it can't be read.
    async fn members(&self) -> Result<Vec<Member>, LogError>;

    /// Returns how many bytes of disk the log takes.
    ///
    /// # Errors
    /// Where that can't be found out.
    async fn disk_bytes(&self) -> Result<u64, LogError>;
}

/// A record that is to be appended: all but what the log itself adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// Its own name.
    pub id: RecordId,
    /// The epoch under which it is appended: the newest, or for a [`Body::Epoch`] the one after.
    pub epoch: Epoch,
    /// The record that it expects to follow; none for the first.
    pub expected: Option<Sequence>,
    /// That record's hash.
    pub previous: ChainHash,
    /// Unix time in milliseconds.
    pub time_ms: u64,
    /// What it says.
    pub body: Body,
}

impl Draft {
    /// Returns a draft that follows `tail`.
    pub fn following(tail: Option<&Tail>, epoch: Epoch, id: RecordId, time_ms: u64, body: Body) -> Draft {
        Draft {
            id,
            epoch,
            expected: tail.map(|tail| tail.sequence),
            previous: tail.map_or(ChainHash::NONE, |tail| tail.hash),
            time_ms,
            body,
        }
    }

    /// Returns the record that it becomes in this log.
    ///
    /// # Errors
    /// Where a field is beyond its bound, or the sequences are used up.
    pub fn seal(self, log: LogId) -> Result<Record, RecordError> {
        self.seal_encoded(log).map(|(record, _)| record)
    }

    pub(crate) fn seal_encoded(self, log: LogId) -> Result<(Record, Vec<u8>), RecordError> {
        let Draft { id, epoch, expected, previous, time_ms, body } = self;
        let sequence = Sequence::after(expected).ok_or(RecordError::Field("sequence"))?;
        let mut record = Record { log, sequence, epoch, previous, id, time_ms, body, hash: ChainHash::NONE };
        let bytes = record.encode()?;
        record.hash = encoded_hash(&bytes);
        Ok((record, bytes))
    }
}

/// The digest at a record's end, which covers all before it.
fn encoded_hash(record: &[u8]) -> ChainHash {
    record.last_chunk().map_or(ChainHash::NONE, |digest| ChainHash::from_bytes(*digest))
}

/// A change's bytes on their way into the log.
#[derive(Debug)]
pub enum Payload {
    /// None: the record carries no change.
    Empty,
    /// The first `bytes` bytes of a file, read from its start whatever its offset is.
    File {
        /// Open for reading; nobody may change it until the append has returned.
        file: File,
        /// How many.
        bytes: u64,
    },
    /// Few bytes: 4 MiB at most.
    Bytes(Vec<u8>),
}

impl Payload {
    /// Returns how many bytes it has.
    pub fn len(&self) -> u64 {
        match self {
            Payload::Empty => 0,
            Payload::File { bytes, .. } => *bytes,
            Payload::Bytes(bytes) => bytes.len() as u64,
        }
    }

    /// Returns whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Where a log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// The last record's place.
    pub sequence: Sequence,
    /// Its hash.
    pub hash: ChainHash,
    /// The newest epoch.
    pub epoch: Epoch,
}

impl Tail {
    /// Returns the end of a log whose last record this is.
    pub fn of(record: &Record) -> Tail {
        Tail { sequence: record.sequence, hash: record.chain_hash(), epoch: record.epoch }
    }
}

/// The longest value of [`Log::set_value`], bytes. NATS takes messages of 1 MiB unless it is told otherwise.
pub const VALUE_BYTES_MAX: usize = 1_000_000;

/// A small value beside the records, as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredValue {
    /// Grows with each write.
    pub version: u64,
    /// What was written, [`VALUE_BYTES_MAX`] at most.
    pub bytes: Vec<u8>,
}

/// The holder's sign of life. It grants nothing: only an epoch does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Who renewed it last.
    pub holder: String,
    /// The epoch that they hold, once they do.
    pub epoch: Option<Epoch>,
    /// Grows with each renewal. A contender watches it by its own clock.
    pub counter: u64,
}
