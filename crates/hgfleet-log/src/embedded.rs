//! A log in SQLite, for one machine. Its tables are described in `docs/formats/log.md`.

mod files;
mod members;
mod rows;
mod shared_values;
mod stopped;
#[cfg(test)]
mod tests;
mod values;
mod writer;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use rusqlite::Connection;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

use self::files::{LOG, Place};
use self::members::Members;
use self::rows::Rows;
use self::shared_values::SharedValues;
use self::writer::{Append, Failure, Job};
use crate::ids::{Epoch, LogId, RecordId, Sequence};
use crate::log::{
    AppendError, Draft, Lease, LeaseError, Log, LogError, Payload, Refusal, StoredValue, Tail, ValueError, ViewError,
};
use crate::membership::{Member, View};
use crate::name::RepositoryName;
use crate::planted;
use crate::record::{Record, RecordError};

/// How often a follower looks when nobody wakes it.
const POLL: Duration = Duration::from_millis(20);
/// Most idle connections that are kept for reading.
const READERS_MAX: usize = 4;

/// A log in the files `log.sqlite` and `members.sqlite` of one folder.
///
/// Clones are the same log. Methods that wait need a Tokio runtime.
#[derive(Clone, Debug)]
pub struct EmbeddedLog {
    shared: Arc<Shared>,
    /// None: opened for reading.
    writer: Option<mpsc::Sender<Job>>,
}

/// What the writer's thread and the readers share.
#[derive(Debug)]
struct Shared {
    log: LogId,
    dir: PathBuf,
    place: Place,
    wal: PathBuf,
    readers: Mutex<Vec<Connection>>,
    members: Mutex<Members>,
    /// Opened, and made, by who first asks.
    values: Mutex<Option<SharedValues>>,
    notify: Notify,
    failure: Failure,
    #[cfg(test)]
    fail_next_commit: std::sync::atomic::AtomicBool,
    #[cfg(test)]
    disk_is_full: std::sync::atomic::AtomicBool,
}

impl EmbeddedLog {
    /// Opens the log in this folder for appending; makes folder and log where there are none.
    ///
    /// Blocks. What can be read afterwards is durable. That another process has the log open as well doesn't
    /// matter: the newest epoch decides who appends.
    ///
    /// # Errors
    /// Where it is no log, a newer hgfleet's, or can't be read and written.
    pub fn open_master(dir: &Path) -> Result<EmbeddedLog, LogError> {
        std::fs::create_dir_all(dir).map_err(Place(dir.to_owned()).io("make"))?;
        let place = Place(dir.join("log.sqlite"));
        let connection = files::open_or_make(&place, &LOG)?;
        let synchronous = if planted::is("log-not-synced") { "OFF" } else { "FULL" };
        connection.pragma_update(None, "synchronous", synchronous).map_err(place.sqlite("open"))?;
        connection.pragma_update(None, "wal_autocheckpoint", 0).map_err(place.sqlite("open"))?;
        let kept_bytes = 64 << 20;
        connection.pragma_update(None, "journal_size_limit", kept_bytes).map_err(place.sqlite("open"))?;
        files::settle(&place, &connection)?;
        let log = files::identity(&place, &connection)?;
        let members = Members::open_or_replace(dir)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        members.forget_silent(u64::try_from(now.as_millis()).unwrap_or(u64::MAX))?;
        let shared = Shared::new(log, dir, place, members);
        let writer = writer::start(shared.clone(), connection).map_err(shared.place.io("start the writer of"))?;
        Ok(EmbeddedLog { shared, writer: Some(writer) })
    }

    /// Opens the log in this folder for reading.
    ///
    /// Blocks. Heartbeats and the lease can be written all the same.
    ///
    /// # Errors
    /// [`LogError::Absent`] where there is none yet; where it is no log, a newer hgfleet's, or can't be read.
    pub fn open_reader(dir: &Path) -> Result<EmbeddedLog, LogError> {
        let place = Place(dir.join("log.sqlite"));
        let connection = files::open_read_only(&place, &LOG)?;
        let log = files::identity(&place, &connection)?;
        let shared = Shared::new(log, dir, place, Members::open(dir)?);
        shared.put_back(connection);
        Ok(EmbeddedLog { shared, writer: None })
    }

    async fn reading<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Rows<'_>) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        let shared = self.shared.clone();
        blocking(move || shared.reading(read)).await?
    }

    async fn with_members<T: Send + 'static>(
        &self,
        f: impl FnOnce(&Members) -> T + Send + 'static,
    ) -> Result<T, LogError> {
        let shared = self.shared.clone();
        blocking(move || f(&shared.members.lock().unwrap_or_else(PoisonError::into_inner))).await
    }

    async fn with_values<T: Send + 'static, E: From<LogError> + Send + 'static>(
        &self,
        f: impl FnOnce(&SharedValues) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        let shared = self.shared.clone();
        let answer = blocking(move || {
            let mut values = shared.values.lock().unwrap_or_else(PoisonError::into_inner);
            if values.is_none() {
                *values = Some(SharedValues::open(&shared.dir)?);
            }
            match values.as_ref() {
                Some(values) => f(values),
                None => Err(LogError::Closed("the shared values are not open".to_owned()).into()),
            }
        });
        answer.await?
    }

    /// Hands a job to the writer; `Err` where there is none.
    async fn send(&self, job: Job) -> Result<(), String> {
        let writer = self.writer.as_ref().ok_or_else(|| "it is open for reading".to_owned())?;
        writer.send(job).await.map_err(|_| self.ended())
    }

    fn ended(&self) -> String {
        self.shared.failure.get().unwrap_or("its writer has ended").to_owned()
    }
}

impl Shared {
    fn new(log: LogId, dir: &Path, place: Place, members: Members) -> Arc<Shared> {
        Arc::new(Shared {
            log,
            dir: dir.to_owned(),
            wal: dir.join("log.sqlite-wal"),
            place,
            readers: Mutex::new(Vec::new()),
            members: Mutex::new(members),
            values: Mutex::default(),
            notify: Notify::new(),
            failure: Failure::default(),
            #[cfg(test)]
            fail_next_commit: false.into(),
            #[cfg(test)]
            disk_is_full: false.into(),
        })
    }

    fn reading<T>(&self, read: impl FnOnce(&Rows<'_>) -> Result<T, LogError>) -> Result<T, LogError> {
        // After a failed fsync a read may show what no disk has.
        if let Some(why) = self.failure.get() {
            return Err(LogError::Closed(why.to_owned()));
        }
        let idle = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => files::open_read_only(&self.place, &LOG)?,
        };
        let result = read(&Rows { place: &self.place, log: self.log, connection: &connection });
        // Looked at again: the failure may have come while this read went on.
        if let Some(why) = self.failure.get() {
            return Err(LogError::Closed(why.to_owned()));
        }
        self.put_back(connection);
        result
    }

    fn put_back(&self, connection: Connection) {
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if readers.len() < READERS_MAX {
            readers.push(connection);
        }
    }

    fn free_bytes(&self) -> std::io::Result<u64> {
        #[cfg(test)]
        if self.disk_is_full.load(std::sync::atomic::Ordering::SeqCst) {
            return Ok(0);
        }
        let disk = rustix::fs::statvfs(&self.dir)?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// Where a test lets a commit fail as a failed fsync does.
    fn before_commit(&self) -> rusqlite::Result<()> {
        #[cfg(test)]
        if self.fail_next_commit.swap(false, std::sync::atomic::Ordering::SeqCst) {
            let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR_FSYNC);
            return Err(rusqlite::Error::SqliteFailure(code, None));
        }
        Ok(())
    }
}

/// Runs what blocks on a thread for that.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, LogError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| LogError::Closed(error.to_string()))
}

#[async_trait]
impl Log for EmbeddedLog {
    async fn identity(&self) -> LogId {
        self.shared.log
    }

    fn appends_together(&self) -> bool {
        true
    }

    fn failure(&self) -> Option<String> {
        self.shared.failure.get().map(str::to_owned)
    }

    async fn append(&self, draft: Draft, payload: Payload) -> Result<Record, AppendError> {
        let (record, encoded) = draft.seal_encoded(self.shared.log).map_err(|error| match error {
            RecordError::TooLarge { value, max, .. } => AppendError::TooLarge { bytes: value, bytes_max: max },
            error => Refusal::Invalid(error).into(),
        })?;
        if payload.len() != record.change_bytes() {
            let why = format!("{} bytes are given, and the record names {}", payload.len(), record.change_bytes());
            return Err(Refusal::Payload(why).into());
        }
        let (reply, answer) = oneshot::channel();
        let append = Box::new(Append { record, encoded, payload });
        self.send(Job::Append { append, reply }).await.map_err(Refusal::Closed)?;
        answer.await.unwrap_or_else(|_| Err(AppendError::Unknown(self.ended())))
    }

    async fn end(&self) -> Result<Option<Tail>, LogError> {
        self.reading(|rows| rows.end()).await
    }

    async fn first(&self) -> Result<Sequence, LogError> {
        self.reading(|rows| rows.first()).await
    }

    async fn read(&self, from: Sequence, max: usize) -> Result<Vec<Record>, LogError> {
        self.reading(move |rows| rows.at_once(|rows| rows.read(from, max))).await
    }

    async fn payload(&self, record: &Record, into: &mut File) -> Result<(), LogError> {
        let sequence = record.sequence;
        if record.log != self.shared.log {
            return Err(LogError::Value(format!("record {sequence} is of another log")));
        }
        let into = into.try_clone().map_err(|source| LogError::Io {
            verb: "write",
            path: format!("the change of record {sequence}").into(),
            source,
        })?;
        let record = record.clone();
        self.reading(move |rows| rows.payload(&record, &into)).await
    }

    async fn changed(&self, after: Option<Sequence>, wait: Duration) {
        let deadline = Instant::now() + wait;
        loop {
            // Made before the look, so that a wake between the two is not missed.
            let mut woken = std::pin::pin!(self.shared.notify.notified());
            woken.as_mut().enable();
            if self.reading(|rows| rows.last_sequence()).await.is_ok_and(|last| last > after) {
                return;
            }
            let now = Instant::now();
            if now >= deadline {
                return;
            }
            if tokio::time::timeout((deadline - now).min(POLL), woken).await.is_ok() {
                return;
            }
        }
    }

    fn wake(&self) {
        self.shared.notify.notify_waiters();
    }

    async fn last_of(&self, repository: &RepositoryName) -> Result<Option<Record>, LogError> {
        let repository = repository.clone();
        self.reading(move |rows| rows.last_of(&repository)).await
    }

    async fn find(&self, id: &RecordId) -> Result<Option<Record>, LogError> {
        let id = *id;
        self.reading(move |rows| rows.find(&id)).await
    }

    async fn trim(&self, checkpoint: Sequence) -> Result<(), LogError> {
        let (reply, answer) = oneshot::channel();
        self.send(Job::Trim { checkpoint, reply }).await.map_err(LogError::Closed)?;
        answer.await.unwrap_or_else(|_| Err(LogError::Closed(self.ended())))
    }

    async fn lease(&self) -> Result<Option<Lease>, LogError> {
        self.with_members(|members| members.lease()).await?
    }

    async fn renew_lease(&self, holder: &str, epoch: Option<Epoch>, counter: Option<u64>) -> Result<Lease, LeaseError> {
        let holder = holder.to_owned();
        self.with_members(move |members| members.renew_lease(&holder, epoch, counter)).await?
    }

    async fn view(&self) -> Result<Option<View>, LogError> {
        self.reading(|rows| rows.at_once(Rows::view)).await
    }

    async fn set_view(&self, expected: Option<u64>, view: View) -> Result<(), ViewError> {
        let (reply, answer) = oneshot::channel();
        self.send(Job::View { expected, view, reply }).await.map_err(LogError::Closed)?;
        answer.await.unwrap_or_else(|_| Err(LogError::Closed(self.ended()).into()))
    }

    async fn read_only(&self) -> Result<Option<String>, LogError> {
        self.reading(|rows| rows.at_once(Rows::read_only)).await
    }

    async fn set_read_only(&self, epoch: Epoch, reason: Option<String>) -> Result<(), ViewError> {
        let (reply, answer) = oneshot::channel();
        self.send(Job::ReadOnly { epoch, reason, reply }).await.map_err(LogError::Closed)?;
        answer.await.unwrap_or_else(|_| Err(LogError::Closed(self.ended()).into()))
    }

    async fn value(&self, key: &str) -> Result<Option<StoredValue>, LogError> {
        let key = key.to_owned();
        self.with_values(move |values| values.get(&key)).await
    }

    async fn set_value(&self, key: &str, expected: Option<u64>, bytes: Vec<u8>) -> Result<u64, ValueError> {
        let key = key.to_owned();
        self.with_values(move |values| values.set(&key, expected, &bytes)).await
    }

    async fn put_heartbeat(&self, member: Member) -> Result<(), LogError> {
        self.with_members(move |members| members.put(&member)).await?
    }

    async fn members(&self) -> Result<Vec<Member>, LogError> {
        self.with_members(|members| members.all()).await?
    }

    async fn disk_bytes(&self) -> Result<u64, LogError> {
        let dir = self.shared.dir.clone();
        blocking(move || folder_bytes(&dir).map_err(Place(dir).io("read"))).await?
    }
}

fn folder_bytes(dir: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        match entry?.metadata() {
            Ok(metadata) if metadata.is_file() => bytes += metadata.len(),
            // The side files come and go.
            _ => {}
        }
    }
    Ok(bytes)
}
