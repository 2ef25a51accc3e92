//! Appending: parts first, then the one message that counts.

use std::sync::{Arc, PoisonError};

use async_nats::HeaderMap;
use bytes::Bytes;
use std::os::unix::fs::FileExt;
use tokio::task::spawn_blocking;

use super::link::Trouble;
use super::message::{Held, ROOM_BYTES};
use super::parts::{NotStored, Source};
use super::streams::Streams;
use super::{ACKNOWLEDGED_MAX, JetStreamLog};
use crate::ids::{Epoch, RecordId, Sequence};
use crate::location::Access;
use crate::log::rules::may_follow;
use crate::log::{AppendError, Draft, Payload, Refusal, Tail};
use crate::record::{Record, RecordError};

/// Most bytes of a part, and of a record with its change in one message.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Room in a message for headers, subject and the like, in bytes.
const HEADERS_BYTES: usize = 4 << 10;
/// Refusals that come before anything is stored on any server: too large, another stream.
const CERTAIN_REFUSALS: [u64; 2] = [10054, 10060];

impl JetStreamLog {
    pub(super) async fn append_record(&self, draft: Draft, payload: Payload) -> Result<Record, AppendError> {
        let expected = draft.expected;
        let (record, encoded) = draft.seal_encoded(self.log).map_err(|error| match error {
            RecordError::TooLarge { value, max, .. } => AppendError::TooLarge { bytes: value, bytes_max: max },
            error => Refusal::Invalid(error).into(),
        })?;
        if payload.len() != record.change_bytes() {
            let why = format!("{} bytes are given, and the record names {}", payload.len(), record.change_bytes());
            return Err(Refusal::Payload(why).into());
        }
        if self.access == Access::Read {
            return Err(Refusal::Closed("it is open for reading".to_owned()).into());
        }
        // The log's own word on its end: what was acknowledged here last, or what its leader says.
        let tail = match self.known_tail() {
            Some(tail) if Some(tail.sequence) == expected => Some(tail),
            _ => self.end_or_refusal().await?,
        };
        may_follow(tail.as_ref(), &record)?;
        if self.was_acknowledged(&record) {
            return Err(Refusal::Duplicate(record.id).into());
        }
        let held = self.prepare(&record, encoded.into(), payload).await?;
        self.publish_record(expected, &record, held).await?;
        Ok(record)
    }

    async fn end_or_refusal(&self) -> Result<Option<Tail>, Refusal> {
        let end = self.last_record().await.map_err(|error| Refusal::Closed(error.to_string()))?;
        let tail = end.as_ref().map(Tail::of);
        self.set_tail(tail);
        Ok(tail)
    }

    fn was_acknowledged(&self, record: &Record) -> bool {
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).contains(&record.id)
    }

    /// Makes the message of a record. What doesn't fit into it is stored in parts before this returns.
    async fn prepare(&self, record: &Record, encoded: Bytes, payload: Payload) -> Result<Held, Refusal> {
        let session = self.link.session().await.map_err(|error| Refusal::Closed(error.to_string()))?;
        let room = (session.payload_bytes_max - HEADERS_BYTES).min(MESSAGE_BYTES_MAX);
        drop(session);
        let unreadable = |error: std::io::Error| Refusal::Payload(format!("can't be read: {error}"));
        let change_bytes = payload.len();
        let wrong_digest = || Refusal::Payload("their digest is not the one that the record names".to_owned());
        let named = record.store().map(|store| store.change.digest);
        if encoded.len() as u64 + change_bytes + ROOM_BYTES as u64 <= room as u64 {
            let change = match payload {
                Payload::Empty => Bytes::new(),
                Payload::Bytes(bytes) => bytes.into(),
                Payload::File { file, bytes } => read_all(file, bytes as usize).await.map_err(unreadable)?,
            };
            if named.is_some_and(|named| blake3::hash(&change) != named) {
                return Err(wrong_digest());
            }
            return Ok(Held::Whole { record: encoded, change });
        }
        let part_bytes = room as u32;
        let record_bytes = encoded.len();
        let (held, head) = if record_bytes + ROOM_BYTES <= room {
            (Held::ChangeInParts { part_bytes, record: encoded }, Bytes::new())
        } else {
            (Held::AllInParts { part_bytes, record_bytes: record_bytes as u32, epoch: record.epoch }, encoded)
        };
        let skipped = head.len();
        let source = match payload {
            Payload::Empty => Source { head, file: None, file_bytes: 0 },
            Payload::Bytes(bytes) => {
                Source { head: [&head[..], &bytes[..]].concat().into(), file: None, file_bytes: 0 }
            }
            Payload::File { file, bytes } => Source { head, file: Some(Arc::new(file)), file_bytes: bytes },
        };
        let mut hasher = blake3::Hasher::new();
        let mut skip = skipped;
        let look = |part: &[u8]| {
            let begin = skip.min(part.len());
            skip -= begin;
            hasher.update(&part[begin..]);
        };
        let stored = self.store_parts(record.epoch, &record.id, room, &source, look).await;
        let refusal = match stored {
            Ok(()) if named.is_none_or(|named| hasher.finalize() == named) => return Ok(held),
            Ok(()) => wrong_digest(),
            Err(NotStored::Source(error)) => unreadable(error),
            Err(NotStored::Log(error)) => Refusal::Closed(format!("its parts were not stored: {error}")),
        };
        // No record names them, and none will.
        self.give_up_parts(record.epoch, &record.id).await;
        Err(refusal)
    }

    /// Removes a record's parts; what is left in the way of it is only room on disk.
    pub(super) async fn give_up_parts(&self, epoch: Epoch, id: &RecordId) {
        let parts = format!("{}.*", self.streams.parts_of(self.log, epoch, id));
        if let Err(error) = Streams::purge(&self.link, &self.streams.parts, None, Some(parts)).await {
            tracing::warn!(%error, record = %id, "the parts of a record could not be removed");
        }
    }

    async fn publish_record(&self, expected: Option<Sequence>, record: &Record, held: Held) -> Result<(), AppendError> {
        let repository = record.store().map(|store| &store.repository);
        let subject = self.streams.record_subject(self.log, repository, &record.id);
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Stream", self.streams.records.as_str());
        // A number in any case: an empty header would be taken for none.
        headers.insert("Nats-Expected-Last-Sequence", expected.map_or(0, Sequence::get).to_string().as_str());
        let trouble = match self.link.publish(subject, headers, held.encode()).await {
            Ok(sequence) if sequence == record.sequence.get() => {
                self.acknowledged(record);
                self.link.hint(record.sequence).await;
                self.notify.notify_waiters();
                return Ok(());
            }
            Ok(other) => Trouble::Unknown(format!("record {} was acknowledged as {other}", record.sequence)),
            Err(trouble) => trouble,
        };
        self.forget_tail();
        let unknown = match trouble {
            Trouble::NotSent(why) => return Err(Refusal::Closed(why).into()),
            Trouble::WrongLastSequence => return Err(self.why_refused(record).await.into()),
            Trouble::Refused { code, description } if CERTAIN_REFUSALS.contains(&code) => {
                return Err(Refusal::Closed(description).into());
            }
            trouble => trouble,
        };
        Err(AppendError::Unknown(unknown.to_string()))
    }

    /// The stream has refused the expected sequence: what the log says now.
    async fn why_refused(&self, record: &Record) -> Refusal {
        match self.end_or_refusal().await {
            Ok(tail) => match may_follow(tail.as_ref(), record) {
                Err(refusal) => refusal,
                // It was refused all the same, by a leader that had not stored yet what it has now.
                Ok(()) => Refusal::WrongLastSequence { last: tail.map(|tail| tail.sequence) },
            },
            Err(error) => error,
        }
    }

    fn acknowledged(&self, record: &Record) {
        self.set_tail(Some(Tail::of(record)));
        let mut acknowledged = self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        if acknowledged.len() == ACKNOWLEDGED_MAX {
            acknowledged.pop_front();
        }
        acknowledged.push_back(record.id);
    }

    fn forget_tail(&self) {
        *self.tail.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

async fn read_all(file: std::fs::File, length: usize) -> std::io::Result<Bytes> {
    let read = spawn_blocking(move || {
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes.into())
    });
    read.await.unwrap_or_else(|error| Err(std::io::Error::other(error)))
}
