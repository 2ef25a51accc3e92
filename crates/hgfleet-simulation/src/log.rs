//! A log in memory, with a network before it that loses, delays and cuts.
//!
//! It decides as every backend does: epoch, expected sequence and insert are one step. What a server asks of it goes over that
//! server's [`Link`], which is where things go wrong.

mod link;
mod store;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use hgfleet_log::{
    Access, AppendError, Draft, Epoch, Lease, LeaseError, Log, LogError, LogId, Member, OpenLog, Payload, Record,
    RecordError, RecordId, Refusal, RepositoryName, Sequence, StoredValue, Tail, ValueError, View, ViewError,
};
use tokio::sync::Notify;

pub use self::link::{Link, LinkFaults, LinkTrouble};
pub use self::store::{Entry, Store};

/// How often a follower looks at the log by itself: it is woken by what is stored, and by whoever says that there is more.
const POLL: Duration = Duration::from_millis(250);
/// Most bytes that come in one piece: a longer change comes in a file.
const BYTES_MAX: usize = 4 << 20;

/// The log itself, shared by all who reach it.
#[derive(Debug)]
pub struct SimulatedLog {
    id: LogId,
    store: Mutex<Store>,
    notify: Notify,
}

impl SimulatedLog {
    /// An empty log.
    pub fn new(id: LogId) -> Arc<SimulatedLog> {
        Arc::new(SimulatedLog { id, store: Mutex::default(), notify: Notify::new() })
    }

    /// How one server reaches it.
    pub fn reached_over(self: &Arc<Self>, link: &Arc<Link>) -> Arc<Reached> {
        Arc::new(Reached { log: self.clone(), link: link.clone(), access: Access::Append })
    }

    /// What it holds.
    pub fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The log as one server reaches it.
#[derive(Debug, Clone)]
pub struct Reached {
    log: Arc<SimulatedLog>,
    link: Arc<Link>,
    access: Access,
}

impl Reached {
    /// Asks the log something, over the link; nothing is lost where only the answer is.
    async fn ask<T>(&self, question: impl FnOnce(&mut Store) -> T) -> Result<T, LogError> {
        self.link.go().await.map_err(away)?;
        let answer = {
            let mut store = self.log.store();
            store.let_late_ones_in(self.link.now());
            question(&mut store)
        };
        self.link.come().await.map_err(away)?;
        Ok(answer)
    }

    fn wakes(&self) {
        self.log.notify.notify_waiters();
    }
}

fn away(trouble: LinkTrouble) -> LogError {
    LogError::Value(trouble.to_string())
}

/// The change's bytes; or why they are not what the record names.
fn bytes_of(payload: Payload, record: &Record) -> Result<Vec<u8>, Refusal> {
    if payload.len() != record.change_bytes() {
        let why = format!("{} bytes are given, and the record names {}", payload.len(), record.change_bytes());
        return Err(Refusal::Payload(why));
    }
    let bytes = match payload {
        Payload::Empty => Vec::new(),
        Payload::Bytes(bytes) if bytes.len() > BYTES_MAX => {
            return Err(Refusal::Payload(format!("more than {BYTES_MAX} bytes come in a file")));
        }
        Payload::Bytes(bytes) => bytes,
        Payload::File { file, bytes } => {
            let mut read = vec![0; bytes as usize];
            file.read_exact_at(&mut read, 0).map_err(|error| Refusal::Payload(error.to_string()))?;
            read
        }
    };
    match record.store() {
        Some(store) if blake3::hash(&bytes) != store.change.digest => {
            Err(Refusal::Payload("their digest is not the one that the record names".to_owned()))
        }
        _ => Ok(bytes),
    }
}

#[async_trait]
impl OpenLog for Reached {
    async fn open(&self, access: Access) -> Result<Arc<dyn Log>, LogError> {
        self.ask(|_| ()).await?;
        Ok(Arc::new(Reached { access, ..self.clone() }))
    }
}

#[async_trait]
impl Log for Reached {
    async fn identity(&self) -> LogId {
        self.log.id
    }

    async fn append(&self, draft: Draft, payload: Payload) -> Result<Record, AppendError> {
        if self.access == Access::Read {
            return Err(Refusal::Closed("it is open for reading".to_owned()).into());
        }
        let record = draft.seal(self.log.id).map_err(|error| match error {
            RecordError::TooLarge { value, max, .. } => AppendError::TooLarge { bytes: value, bytes_max: max },
            error => Refusal::Invalid(error).into(),
        })?;
        let entry = Entry { change: bytes_of(payload, &record)?, record };
        if let Some(refusal) = self.link.refuses_append() {
            return Err(refusal.into());
        }
        if let Some(late) = self.link.sends_late() {
            // It is on its way, and arrives when nobody waits for it any more.
            self.log.store().comes_late(late, entry);
            self.link.give_up().await;
            return Err(AppendError::Unknown("the log does not answer".to_owned()));
        }
        let unknown = |trouble: LinkTrouble| AppendError::Unknown(trouble.to_string());
        self.link.go().await.map_err(unknown)?;
        let stored = {
            let mut store = self.log.store();
            store.let_late_ones_in(self.link.now());
            store.append(entry)
        };
        self.wakes();
        self.link.come().await.map_err(unknown)?;
        Ok(stored?)
    }

    async fn end(&self) -> Result<Option<Tail>, LogError> {
        self.ask(|store| store.end()).await
    }

    async fn first(&self) -> Result<Sequence, LogError> {
        self.ask(|store| store.first()).await
    }

    async fn read(&self, from: Sequence, max: usize) -> Result<Vec<Record>, LogError> {
        self.ask(|store| store.read(from, max)).await?
    }

    async fn payload(&self, record: &Record, into: &mut File) -> Result<(), LogError> {
        let sequence = record.sequence;
        let change = self.ask(|store| store.change(record)).await??;
        into.write_all_at(&change, 0).map_err(|source| LogError::Io {
            verb: "write",
            path: format!("the change of record {sequence}").into(),
            source,
        })
    }

    async fn changed(&self, after: Option<Sequence>, wait: Duration) {
        let deadline = tokio::time::Instant::now() + wait;
        loop {
            let mut woken = std::pin::pin!(self.log.notify.notified());
            woken.as_mut().enable();
            if self.ask(|store| store.end()).await.is_ok_and(|end| end.map(|end| end.sequence) > after) {
                return;
            }
            let look = deadline.min(tokio::time::Instant::now() + POLL);
            if tokio::time::timeout_at(look, woken).await.is_ok() || look == deadline {
                return;
            }
        }
    }

    fn wake(&self) {
        self.wakes();
    }

    async fn last_of(&self, repository: &RepositoryName) -> Result<Option<Record>, LogError> {
        self.ask(|store| store.last_of(repository)).await
    }

    async fn find(&self, id: &RecordId) -> Result<Option<Record>, LogError> {
        self.ask(|store| store.find(id)).await
    }

    async fn trim(&self, checkpoint: Sequence) -> Result<(), LogError> {
        if self.access == Access::Read {
            return Err(LogError::Closed("it is open for reading".to_owned()));
        }
        self.ask(|store| store.trim(checkpoint)).await?
    }

    async fn lease(&self) -> Result<Option<Lease>, LogError> {
        self.ask(|store| store.lease.clone()).await
    }

    async fn renew_lease(&self, holder: &str, epoch: Option<Epoch>, counter: Option<u64>) -> Result<Lease, LeaseError> {
        self.ask(|store| store.renew_lease(holder, epoch, counter)).await?
    }

    async fn view(&self) -> Result<Option<View>, LogError> {
        self.ask(|store| store.view.clone()).await
    }

    async fn set_view(&self, expected: Option<u64>, view: View) -> Result<(), ViewError> {
        self.ask(|store| store.set_view(expected, view)).await?
    }

    async fn read_only(&self) -> Result<Option<String>, LogError> {
        self.ask(|store| store.read_only.clone()).await
    }

    async fn set_read_only(&self, epoch: Epoch, reason: Option<String>) -> Result<(), ViewError> {
        self.ask(|store| store.set_read_only(epoch, reason)).await?
    }

    async fn value(&self, key: &str) -> Result<Option<StoredValue>, LogError> {
        self.ask(|store| store.value(key)).await?
    }

    async fn set_value(&self, key: &str, expected: Option<u64>, bytes: Vec<u8>) -> Result<u64, ValueError> {
        self.ask(|store| store.set_value(key, expected, bytes)).await?
    }

    async fn put_heartbeat(&self, member: Member) -> Result<(), LogError> {
        self.ask(|store| store.put(member)).await?
    }

    async fn members(&self) -> Result<Vec<Member>, LogError> {
        self.ask(|store| store.members.values().cloned().collect()).await
    }

    async fn disk_bytes(&self) -> Result<u64, LogError> {
        self.ask(|store| store.bytes()).await
    }
}
