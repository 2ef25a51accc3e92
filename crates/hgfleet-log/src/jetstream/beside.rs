//! What lies beside the records, in buckets: the lease, the view, the members. Only leaders are asked.

use std::time::{SystemTime, UNIX_EPOCH};

use async_nats::HeaderMap;
use futures_util::{StreamExt, stream};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::JetStreamLog;
use super::link::Trouble;
use super::streams::Streams;
use crate::ids::Epoch;
use crate::log::rules::{
    FORGET_AFTER_MS, MEMBERS_MAX, check_holder, check_key, check_member, check_value, read_only_may_follow,
    view_may_follow,
};
use crate::log::{Lease, LeaseError, Log, LogError, StoredValue, ValueError, ViewError};
use crate::membership::{Member, View};

/// The largest value of a bucket that is believed, in bytes.
const VALUE_BYTES_MAX: usize = 1 << 20;
/// Most members that are asked for at once.
const AT_ONCE: usize = 16;

/// The lease as the bucket holds it.
#[derive(serde::Serialize, serde::Deserialize)]
struct LeaseValue {
    holder: String,
    epoch: Option<Epoch>,
    counter: u64,
}

impl JetStreamLog {
    /// Returns a value and its revision, which a compare-and-set names; none where the key was never written.
    async fn value<T: DeserializeOwned>(&self, bucket: &str, key: &str) -> Result<Option<(T, u64)>, LogError> {
        let Some((bytes, revision)) = self.bytes(bucket, key).await? else { return Ok(None) };
        let value = serde_json::from_slice(&bytes);
        let value = value.map_err(|error| LogError::Value(format!("{key} in bucket {bucket}: {error}")))?;
        Ok(Some((value, revision)))
    }

    async fn bytes(&self, bucket: &str, key: &str) -> Result<Option<(Vec<u8>, u64)>, LogError> {
        let found = self.newest_on(&format!("KV_{bucket}"), format!("$KV.{bucket}.{key}")).await;
        let Some(stored) = found.map_err(Trouble::of("reading a bucket"))? else { return Ok(None) };
        if stored.payload.len() > VALUE_BYTES_MAX {
            return Err(LogError::Value(format!("{key} in bucket {bucket} has {} bytes", stored.payload.len())));
        }
        Ok(Some((stored.payload.to_vec(), stored.sequence)))
    }

    /// Writes a value, with `expected` only over that revision (0: none).
    async fn put(
        &self,
        bucket: &str,
        key: &str,
        expected: Option<u64>,
        value: &impl Serialize,
    ) -> Result<u64, Trouble> {
        let bytes = serde_json::to_vec(value).map_err(|error| Trouble::NotSent(error.to_string()))?;
        self.put_bytes(bucket, key, expected, bytes).await
    }

    async fn put_bytes(&self, bucket: &str, key: &str, expected: Option<u64>, bytes: Vec<u8>) -> Result<u64, Trouble> {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Stream", format!("KV_{bucket}").as_str());
        if let Some(expected) = expected {
            headers.insert("Nats-Expected-Last-Subject-Sequence", expected.to_string().as_str());
        }
        self.link.publish(format!("$KV.{bucket}.{key}"), headers, bytes.into()).await
    }

    pub(super) async fn read_lease(&self) -> Result<Option<(Lease, u64)>, LogError> {
        let value: Option<(LeaseValue, u64)> = self.value(&self.streams.members, "lease").await?;
        Ok(value.map(|(LeaseValue { holder, epoch, counter }, revision)| (Lease { holder, epoch, counter }, revision)))
    }

    pub(super) async fn write_lease(
        &self,
        holder: &str,
        epoch: Option<Epoch>,
        counter: Option<u64>,
    ) -> Result<Lease, LeaseError> {
        check_holder(holder)?;
        let current = self.read_lease().await?;
        if current.as_ref().map(|(lease, _)| lease.counter) != counter {
            return Err(LeaseError::Lost { current: current.map(|(lease, _)| lease) });
        }
        let revision = current.map_or(0, |(_, revision)| revision);
        let lease = Lease { holder: holder.to_owned(), epoch, counter: counter.map_or(1, |counter| counter + 1) };
        let value = LeaseValue { holder: lease.holder.clone(), epoch, counter: lease.counter };
        match self.put(&self.streams.members, "lease", Some(revision), &value).await {
            Ok(_) => Ok(lease),
            Err(Trouble::WrongLastSequence) => {
                let current = self.read_lease().await?;
                Err(LeaseError::Lost { current: current.map(|(lease, _)| lease) })
            }
            Err(error) => Err(Trouble::of("renewing the lease")(error).into()),
        }
    }

    pub(super) async fn read_view(&self) -> Result<Option<(View, u64)>, LogError> {
        self.value(&self.streams.state, "view").await
    }

    pub(super) async fn write_view(&self, expected: Option<u64>, view: View) -> Result<(), ViewError> {
        let current = self.read_view().await?;
        let revision = current.as_ref().map_or(0, |(_, revision)| *revision);
        let tail = self.end().await?;
        view_may_follow(tail.as_ref(), current.map(|(view, _)| view), expected, &view)?;
        match self.put(&self.streams.state, "view", Some(revision), &view).await {
            Ok(_) => Ok(()),
            Err(Trouble::WrongLastSequence) => {
                let current = self.read_view().await?.map(|(view, _)| view);
                Err(ViewError::Conflict { current })
            }
            Err(error) => Err(Trouble::of("writing the view")(error).into()),
        }
    }

    pub(super) async fn fetch_read_only(&self) -> Result<Option<(Option<String>, u64)>, LogError> {
        self.value(&self.streams.state, "read-only").await
    }

    pub(super) async fn write_read_only(&self, epoch: Epoch, reason: Option<String>) -> Result<(), ViewError> {
        let revision = self.fetch_read_only().await?.map_or(0, |(_, revision)| revision);
        let tail = self.end().await?;
        read_only_may_follow(tail.as_ref(), epoch, reason.as_deref())?;
        // A newer epoch that has written meanwhile is not written over.
        let put = self.put(&self.streams.state, "read-only", Some(revision), &reason).await;
        put.map(drop).map_err(|trouble| Trouble::of("writing that the fleet is read only")(trouble).into())
    }

    pub(super) async fn read_shared(&self, key: &str) -> Result<Option<StoredValue>, LogError> {
        check_key(key)?;
        let value = self.bytes(&self.streams.state, &shared_key(key)).await?;
        Ok(value.map(|(bytes, version)| StoredValue { version, bytes }))
    }

    pub(super) async fn write_shared(
        &self,
        key: &str,
        expected: Option<u64>,
        bytes: Vec<u8>,
    ) -> Result<u64, ValueError> {
        check_value(key, &bytes)?;
        match self.put_bytes(&self.streams.state, &shared_key(key), Some(expected.unwrap_or(0)), bytes).await {
            Ok(version) => Ok(version),
            Err(Trouble::WrongLastSequence) => Err(ValueError::Conflict),
            Err(error) => Err(Trouble::of("writing a shared value")(error).into()),
        }
    }

    pub(super) async fn write_member(&self, mut member: Member) -> Result<(), LogError> {
        check_member(&member)?;
        if !member.lag_seconds.is_finite() {
            member.lag_seconds = 0.0;
        }
        let key = member_key(&member.name);
        let put = self.put(&self.streams.members, &key, None, &member).await;
        put.map(drop).map_err(Trouble::of("writing a heartbeat"))
    }

    /// The keys of all members.
    async fn member_keys(&self) -> Result<Vec<String>, LogError> {
        let bucket = &self.streams.members;
        let prefix = format!("$KV.{bucket}.");
        let wanted = json!({ "subjects_filter": format!("{prefix}member.*") });
        let info = self.link.api(&format!("STREAM.INFO.KV_{bucket}"), &wanted).await;
        let info = info.map_err(Trouble::of("looking for the members"))?;
        let subjects = info.pointer("/state/subjects").and_then(Value::as_object);
        let mut keys: Vec<String> = subjects
            .into_iter()
            .flat_map(|subjects| subjects.keys())
            .filter_map(|subject| subject.strip_prefix(&prefix).map(str::to_owned))
            .take(MEMBERS_MAX)
            .collect();
        keys.sort();
        Ok(keys)
    }

    pub(super) async fn read_members(&self) -> Result<Vec<Member>, LogError> {
        let keys = self.member_keys().await?;
        let values = stream::iter(keys).map(|key| async move {
            let value = self.value::<Member>(&self.streams.members, &key).await;
            (key, value)
        });
        let mut values = values.buffered(AT_ONCE);
        let mut members = Vec::new();
        while let Some((key, value)) = values.next().await {
            match value {
                Ok(Some((member, _))) => members.push(member),
                Ok(None) => {}
                // One bad value must not hide the others from whoever asks how the fleet is.
                Err(error @ LogError::Value(_)) => tracing::warn!(%error, key, "a server's heartbeat can't be read"),
                Err(error) => return Err(error),
            }
        }
        members.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(members)
    }

    /// Forgets servers that were silent for a day.
    pub(super) async fn forget_silent(&self) -> Result<(), LogError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        for member in self.read_members().await? {
            if member.at_ms < now_ms.saturating_sub(FORGET_AFTER_MS) {
                let bucket = &self.streams.members;
                let subject = format!("$KV.{bucket}.{}", member_key(&member.name));
                let purged = Streams::purge(&self.link, &format!("KV_{bucket}"), None, Some(subject)).await;
                purged.map_err(Trouble::of("forgetting a silent server"))?;
            }
        }
        Ok(())
    }
}

/// The state bucket's key of a value that the fleet shares.
fn shared_key(key: &str) -> String {
    format!("shared.{key}")
}

/// A server's key: its name, with dots, which divide keys, as equal signs, which no name has.
fn member_key(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let name: String = name.chars().map(|c| if plain(c) { c } else { '=' }).collect();
    format!("member.{name}")
}
