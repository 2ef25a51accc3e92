//! A log in NATS JetStream, for more than one machine. What lies in its streams is described in `docs/formats/log.md`.
//!
//! Everything is asked of the server by JetStream's own interface, one request at a time and never twice: what a
//! request's outcome is must stay known here, and which settings a stream has must not be filtered by what a
//! client library knows.

mod append;
mod beside;
mod link;
mod message;
mod monitoring;
mod options;
mod parts;
mod read;
mod session;
mod streams;
mod trim;

use std::collections::VecDeque;
use std::fs::File;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use self::link::{Link, Trouble};
use self::options::JetStreamOptions as Options;
use self::read::ShortChanges;
use self::session::raise;
use self::streams::Streams;
use crate::ids::{Epoch, LogId, RecordId, Sequence};
use crate::location::Access;
use crate::log::{
    AppendError, Draft, Lease, LeaseError, Log, LogError, Payload, StoredValue, Tail, ValueError, ViewError,
};
use crate::membership::{Member, View};
use crate::name::RepositoryName;
use crate::record::Record;

pub use self::options::{JetStreamOptions, TlsFiles};

/// How often a follower looks that nobody wakes: the appending server tells of each record.
const POLL: Duration = Duration::from_millis(500);
/// How many ids of acknowledged records are remembered.
const ACKNOWLEDGED_MAX: usize = 4096;

/// A log in a stream of a NATS cluster, with buckets beside it.
///
/// Methods need a Tokio runtime. Each connection to the cluster has a thread.
#[derive(Debug)]
pub struct JetStreamLog {
    log: LogId,
    streams: Streams,
    link: Link,
    access: Access,
    /// Wakes followers in this process.
    notify: Notify,
    /// The last record that this process knows of in the log, where it was acknowledged or read at the end.
    tail: Mutex<Option<Tail>>,
    /// What this process had acknowledged, newest last.
    acknowledged: Mutex<VecDeque<RecordId>>,
    /// Changes that came with the records that were read.
    short_changes: Mutex<ShortChanges>,
    /// Until then only a stream's leader is asked for messages: another server gave no answer.
    leader_alone: Mutex<Option<Instant>>,
}

impl JetStreamLog {
    /// Opens the log; with [`Access::Append`], makes its streams where there are none.
    ///
    /// # Errors
    /// [`LogError::Absent`] where there is none yet, [`LogError::Setting`] where a stream has settings under which records could
    /// be lost; where no server can be reached, or the options can't be.
    pub async fn open(options: JetStreamOptions, access: Access) -> Result<JetStreamLog, LogError> {
        options.check()?;
        let streams = Streams::new(&options);
        let monitoring = options.monitoring.clone();
        let link = Link::new(options, streams.hints_subject(), watch::Sender::new(None));
        let log = streams.open(&link, access == Access::Append).await?;
        if access == Access::Append {
            monitoring::check(&monitoring).await;
        }
        let jetstream = JetStreamLog {
            log,
            streams,
            link,
            access,
            notify: Notify::new(),
            tail: Mutex::new(None),
            acknowledged: Mutex::default(),
            short_changes: Mutex::default(),
            leader_alone: Mutex::default(),
        };
        if access == Access::Append {
            jetstream.forget_silent().await?;
        }
        Ok(jetstream)
    }

    fn known_tail(&self) -> Option<Tail> {
        *self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The log ends here, or did a moment ago.
    fn set_tail(&self, tail: Option<Tail>) {
        *self.tail.lock().unwrap_or_else(PoisonError::into_inner) = tail;
        raise(self.link.hints(), tail.map(|tail| tail.sequence));
    }
}

#[async_trait]
impl Log for JetStreamLog {
    async fn identity(&self) -> LogId {
        self.log
    }

    async fn append(&self, draft: Draft, payload: Payload) -> Result<Record, AppendError> {
        self.append_record(draft, payload).await
    }

    async fn end(&self) -> Result<Option<Tail>, LogError> {
        let tail = self.last_record().await?.as_ref().map(Tail::of);
        self.set_tail(tail);
        Ok(tail)
    }

    async fn first(&self) -> Result<Sequence, LogError> {
        let state = Streams::state(&self.link, &self.streams.records).await;
        let first = state.map_err(Trouble::of("looking at the stream of records"))?.first;
        Sequence::new(first).ok_or_else(|| LogError::Value(format!("the log begins at {first}")))
    }

    async fn read(&self, from: Sequence, max: usize) -> Result<Vec<Record>, LogError> {
        self.read_records(from, max).await
    }

    async fn payload(&self, record: &Record, into: &mut File) -> Result<(), LogError> {
        self.write_change(record, into).await
    }

    async fn changed(&self, after: Option<Sequence>, wait: Duration) {
        let deadline = Instant::now() + wait;
        let mut known = self.link.hints().subscribe();
        loop {
            // Made before the look, so that a wake between the two is not missed.
            let mut woken = std::pin::pin!(self.notify.notified());
            woken.as_mut().enable();
            if *known.borrow_and_update() > after {
                return;
            }
            if let Ok(state) = Streams::state(&self.link, &self.streams.records).await {
                raise(self.link.hints(), Sequence::new(state.last));
                if Sequence::new(state.last) > after {
                    return;
                }
            }
            let pause = deadline.saturating_duration_since(Instant::now()).min(POLL);
            tokio::select! {
                () = woken => return,
                _ = known.wait_for(|known| *known > after) => return,
                () = tokio::time::sleep(pause) => {}
            }
            if Instant::now() >= deadline {
                return;
            }
        }
    }

    fn wake(&self) {
        self.notify.notify_waiters();
    }

    async fn last_of(&self, repository: &RepositoryName) -> Result<Option<Record>, LogError> {
        self.last_record_of(repository).await
    }

    async fn find(&self, id: &RecordId) -> Result<Option<Record>, LogError> {
        self.find_record(id).await
    }

    async fn trim(&self, checkpoint: Sequence) -> Result<(), LogError> {
        self.trim_to(checkpoint).await
    }

    async fn lease(&self) -> Result<Option<Lease>, LogError> {
        Ok(self.read_lease().await?.map(|(lease, _)| lease))
    }

    async fn renew_lease(&self, holder: &str, epoch: Option<Epoch>, counter: Option<u64>) -> Result<Lease, LeaseError> {
        self.write_lease(holder, epoch, counter).await
    }

    async fn view(&self) -> Result<Option<View>, LogError> {
        Ok(self.read_view().await?.map(|(view, _)| view))
    }

    async fn set_view(&self, expected: Option<u64>, view: View) -> Result<(), ViewError> {
        self.write_view(expected, view).await
    }

    async fn read_only(&self) -> Result<Option<String>, LogError> {
        Ok(self.fetch_read_only().await?.and_then(|(reason, _)| reason))
    }

    async fn set_read_only(&self, epoch: Epoch, reason: Option<String>) -> Result<(), ViewError> {
        self.write_read_only(epoch, reason).await
    }

    async fn value(&self, key: &str) -> Result<Option<StoredValue>, LogError> {
        self.read_shared(key).await
    }

    async fn set_value(&self, key: &str, expected: Option<u64>, bytes: Vec<u8>) -> Result<u64, ValueError> {
        self.write_shared(key, expected, bytes).await
    }

    async fn put_heartbeat(&self, member: Member) -> Result<(), LogError> {
        self.write_member(member).await
    }

    async fn members(&self) -> Result<Vec<Member>, LogError> {
        self.read_members().await
    }

    async fn disk_bytes(&self) -> Result<u64, LogError> {
        let Streams { records, parts, state, members, .. } = &self.streams;
        let streams = [records.clone(), parts.clone(), format!("KV_{state}"), format!("KV_{members}")];
        let states = streams.iter().map(|stream| Streams::state(&self.link, stream));
        let states = futures_util::future::try_join_all(states).await;
        Ok(states.map_err(Trouble::of("looking at the streams"))?.iter().map(|state| state.bytes).sum())
    }
}
