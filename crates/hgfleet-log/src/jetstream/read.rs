//! Reading records and their changes.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};

use super::JetStreamLog;
use super::link::Trouble;
use super::message::Held;
use super::session::raise;
use super::streams::Streams;
use crate::ids::{Epoch, RecordId, Sequence};
use crate::log::LogError;
use crate::name::RepositoryName;
use crate::record::{Record, RecordError};

/// Most bytes of records that one read returns (and one record at least).
const READ_BYTES_MAX: usize = 16 << 20;
/// Most messages that are asked for at once.
const AT_ONCE: usize = 16;
/// Most bytes of changes that are kept because they came with their records.
const SHORT_CHANGES_BYTES_MAX: usize = 32 << 20;

/// How long any server that has the stream may take to answer, before the leader is asked.
const ANY_TIME: Duration = Duration::from_secs(1);
/// For how long the leader alone is asked after that. A NATS server notices after ten seconds that another one takes nothing.
const LEADER_ALONE_TIME: Duration = Duration::from_secs(10);

/// A message of a stream.
pub(super) struct Stored {
    pub sequence: u64,
    pub subject: String,
    pub payload: Bytes,
}

/// Changes that came with their records, for whoever asks for them next.
#[derive(Debug, Default)]
pub(super) struct ShortChanges {
    changes: VecDeque<(Sequence, Bytes)>,
    bytes: usize,
}

impl ShortChanges {
    fn put(&mut self, sequence: Sequence, change: Bytes) {
        if change.is_empty() || self.changes.iter().any(|(kept, _)| *kept == sequence) {
            return;
        }
        self.bytes += change.len();
        self.changes.push_back((sequence, change));
        while self.bytes > SHORT_CHANGES_BYTES_MAX {
            let Some((_, change)) = self.changes.pop_front() else { break };
            self.bytes -= change.len();
        }
    }

    /// Gives up those of records up to and with this one.
    pub(super) fn forget_through(&mut self, sequence: Sequence) {
        self.changes.retain(|(kept, _)| *kept > sequence);
        self.bytes = self.changes.iter().map(|(_, change)| change.len()).sum();
    }

    fn take(&mut self, sequence: Sequence) -> Option<Bytes> {
        let at = self.changes.iter().position(|(kept, _)| *kept == sequence)?;
        let (_, change) = self.changes.remove(at)?;
        self.bytes -= change.len();
        Some(change)
    }
}

impl JetStreamLog {
    /// Asks the stream's leader for one message.
    async fn ask_leader(&self, stream: &str, which: Value) -> Result<Stored, Trouble> {
        let answer = self.link.api(&format!("STREAM.MSG.GET.{stream}"), &which).await?;
        let message = answer.get("message").unwrap_or(&Value::Null);
        let sequence = message.get("seq").and_then(Value::as_u64);
        let subject = message.get("subject").and_then(Value::as_str);
        let (Some(sequence), Some(subject)) = (sequence, subject) else {
            return Err(Trouble::Unknown(format!("an answer without a message of stream {stream}")));
        };
        let payload = BASE64
            .decode(message.get("data").and_then(Value::as_str).unwrap_or_default())
            .map_err(|_| Trouble::Unknown("an answer with data that is not base64".to_owned()))?;
        Ok(Stored { sequence, subject: subject.to_owned(), payload: payload.into() })
    }

    /// Asks any server that has the stream; what it hasn't, or where it says nothing, the leader is asked for.
    ///
    /// The cluster passes such a question to one server of those that it takes for reachable. From one that was cut off, no answer ever comes.
    async fn ask_any(&self, stream: &str, which: Value) -> Result<Stored, Trouble> {
        if self.leader_alone().is_some_and(|until| Instant::now() < until) {
            return self.ask_leader(stream, which).await;
        }
        let subject = format!("$JS.API.DIRECT.GET.{stream}");
        let Ok(answer) = timeout(ANY_TIME, self.link.ask(subject, None, which.to_string().into())).await else {
            tracing::debug!(stream, "no server says what it has; for a while the leader alone is asked");
            *self.leader_alone.lock().unwrap_or_else(PoisonError::into_inner) =
                Some(Instant::now() + LEADER_ALONE_TIME);
            return self.ask_leader(stream, which).await;
        };
        let answer = answer?;
        let header = |name: &str| answer.headers.as_ref().and_then(|headers| headers.get(name));
        let found = answer.status.is_none();
        match (found, header("Nats-Sequence").and_then(|text| text.as_str().parse().ok()), header("Nats-Subject")) {
            (true, Some(sequence), Some(subject)) => {
                Ok(Stored { sequence, subject: subject.as_str().to_owned(), payload: answer.payload })
            }
            _ => self.ask_leader(stream, which).await,
        }
    }

    /// Until when only the leader is asked.
    fn leader_alone(&self) -> Option<Instant> {
        *self.leader_alone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the last message with a subject, from any server: of a subject that is written once.
    pub(super) async fn last_on(&self, stream: &str, subject: String) -> Result<Stored, Trouble> {
        self.ask_any(stream, json!({ "last_by_subj": subject })).await
    }

    /// Returns the last message with a subject that fits, from the leader.
    pub(super) async fn newest_on(&self, stream: &str, pattern: String) -> Result<Option<Stored>, Trouble> {
        match self.ask_leader(stream, json!({ "last_by_subj": pattern })).await {
            Ok(stored) => Ok(Some(stored)),
            Err(Trouble::Absent) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads the record that a message holds. Its change is kept where it came along.
    pub(super) async fn record_of(&self, stored: Stored) -> Result<Record, LogError> {
        let sequence = Sequence::new(stored.sequence)
            .ok_or_else(|| LogError::Value(format!("a record with sequence {}", stored.sequence)))?;
        let record = self.decode(sequence, &stored).await?;
        if record.sequence != sequence {
            let why = format!("its message holds record {} of log {}", record.sequence, record.log);
            return Err(LogError::Damaged { sequence, why });
        }
        Ok(record)
    }

    /// As [`Self::record_of`], of a message whose own sequence says nothing.
    pub(super) async fn decode(&self, sequence: Sequence, stored: &Stored) -> Result<Record, LogError> {
        let wrong = |source: RecordError| LogError::Record { sequence, source };
        let (bytes, change) = match Held::decode(&stored.payload).map_err(wrong)? {
            Held::Whole { record, change } => (record, Some(change)),
            Held::ChangeInParts { record, .. } | Held::RecordAlone { record } => (record, None),
            Held::AllInParts { part_bytes, record_bytes, epoch } => {
                let damaged = || LogError::Damaged { sequence, why: format!("its subject is {}", stored.subject) };
                let id = stored.subject.rsplit('.').next().and_then(|id| id.parse().ok()).ok_or_else(damaged)?;
                (self.record_in_parts(sequence, epoch, &id, part_bytes, record_bytes).await?, None)
            }
        };
        let record = Record::decode(&bytes).map_err(wrong)?;
        if record.log != self.log {
            let why = format!("it is record {} of log {}", record.sequence, record.log);
            return Err(LogError::Damaged { sequence, why });
        }
        if let Some(change) = change {
            self.short_changes.lock().unwrap_or_else(PoisonError::into_inner).put(record.sequence, change);
        }
        Ok(record)
    }

    async fn record_in_parts(
        &self,
        sequence: Sequence,
        epoch: Epoch,
        id: &RecordId,
        part_bytes: u32,
        record_bytes: u32,
    ) -> Result<Bytes, LogError> {
        let mut record = BytesMut::with_capacity(record_bytes as usize);
        let mut parts = std::pin::pin!(self.parts(sequence, epoch, *id, part_bytes, 0..u64::from(record_bytes)));
        while let Some(part) = parts.try_next().await? {
            record.extend_from_slice(&part);
        }
        Ok(record.freeze())
    }

    /// Returns the log's last record, from the leader; none for an empty log.
    pub(super) async fn last_record(&self) -> Result<Option<Record>, LogError> {
        let failed = Trouble::of("looking at the stream of records");
        // Between the two questions the log may be trimmed up to its very end.
        for _ in 0..2 {
            let state = Streams::state(&self.link, &self.streams.records).await.map_err(&failed)?;
            if state.last == 0 {
                return Ok(None);
            }
            let found = self.ask_leader(&self.streams.records, json!({ "seq": state.last })).await;
            match found {
                Ok(stored) => return self.record_of(stored).await.map(Some),
                Err(Trouble::Absent) => {}
                Err(error) => return Err(failed(error)),
            }
            if let Some(record) = self.kept_last().await?
                && record.sequence.get() == state.last
            {
                return Ok(Some(record));
            }
        }
        Err(LogError::Value(format!(
            "stream {} was purged, and not by hgfleet: its last record is gone. Restore the stream",
            self.streams.records
        )))
    }

    pub(super) async fn read_records(&self, from: Sequence, max: usize) -> Result<Vec<Record>, LogError> {
        let failed = Trouble::of("reading the stream of records");
        if max == 0 {
            return Ok(Vec::new());
        }
        let mut known = *self.link.hints().borrow();
        if known < Some(from) {
            let state = Streams::state(&self.link, &self.streams.records).await.map_err(&failed)?;
            known = Sequence::new(state.last);
            raise(self.link.hints(), known);
        }
        let Some(last) = known.filter(|last| *last >= from) else { return Ok(Vec::new()) };
        let end = last.get().min(from.get().saturating_add(max as u64 - 1));
        let mut messages =
            stream::iter(from.get()..=end)
                .map(|sequence| async move {
                    (sequence, self.ask_any(&self.streams.records, json!({ "seq": sequence })).await)
                })
                .buffered(AT_ONCE);
        let mut records = Vec::new();
        let mut bytes = 0;
        while let Some((sequence, found)) = messages.next().await {
            let stored = match found {
                Ok(stored) => stored,
                Err(Trouble::Absent) if records.is_empty() => return self.nothing_at(from).await,
                // What comes next says why.
                Err(Trouble::Absent) => break,
                Err(error) => return Err(failed(error)),
            };
            if stored.sequence != sequence {
                let why = format!("missing: message {} comes in its place", stored.sequence);
                return Err(LogError::Damaged { sequence: from, why });
            }
            let in_message = stored.payload.len();
            let record = self.record_of(stored).await?;
            // The summary is what a record may have much of; a change in the message counts as well.
            bytes += in_message.max(record.store().map_or(0, |store| store.summary.len()));
            if bytes > READ_BYTES_MAX && !records.is_empty() {
                break;
            }
            records.push(record);
        }
        Ok(records)
    }

    /// Says why there is no record at `from`.
    async fn nothing_at(&self, from: Sequence) -> Result<Vec<Record>, LogError> {
        let state = Streams::state(&self.link, &self.streams.records).await;
        let state = state.map_err(Trouble::of("looking at the stream of records"))?;
        match Sequence::new(state.first) {
            Some(first) if from < first => Err(LogError::Trimmed { from, first }),
            _ if from.get() > state.last => {
                // Whoever said that there is more was wrong. A true word that this takes back comes again with the next look.
                self.link.hints().send_replace(Sequence::new(state.last));
                Ok(Vec::new())
            }
            _ => Err(LogError::Damaged { sequence: from, why: "missing in the stream".to_owned() }),
        }
    }

    pub(super) async fn last_record_of(&self, repository: &RepositoryName) -> Result<Option<Record>, LogError> {
        let failed = Trouble::of("looking for a repository's last record");
        let pattern = self.streams.records_of(self.log, repository);
        let record = match self.newest_on(&self.streams.records, pattern).await.map_err(failed)? {
            Some(stored) => Some(self.record_of(stored).await?),
            None => self.kept_of(repository).await?,
        };
        match record {
            Some(record) if record.store().is_none_or(|store| store.repository != *repository) => {
                let why = format!("its subject names repository {repository}, the record doesn't");
                Err(LogError::Damaged { sequence: record.sequence, why })
            }
            record => Ok(record),
        }
    }

    pub(super) async fn find_record(&self, id: &RecordId) -> Result<Option<Record>, LogError> {
        let failed = Trouble::of("looking for a record");
        let pattern = self.streams.record_with(self.log, id);
        let Some(stored) = self.newest_on(&self.streams.records, pattern).await.map_err(failed)? else {
            return Ok(None);
        };
        let record = self.record_of(stored).await?;
        if record.id != *id {
            let why = format!("its subject has id {id}, the record doesn't");
            return Err(LogError::Damaged { sequence: record.sequence, why });
        }
        Ok(Some(record))
    }

    pub(super) async fn write_change(&self, record: &Record, into: &File) -> Result<(), LogError> {
        let sequence = record.sequence;
        if record.log != self.log {
            return Err(LogError::Value(format!("record {sequence} is of another log")));
        }
        let Some(store) = record.store().filter(|store| store.change.bytes > 0) else { return Ok(()) };
        let mut writer = ChangeWriter::new(record, into)?;
        let kept = self.short_changes.lock().unwrap_or_else(PoisonError::into_inner).take(sequence);
        let held = match kept {
            Some(change) => Held::Whole { record: Bytes::new(), change },
            None => self.held(sequence).await?,
        };
        let (part_bytes, range) = match held {
            Held::Whole { change, .. } => {
                writer.write(change).await?;
                return writer.finish(&store.change.digest);
            }
            Held::ChangeInParts { part_bytes, .. } => (part_bytes, 0..store.change.bytes),
            Held::AllInParts { part_bytes, record_bytes, .. } => {
                let from = u64::from(record_bytes);
                (part_bytes, from..from + store.change.bytes)
            }
            Held::RecordAlone { .. } => {
                return Err(LogError::Payload { sequence, why: "its message has none".to_owned() });
            }
        };
        let mut parts = std::pin::pin!(self.parts(sequence, record.epoch, record.id, part_bytes, range));
        while let Some(part) = parts.try_next().await? {
            writer.write(part).await?;
        }
        writer.finish(&store.change.digest)
    }

    /// Returns what the message of a record holds.
    async fn held(&self, sequence: Sequence) -> Result<Held, LogError> {
        match self.ask_any(&self.streams.records, json!({ "seq": sequence.get() })).await {
            Ok(stored) => Held::decode(&stored.payload).map_err(|source| LogError::Record { sequence, source }),
            Err(Trouble::Absent) => {
                self.nothing_at(sequence).await?;
                Err(LogError::Payload { sequence, why: "missing in the log".to_owned() })
            }
            Err(error) => Err(Trouble::of("reading a change")(error)),
        }
    }
}

/// A change on its way into a file, counted and hashed.
struct ChangeWriter {
    sequence: Sequence,
    due: u64,
    into: Arc<File>,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl ChangeWriter {
    fn new(record: &Record, into: &File) -> Result<ChangeWriter, LogError> {
        let sequence = record.sequence;
        let into = Arc::new(into.try_clone().map_err(|source| writing(sequence, source))?);
        Ok(ChangeWriter { sequence, due: record.change_bytes(), into, hasher: blake3::Hasher::new(), bytes: 0 })
    }

    async fn write(&mut self, part: Bytes) -> Result<(), LogError> {
        let at = self.bytes;
        self.bytes += part.len() as u64;
        if self.bytes > self.due {
            return Err(self.wrong("more bytes are stored than the record names"));
        }
        self.hasher.update(&part);
        let into = self.into.clone();
        let written = spawn_blocking(move || into.write_all_at(&part, at)).await;
        let written = written.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        written.map_err(|source| writing(self.sequence, source))
    }

    fn finish(self, digest: &[u8; 32]) -> Result<(), LogError> {
        if self.bytes != self.due {
            return Err(self.wrong("fewer bytes are stored than the record names"));
        }
        if self.hasher.finalize() != *digest {
            return Err(self.wrong("its digest does not match its bytes"));
        }
        Ok(())
    }

    fn wrong(&self, why: &str) -> LogError {
        LogError::Payload { sequence: self.sequence, why: why.to_owned() }
    }
}

fn writing(sequence: Sequence, source: std::io::Error) -> LogError {
    LogError::Io { verb: "write", path: format!("the change of record {sequence}").into(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_that_came_along_are_bounded() {
        let mut kept = ShortChanges::default();
        for number in 1..=40 {
            kept.put(Sequence::new(number).expect("sequence"), Bytes::from(vec![0; 1 << 20]));
        }
        assert_eq!(kept.bytes, SHORT_CHANGES_BYTES_MAX);
        assert!(kept.take(Sequence::FIRST).is_none());
        assert!(kept.take(Sequence::new(40).expect("sequence")).is_some());
        assert_eq!(kept.bytes, SHORT_CHANGES_BYTES_MAX - (1 << 20));
    }
}
