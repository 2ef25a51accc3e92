//! From staged to shown: records are applied once the fleet may see them, and requests wait for
//! those of their repository.
//!
//! Three positions, each at or below the one before it:
//!
//! * *staged*: durable on this disk;
//! * *shown*: what an untagged request is answered at, the lower one of staged and *heard*, which is
//!   the highest visible position that the master or a balancer's tag has named. Nothing above it is
//!   ever applied. It never goes back, also not over a restart: it is kept in a file;
//! * the replica's own position, which follows within milliseconds. Records of different
//!   repositories are applied side by side, so that each repository has a queue of its own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hgfleet_log::{Record, RepositoryName, Sequence};
use hgfleet_replica::{Outcome, Replica, ReplicaError};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::staging::Staging;
use crate::told::{NotKept, Told};

mod state;
#[cfg(test)]
mod tests;

use self::state::{Queue, State};

/// The pause after a record could not be applied for a reason that concerns the whole server.
const FAULT_PAUSE: Duration = Duration::from_millis(500);

/// Queues that are worked on at a time, at least: more than there may be large records at once.
const WORKERS_MIN: usize = 4;

/// How long one queue is worked on while others wait.
const SLICE: Duration = Duration::from_millis(50);

/// Why a request can't be answered at the position it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotShown {
    /// The records are not here yet; another mirror has them.
    Behind,
    /// They are here, and are not applied in time.
    Late,
}

/// Why a record was not applied.
enum Fault {
    /// It may be tried again.
    Passing(String),
    /// Nothing that this process has written is believed any more.
    Fatal(ReplicaError),
}

impl Fault {
    fn passing(why: impl ToString) -> Self {
        Self::Passing(why.to_string())
    }
}

/// Who applies, and who waits for it.
#[derive(Debug)]
pub(crate) struct Showing {
    replica: Arc<Replica>,
    staging: Arc<Staging>,
    state: Mutex<State>,
    /// Where *heard* is kept.
    told: Told,
    changed: watch::Sender<()>,
    /// A queue is no longer worked on.
    idle: Condvar,
    runtime: Handle,
    /// Queues that are worked on at a time.
    workers_max: usize,
    staged: watch::Sender<Option<Sequence>>,
    fatal: watch::Sender<Option<Arc<ReplicaError>>>,
}

impl Showing {
    /// Takes over what is staged: everything above the replica's position waits to be applied.
    ///
    /// Must be called within a runtime.
    pub(crate) fn new(replica: Arc<Replica>, staging: Arc<Staging>, told: Told) -> Arc<Self> {
        let mut state = State::default();
        let applied = replica.position();
        let after = match applied {
            Some(applied) => applied.next(),
            None => Some(Sequence::FIRST),
        };
        if let Some(after) = after {
            for record in staging.records_from(Some(after)) {
                state.add(&record);
            }
        }
        state.staged = staging.tail().map(|(_, tail)| tail.sequence).max(applied);
        state.heard = told.position().max(applied);
        let staged = watch::channel(state.staged).0;
        Arc::new(Self {
            replica,
            staging,
            state: Mutex::new(state),
            told,
            changed: watch::channel(()).0,
            idle: Condvar::new(),
            runtime: Handle::current(),
            workers_max: std::thread::available_parallelism().map_or(1, usize::from).max(WORKERS_MIN),
            staged,
            fatal: watch::channel(None).0,
        })
    }

    /// Follows the staged position.
    pub(crate) fn watch_staged(&self) -> watch::Receiver<Option<Sequence>> {
        self.staged.subscribe()
    }

    /// Waits for the error after which this process must end.
    pub(crate) async fn fatal(&self) -> Arc<ReplicaError> {
        let mut fatal = self.fatal.subscribe();
        let error = fatal.wait_for(Option::is_some).await.ok().and_then(|error| error.clone());
        match error {
            Some(error) => error,
            None => std::future::pending().await,
        }
    }

    /// Up to where the log is durable here.
    pub(crate) fn staged(&self) -> Option<Sequence> {
        self.lock().staged
    }

    /// What an untagged request is answered at.
    pub(crate) fn position(&self) -> Option<Sequence> {
        self.lock().shown()
    }

    /// The highest visible position heard of.
    pub(crate) fn heard(&self) -> Option<Sequence> {
        self.lock().heard
    }

    /// Why records can't be applied at the moment, if so.
    pub(crate) fn fault(&self) -> Option<String> {
        self.lock().fault.clone()
    }

    /// How long ago the oldest record was made that is here and not applied; zero when all are.
    pub(crate) fn lag(&self) -> Duration {
        let Some(oldest) = self.lock().pending.values().min().copied() else {
            return Duration::ZERO;
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        Duration::from_millis(now.saturating_sub(oldest))
    }

    /// Records have become durable.
    pub(crate) fn add_staged(self: &Arc<Self>, records: &[Arc<Record>]) {
        let mut state = self.lock();
        for record in records {
            state.add(record);
            state.staged = state.staged.max(Some(record.sequence));
        }
        let staged = state.staged;
        drop(state);
        self.staged.send_replace(staged);
        self.changed.send_replace(());
        self.start_ready();
    }

    /// The fleet shows the log up to here. Once this has returned, no request is answered below it.
    pub(crate) fn hear(self: &Arc<Self>, visible: Option<Sequence>) {
        let mut state = self.lock();
        if visible <= state.heard {
            return;
        }
        state.heard = visible;
        // A restart answers no request below it either, also where nothing of it was applied yet.
        if let Some(visible) = visible
            && let Err(error) = self.told.keep(visible)
        {
            tracing::warn!(%error, "the told position could not be kept");
        }
        drop(state);
        self.changed.send_replace(());
        self.start_ready();
    }

    /// Waits until an untagged request is answered at this position or above; false: not in time.
    pub(crate) async fn shows(&self, position: Sequence, deadline: Instant) -> bool {
        let mut changed = self.changed.subscribe();
        while self.position() < Some(position) {
            if !matches!(tokio::time::timeout_at(deadline, changed.changed()).await, Ok(Ok(()))) {
                return false;
            }
        }
        true
    }

    /// Waits until everything up to `position` of one repository is applied, and for none: all
    /// records that make or remove a repository.
    ///
    /// # Errors
    ///
    /// [`NotShown`]; at once where waiting is of no use.
    pub(crate) async fn wait(
        &self,
        name: Option<&RepositoryName>,
        position: Sequence,
        deadline: Instant,
    ) -> Result<(), NotShown> {
        let mut changed = self.changed.subscribe();
        let queue = name.cloned();
        loop {
            {
                let state = self.lock();
                if state.staged < Some(position) {
                    return Err(NotShown::Behind);
                }
                let next = match &queue {
                    Some(_) => state.queues.get(&queue).and_then(|q| q.front().copied()),
                    None => state.names.keys().next().copied(),
                };
                if next.is_none_or(|next| next > position) {
                    return Ok(());
                }
            }
            match tokio::time::timeout_at(deadline, changed.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return Err(NotShown::Late),
            }
        }
    }

    /// Starts on queues whose first record may be shown and that nobody works on, as many as there are threads for, the
    /// oldest record first.
    pub(crate) fn start_ready(self: &Arc<Self>) {
        let mut state = self.lock();
        while state.workers < self.workers_max {
            let Some((queue, next)) = state.ready() else { return };
            state.begin(&queue, next);
            state.workers += 1;
            let this = self.clone();
            self.runtime.spawn_blocking(move || this.work_on(&queue, next));
        }
    }

    /// Waits until nobody applies records of this repository, and keeps it so. Returns up to where all of them were
    /// applied or passed over. Blocks.
    pub(crate) fn hold(self: &Arc<Self>, name: &RepositoryName) -> (Option<Sequence>, Hold) {
        let queue = Some(name.clone());
        let mut state = self.lock();
        state.held.insert(queue.clone());
        while state.busy.contains(&queue) {
            state = self.idle.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let end = match state.queues.get(&queue).and_then(|records| records.front()) {
            Some(next) => next.previous(),
            None => state.staged,
        };
        (end, Hold { showing: self.clone(), queue })
    }

    /// All records up to here are done, in another way than by applying them.
    pub(crate) fn jump(self: &Arc<Self>, to: Sequence) {
        let mut state = self.lock();
        state.staged = state.staged.max(Some(to));
        let staged = state.staged;
        drop(state);
        self.hear(Some(to));
        self.staged.send_replace(staged);
    }

    /// Applies a queue's records from `first` on, which is begun.
    fn work_on(self: &Arc<Self>, queue: &Queue, first: Sequence) {
        let begun = Instant::now();
        let mut next = Some(first);
        while let Some(sequence) = next {
            match self.apply(sequence) {
                Err(Fault::Fatal(error)) => {
                    tracing::error!(%sequence, %error, "this process must end");
                    self.fatal.send_replace(Some(Arc::new(error)));
                    return;
                }
                Ok(()) => {
                    let waited_for = self.lock().applied(queue, sequence);
                    self.changed.send_replace(());
                    if waited_for {
                        self.idle.notify_all();
                        self.start_ready();
                    }
                }
                Err(Fault::Passing(fault)) => {
                    tracing::error!(%sequence, fault, "a record could not be applied");
                    self.lock().fault = Some(fault);
                    // Keeps the queue busy meanwhile, so that nobody else tries either.
                    std::thread::sleep(FAULT_PAUSE);
                    self.lock().leave_others(queue, sequence);
                }
            }
            next = self.next_of(queue, begun);
        }
        self.start_ready();
    }

    /// The next record of a queue that may be shown; none: the queue is given up, also where others have waited while
    /// this one was worked on for a while.
    fn next_of(&self, queue: &Queue, begun: Instant) -> Option<Sequence> {
        let mut state = self.lock();
        // Given up, and taken again: nobody else sees it in between.
        state.busy.remove(queue);
        let others_wait = state.queues.len() > state.busy.len() + 1 && begun.elapsed() > SLICE;
        let next = state.next_of(queue).filter(|_| !others_wait);
        match next {
            Some(next) => state.begin(queue, next),
            None => {
                state.workers -= 1;
                self.idle.notify_all();
            }
        }
        next
    }

    fn apply(&self, sequence: Sequence) -> Result<(), Fault> {
        self.told.keep_durably(sequence).map_err(|error| match error {
            NotKept::Written(error) => Fault::passing(format!("the told position can't be kept: {error}")),
            NotKept::Synced(error) => Fault::Fatal(ReplicaError::NotDurable(error.to_string())),
        })?;
        let staged = self.staging.get(sequence).map_err(Fault::passing)?;
        let (record, change) = staged.ok_or_else(|| Fault::passing("the staged record is gone"))?;
        // A record that breaks the applier must not end the queue's thread without a word.
        let applied = catch_unwind(AssertUnwindSafe(|| self.replica.apply(&record, change.as_ref())));
        let outcome = match applied {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error @ ReplicaError::NotDurable(_))) => return Err(Fault::Fatal(error)),
            Ok(Err(error)) => return Err(Fault::passing(error)),
            Err(_) => return Err(Fault::passing("applying it panicked")),
        };
        if let (Outcome::Quarantined(reason), Some(store)) = (&outcome, record.store()) {
            let repository = store.repository.as_str();
            tracing::error!(%sequence, repository, reason, "a repository is in quarantine");
        }
        self.lock().fault = None;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a repository's records from being applied, as long as it is there.
pub(crate) struct Hold {
    showing: Arc<Showing>,
    queue: Queue,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.showing.lock().held.remove(&self.queue);
        self.showing.start_ready();
    }
}
