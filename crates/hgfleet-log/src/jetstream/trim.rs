//! Trimming: what is still needed of what is given up lies in the state bucket first.

use std::collections::{HashMap, HashSet};
use std::sync::PoisonError;

use async_nats::HeaderMap;
use bytes::Bytes;
use serde_json::{Value, json};

use super::JetStreamLog;
use super::link::Trouble;
use super::message::{Held, ROOM_BYTES};
use super::read::Stored;
use super::streams::Streams;
use crate::ids::{Epoch, RecordId, Sequence};
use crate::location::Access;
use crate::log::{Log, LogError};
use crate::name::RepositoryName;
use crate::record::{Record, StoreKind};

/// Records that are looked at at once.
const AT_ONCE: usize = 256;
/// The key of the log's last record, where it was trimmed.
const LAST_KEY: &str = "last-record";
/// The largest record that a bucket holds without parts, in bytes.
const VALUE_BYTES_MAX: usize = (64 << 10) - (4 << 10);

impl JetStreamLog {
    pub(super) async fn trim_to(&self, checkpoint: Sequence) -> Result<(), LogError> {
        if self.access == Access::Read {
            return Err(LogError::Closed("it is open for reading".to_owned()));
        }
        let state = Streams::state(&self.link, &self.streams.records).await;
        let state = state.map_err(Trouble::of("looking at the stream of records"))?;
        if checkpoint.get() > state.last {
            return Err(LogError::Value(format!("checkpoint {checkpoint} lies beyond the log's end")));
        }
        if checkpoint.get() < state.first {
            return Ok(());
        }
        let mut last_of: HashMap<RepositoryName, Record> = HashMap::new();
        let mut trimmed = HashSet::new();
        let mut last = None;
        let mut from = Sequence::new(state.first);
        while let Some(due) = from.filter(|from| *from <= checkpoint) {
            let records = self.read_records(due, AT_ONCE).await?;
            if records.is_empty() {
                return Err(LogError::Damaged { sequence: due, why: "missing in the stream".to_owned() });
            }
            for record in records.into_iter().filter(|record| record.sequence <= checkpoint) {
                from = record.sequence.next();
                trimmed.insert(record.id);
                if let Some(store) = record.store() {
                    last_of.insert(store.repository.clone(), record.clone());
                }
                last = Some(record);
            }
        }
        for (repository, record) in &last_of {
            let pattern = self.streams.records_of(self.log, repository);
            let newest = self.newest_on(&self.streams.records, pattern).await;
            let newest = newest.map_err(Trouble::of("looking for a repository's last record"))?;
            let deleted = record.store().is_some_and(|store| store.kind == StoreKind::Delete);
            if newest.is_some_and(|newest| newest.sequence > checkpoint.get()) || deleted {
                continue;
            }
            self.keep(&Streams::last_key(repository), record).await?;
        }
        if let Some(record) = last.filter(|record| record.sequence.get() == state.last) {
            self.keep(LAST_KEY, &record).await?;
        }
        let before = checkpoint.next();
        let purged = Streams::purge(&self.link, &self.streams.records, before, None).await;
        purged.map_err(Trouble::of("trimming the stream of records"))?;
        self.short_changes.lock().unwrap_or_else(PoisonError::into_inner).forget_through(checkpoint);
        self.give_up_parts_of(&trimmed).await
    }

    /// Gives up the parts of these records, and those of an epoch that has ended that no record names.
    async fn give_up_parts_of(&self, trimmed: &HashSet<RecordId>) -> Result<(), LogError> {
        let failed = Trouble::of("looking for parts");
        let newest = self.end().await?.map(|tail| tail.epoch);
        let wanted = json!({ "subjects_filter": self.streams.first_parts(self.log) });
        let info = self.link.api(&format!("STREAM.INFO.{}", self.streams.parts), &wanted).await.map_err(&failed)?;
        let subjects = info.pointer("/state/subjects").and_then(Value::as_object);
        for subject in subjects.into_iter().flat_map(|subjects| subjects.keys()) {
            let mut tokens = subject.rsplit('.').skip(1);
            let id = tokens.next().and_then(|id| id.parse::<RecordId>().ok());
            let epoch = tokens.next().and_then(|epoch| epoch.parse().ok()).and_then(Epoch::new);
            let (Some(id), Some(epoch)) = (id, epoch) else { continue };
            let may_go = trimmed.contains(&id) || Some(epoch) < newest;
            if may_go && self.find_record(&id).await?.is_none() && !self.are_parts_kept(&id).await? {
                self.give_up_parts(epoch, &id).await;
            }
        }
        Ok(())
    }

    async fn are_parts_kept(&self, id: &RecordId) -> Result<bool, LogError> {
        let bucket = &self.streams.state;
        let found = self.newest_on(&format!("KV_{bucket}"), format!("$KV.{bucket}.parts.{id}")).await;
        found.map(|found| found.is_some()).map_err(Trouble::of("reading a bucket"))
    }

    /// Writes a record into the state bucket, and before it a mark where its parts must stay.
    async fn keep(&self, key: &str, record: &Record) -> Result<(), LogError> {
        let sequence = record.sequence;
        let encoded = Bytes::from(record.encode().map_err(|source| LogError::Record { sequence, source })?);
        let mut held = Held::RecordAlone { record: encoded };
        if let Held::RecordAlone { record: encoded } = &held
            && encoded.len() + ROOM_BYTES > VALUE_BYTES_MAX
        {
            let found = self.newest_on(&self.streams.records, self.streams.record_with(self.log, &record.id)).await;
            let found = found.map_err(Trouble::of("reading a record"))?;
            let payload = found.map(|stored| stored.payload).unwrap_or_default();
            let stored = Held::decode(&payload).map_err(|source| LogError::Record { sequence, source })?;
            // Otherwise it did fit into one message, so it does again.
            if let Held::AllInParts { .. } = stored {
                self.write_key(&format!("parts.{}", record.id), Bytes::new()).await?;
                held = stored;
            }
        }
        self.write_key(key, [&record.id.as_bytes()[..], &held.encode()].concat().into()).await
    }

    async fn write_key(&self, key: &str, value: Bytes) -> Result<(), LogError> {
        let bucket = &self.streams.state;
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Stream", format!("KV_{bucket}").as_str());
        let put = self.link.publish(format!("$KV.{bucket}.{key}"), headers, value).await;
        put.map(drop).map_err(Trouble::of("keeping a record"))
    }

    async fn kept(&self, key: &str) -> Result<Option<Record>, LogError> {
        let bucket = &self.streams.state;
        let found = self.newest_on(&format!("KV_{bucket}"), format!("$KV.{bucket}.{key}")).await;
        let Some(stored) = found.map_err(Trouble::of("reading a bucket"))? else { return Ok(None) };
        let Some((id, held)) = stored.payload.split_first_chunk::<{ RecordId::BYTES }>() else {
            return Err(LogError::Value(format!("{key} in bucket {bucket} is cut short")));
        };
        let id = RecordId::from_bytes(*id);
        let held = stored.payload.slice(stored.payload.len() - held.len()..);
        // Which sequence it has only the record itself knows.
        let stored = Stored { sequence: stored.sequence, subject: id.to_string(), payload: held };
        self.decode(Sequence::FIRST, &stored).await.map(Some)
    }

    /// The last record of the log, where it was trimmed.
    pub(super) async fn kept_last(&self) -> Result<Option<Record>, LogError> {
        self.kept(LAST_KEY).await
    }

    /// The last record of a repository, where it was trimmed.
    pub(super) async fn kept_of(&self, repository: &RepositoryName) -> Result<Option<Record>, LogError> {
        self.kept(&Streams::last_key(repository)).await
    }
}
