//! What every backend of the log must do, whatever it is made of. A backend's own test file opens logs; the cases here
//! know nothing but the trait.

pub mod appending;
pub mod beside;
pub mod payloads;
pub mod reading;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hgfleet_log::{
    AppendError, Body, ChangePayload, Draft, Epoch, Log, Payload, Record, RecordId, RepositoryName, Sequence,
    StoreKind, StoreRecord, Tail,
};

/// One log of a backend, which can be opened again and again.
#[async_trait]
pub trait Backend: Send + Sync {
    /// Opens it for appending.
    async fn master(&self) -> Arc<dyn Log>;
    /// Opens it for reading; a master has opened it before.
    async fn reader(&self) -> Arc<dyn Log>;
}

/// A server that appends.
pub struct Appender {
    pub log: Arc<dyn Log>,
    pub epoch: Epoch,
    pub tail: Option<Tail>,
}

impl Appender {
    /// Reads where the log ends and takes the next epoch.
    pub async fn new(log: Arc<dyn Log>, holder: &str) -> Appender {
        let tail = log.end().await.expect("end");
        let epoch = Epoch::after(tail.map(|tail| tail.epoch)).expect("epoch");
        let mut appender = Appender { log, epoch, tail };
        appender.append(Body::Epoch { holder: holder.to_owned() }, Payload::Empty).await.expect("epoch record");
        appender
    }

    pub fn draft(&self, body: Body) -> Draft {
        let id = RecordId::random().expect("random");
        Draft::following(self.tail.as_ref(), self.epoch, id, 1_700_000_000_000, body)
    }

    pub async fn append(&mut self, body: Body, payload: Payload) -> Result<Record, AppendError> {
        let record = self.log.append(self.draft(body), payload).await?;
        self.tail = Some(Tail::of(&record));
        Ok(record)
    }

    pub async fn append_store(&mut self, repository: &str, change: &[u8]) -> Record {
        self.append(store(repository, change), Payload::Bytes(change.to_vec())).await.expect("appended")
    }
}

pub fn name(name: &str) -> RepositoryName {
    RepositoryName::parse(name).expect("name")
}

pub fn sequence(number: u64) -> Sequence {
    Sequence::new(number).expect("sequence")
}

/// A change of this repository with these bytes.
pub fn store(repository: &str, change: &[u8]) -> Body {
    store_of(repository, ChangePayload::of(change))
}

pub fn store_of(repository: &str, change: ChangePayload) -> Body {
    Body::Store(StoreRecord {
        repository: name(repository),
        kind: StoreKind::Alter,
        before: Some([1; 32]),
        after: Some([2; 32]),
        who: "person@example.com".to_owned(),
        source: "ssh:192.0.2.1".to_owned(),
        summary: b"summary".to_vec(),
        change,
    })
}

/// All records from the first on.
pub async fn all(log: &dyn Log) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    loop {
        let from = Sequence::after(records.last().map(|record| record.sequence)).expect("sequence");
        let more = log.read(from, 100).await.expect("read");
        if more.is_empty() {
            return records;
        }
        records.extend(more);
    }
}

pub const SHORT: Duration = Duration::from_millis(200);
pub const LONG: Duration = Duration::from_secs(20);
