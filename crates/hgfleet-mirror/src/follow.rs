//! From the log to `staged/`: reads each record, checks that it follows, makes it durable here.

use std::io::{Read, Seek};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hgfleet_log::holder::NewestEpoch;
use hgfleet_log::{Access, Divergence, Follower, Log, LogError, LogId, LogLocation, Record, Sequence, Tail, stop_at};
use hgfleet_replica::Replica;
use hgfleet_resync::{GapError, Resync, tail_before};
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};

use crate::show::Showing;
use crate::staging::{INLINE_BYTES_MAX, Incoming, Staging, StagingError};

/// Records that are read at once.
const BATCH_RECORDS_MAX: usize = 256;
/// Bytes of changes that one fsync covers, more or less.
const BATCH_BYTES_MAX: u64 = 8 << 20;
/// The pause after trouble with the log or with the disk.
const TROUBLE_PAUSE: Duration = Duration::from_millis(500);

/// How often the log is looked at while the master tells of each new record. It may be stopped, its stream still open, and
/// another one in its place.
const POLL_TOLD: Duration = Duration::from_millis(100);

/// Why a mirror does not follow at the moment.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error("the log can't be read: {0}")]
    Log(#[from] LogError),
    #[error("the log does not follow on what is here: {0}")]
    Divergence(#[from] Divergence),
    #[error("this server follows log {ours}, and the fleet's log is {found}")]
    OtherLog { ours: LogId, found: LogId },
    #[error(transparent)]
    Staging(#[from] StagingError),
    #[error("the next record can't be staged: {0}. It goes on by itself once there is room")]
    Holding(std::io::Error),
    #[error(transparent)]
    Gap(#[from] GapError),
    #[error("{0}")]
    Replica(#[from] hgfleet_replica::ReplicaError),
}

impl Trouble {
    /// A change goes from the log to a file here: it is this disk's trouble where the writing failed.
    fn of_payload(error: LogError) -> Trouble {
        match error {
            LogError::Io { verb: "write", source, .. } => Trouble::Holding(source),
            error => Trouble::Log(error),
        }
    }
}

/// What others see of the following.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    trouble: Mutex<Option<(Instant, String)>>,
    log: Mutex<Option<Arc<dyn Log>>>,
    /// Of the records that were read.
    pub(crate) epoch: NewestEpoch,
    /// Whether there is a master that tells of each record.
    told: AtomicBool,
    /// The newest record that it told of; 0 before one.
    newest_told: AtomicU64,
    appended: Notify,
}

impl Standing {
    /// Since when and why the mirror can't follow; none while it can.
    pub(crate) fn trouble(&self) -> Option<(Instant, String)> {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.clone()
    }

    /// The log, while it can be read.
    pub(crate) fn log(&self) -> Option<Arc<dyn Log>> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.clone()
    }

    /// The master tells of each record from now on, or no longer does.
    pub(crate) fn set_told(&self, told: bool) {
        self.told.store(told, Ordering::Relaxed);
        self.look();
    }

    /// The master says that the log has this record.
    pub(crate) fn appended(&self, sequence: Sequence) {
        self.newest_told.fetch_max(sequence.get(), Ordering::Relaxed);
        self.look();
    }

    fn look(&self) {
        self.appended.notify_one();
        if let Some(log) = self.log() {
            log.wake();
        }
    }

    /// Waits until there may be something after `last`.
    async fn something_new(&self, log: &dyn Log, last: Option<Sequence>, poll: Duration) {
        // What was told of may not have come to all servers that keep the log.
        let is_due = self.newest_told.load(Ordering::Relaxed) > last.map_or(0, Sequence::get);
        if is_due || !self.told.load(Ordering::Relaxed) {
            log.changed(last, poll).await;
        } else {
            // That nobody told is as good a reason to look.
            let _ = timeout(POLL_TOLD, self.appended.notified()).await;
        }
    }

    fn set_trouble(&self, trouble: Option<String>) {
        let mut kept = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        *kept = match (trouble, kept.take()) {
            (Some(text), Some((since, _))) => Some((since, text)),
            (Some(text), None) => {
                tracing::warn!(reason = text, "the mirror can't follow");
                Some((Instant::now(), text))
            }
            (None, Some(_)) => {
                tracing::info!("the mirror follows again");
                None
            }
            (None, None) => None,
        };
    }

    fn set_log(&self, log: Option<Arc<dyn Log>>) {
        *self.log.lock().unwrap_or_else(PoisonError::into_inner) = log;
    }
}

/// Who follows.
#[derive(Debug)]
pub(crate) struct Following {
    pub(crate) name: String,
    pub(crate) run: PathBuf,
    pub(crate) log: LogLocation,
    pub(crate) poll: Duration,
    pub(crate) replica: Arc<Replica>,
    pub(crate) staging: Arc<Staging>,
    pub(crate) showing: Arc<Showing>,
    pub(crate) standing: Arc<Standing>,
    pub(crate) resync: Arc<Resync>,
}

impl Following {
    /// Follows for ever. Trouble is named, waited out and tried again from the last staged record.
    pub(crate) async fn run(self) {
        loop {
            let Err(trouble) = self.follow().await;
            self.standing.set_trouble(Some(trouble.to_string()));
            sleep(TROUBLE_PAUSE).await;
        }
    }

    async fn follow(&self) -> Result<std::convert::Infallible, Trouble> {
        let log = match self.log.open(Access::Read).await {
            Ok(log) => log,
            Err(error) => {
                self.standing.set_log(None);
                return Err(error.into());
            }
        };
        // It is kept whatever its records are like, so that `status` learns of the trouble.
        self.standing.set_log(Some(log.clone()));
        let mut follower = self.follower(&*log).await?;
        loop {
            let Some(due) = follower.due() else { std::future::pending().await };
            let records = log.read(due, BATCH_RECORDS_MAX).await?;
            if records.is_empty() {
                self.standing.set_trouble(None);
                let last = follower.at().map(|tail| tail.sequence);
                self.standing.something_new(&*log, last, self.poll).await;
                continue;
            }
            let mut batch = Vec::new();
            let mut bytes = 0;
            for record in records {
                // A record that doesn't follow stops us, but what came before it counts.
                if let Err(divergence) = follower.accept(&record) {
                    self.stage(batch).await?;
                    return Err(divergence.into());
                }
                self.standing.epoch.saw(record.epoch);
                let incoming = self.fetch(&*log, &record).await?;
                bytes += record.change_bytes();
                batch.push((record, incoming));
                if bytes >= BATCH_BYTES_MAX {
                    self.stage(std::mem::take(&mut batch)).await?;
                    bytes = 0;
                }
            }
            self.stage(batch).await?;
            self.standing.set_trouble(None);
        }
    }

    /// Finds where to go on: behind the last staged record, or behind what the stores have.
    async fn follower(&self, log: &dyn Log) -> Result<Follower, Trouble> {
        let found = log.identity().await;
        let staged = self.staging.tail();
        let ours = staged.map(|(log, _)| log).or(self.replica.log());
        if let Some(ours) = ours.filter(|&ours| ours != found) {
            return Err(Trouble::OtherLog { ours, found });
        }
        let applied = self.replica.position();
        let mut at = staged.map(|(_, tail)| tail);
        if at.map(|tail| tail.sequence) < applied
            && let Some(applied) = applied
        {
            // `staged/` was lost. The log's own record there is believed if it is the one we saw.
            let there = match log.read(applied, 1).await {
                Ok(records) => records.first().map(Tail::of),
                Err(LogError::Trimmed { first, .. }) if Some(first) == applied.next() => {
                    Some(tail_before(log, first).await?)
                }
                Err(LogError::Trimmed { .. }) => None,
                Err(error) => return Err(error.into()),
            };
            if let Some(there) = there {
                let seen = self.replica.seen();
                if seen.is_some_and(|(s, hash)| s == applied && hash != there.hash) {
                    return Err(Trouble::OtherLog { ours: found, found });
                }
                at = Some(there);
            }
        }
        let first = log.first().await?;
        if Sequence::after(at.map(|tail| tail.sequence)).is_some_and(|due| due < first) {
            at = Some(self.jump(log, found, first).await?);
        }
        if staged.is_some_and(|(_, tail)| Some(tail) != at) {
            // A gap within `staged/` would read as damage.
            let (replica, staging) = (self.replica.clone(), self.staging.clone());
            let reset = spawn_blocking(move || {
                replica.sync()?;
                Ok::<_, Trouble>(staging.reset()?)
            });
            reset.await.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))?;
        }
        Ok(Follower::new(found, at))
    }

    async fn fetch(&self, log: &dyn Log, record: &Record) -> Result<Incoming, Trouble> {
        let bytes = record.change_bytes();
        if bytes == 0 {
            return Ok(Incoming::Inline(Vec::new()));
        }
        if bytes > INLINE_BYTES_MAX {
            let mut file = self.staging.large_file(record.sequence)?;
            log.payload(record, &mut file).await.map_err(Trouble::of_payload)?;
            return Ok(Incoming::Beside);
        }
        let mut file = self.staging.scratch(bytes).map_err(Trouble::Holding)?;
        log.payload(record, &mut file).await.map_err(Trouble::of_payload)?;
        let mut change = Vec::with_capacity(bytes as usize);
        file.rewind().map_err(Trouble::Holding)?;
        let read = file.take(bytes).read_to_end(&mut change);
        read.map_err(Trouble::Holding)?;
        Ok(Incoming::Inline(change))
    }

    async fn stage(&self, batch: Vec<(Record, Incoming)>) -> Result<(), Trouble> {
        let Some((first, _)) = batch.first() else {
            return Ok(());
        };
        let from = first.sequence;
        let (staging, name) = (self.staging.clone(), self.name.clone());
        let written = spawn_blocking(move || {
            staging.append(batch, || stop_at(&format!("{name}.staging")))?;
            stop_at(&format!("{name}.staged"));
            Ok::<_, StagingError>(staging.records_from(Some(from)))
        });
        let records = match written.await {
            Ok(records) => records?,
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        };
        self.showing.add_staged(&records);
        Ok(())
    }
}

/// Gives up staged records once the stores have them, durably; for ever.
pub(crate) async fn remove_durable(staging: Arc<Staging>, replica: Arc<Replica>, every: Duration) {
    let mut removed: Option<Sequence> = None;
    loop {
        sleep(every).await;
        let durable = replica.durable_position();
        if durable <= removed {
            continue;
        }
        let Some(through) = durable else { continue };
        let staging = staging.clone();
        match spawn_blocking(move || staging.remove_through(through)).await {
            Ok(Ok(())) => removed = durable,
            Ok(Err(error)) => tracing::warn!(%error, "staged records could not be removed"),
            Err(error) => tracing::error!(%error, "removing staged records has failed"),
        }
    }
}
