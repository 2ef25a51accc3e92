//! Who appends when, and what the master knows of the log's end.
//!
//! Each push has a task of its own ([`Driver`]); [`Turns`] says whose append comes next. A task lives on when its session has
//! gone: from the hand-over on the daemon owns the push.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hgfleet_log::{
    Body, Divergence, Epoch, Follower, Log, LogError, LogId, Record, RecordId, RepositoryName, Sequence, StoreKind,
    Tail,
};
use hgfleet_replica::Replica;
use tokio::sync::{mpsc, oneshot};

use super::change_file::ChangeFile;
use super::driver::Driver;
use super::fate::Fate;
use super::locks::WriteLock;
use super::view::{ViewInput, ViewSender};
use crate::commit::machine::Found;
use crate::commit::turns::Turns;
use crate::protocol::{PushEnd, SessionTimes};

/// Records read at once.
const READ_MAX: usize = 256;

/// What a record says, in short.
#[derive(Debug)]
pub(crate) enum Change {
    /// Something of a repository.
    Store(StoreKind),
    /// That what is kept of a deleted one is given up.
    Purge { deleted: Sequence },
}

/// A push whose change was checked.
#[derive(Debug)]
pub(crate) struct Push {
    pub id: RecordId,
    pub repository: RepositoryName,
    pub what: Change,
    pub before: Option<[u8; 32]>,
    pub after: Option<[u8; 32]>,
    pub who: String,
    pub source: String,
    pub summary: Vec<u8>,
    pub change: ChangeFile,
    /// None where nobody else can be at work on it.
    pub lock: Option<WriteLock>,
    pub times: SessionTimes,
    /// When the daemon was asked.
    pub asked: Instant,
}

/// What the session is told of its push.
#[derive(Debug)]
pub(crate) enum Event {
    /// A line.
    Told(String),
    /// It is over.
    Ended(PushEnd),
}

/// Appends and applies, for the whole daemon.
pub(crate) struct Committer {
    pub log: Arc<dyn Log>,
    pub replica: Arc<Replica>,
    pub epoch: Epoch,
    pub view: ViewSender,
    pub fate: Fate,
    pub append_wait: Duration,
    order: Mutex<Order>,
    in_flight: Mutex<HashSet<RecordId>>,
}

struct Order {
    turns: Turns,
    next: u64,
    waiting: HashMap<u64, oneshot::Sender<()>>,
    /// All up to here was read, and there is no higher epoch in it.
    follower: Follower,
}

impl Committer {
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn new(
        log: Arc<dyn Log>,
        log_id: LogId,
        replica: Arc<Replica>,
        epoch: Epoch,
        tail: Tail,
        view: ViewSender,
        fate: Fate,
        append_wait: Duration,
    ) -> Arc<Committer> {
        let order = Order {
            turns: Turns::new(false),
            next: 0,
            waiting: HashMap::new(),
            follower: Follower::new(log_id, Some(tail)),
        };
        Arc::new(Committer {
            log,
            replica,
            epoch,
            view,
            fate,
            append_wait,
            order: Mutex::new(order),
            in_flight: Mutex::default(),
        })
    }

    /// Takes a push over. What happens to it comes through the receiver; dropping that means that nobody is there to be told.
    pub(crate) fn commit(self: &Arc<Self>, push: Push) -> mpsc::UnboundedReceiver<Event> {
        let (events, receiver) = mpsc::unbounded_channel();
        self.in_flight().insert(push.id);
        tokio::spawn(Driver::new(self.clone(), push, events).run());
        receiver
    }

    /// Whether the outcome of this push is still open.
    pub(crate) fn is_in_flight(&self, id: &RecordId) -> bool {
        self.in_flight().contains(id)
    }

    /// Whether no push is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight().is_empty()
    }

    /// Waits until no push is under way.
    pub(crate) async fn idle(&self) {
        while !self.is_idle() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(super) fn in_flight(&self) -> std::sync::MutexGuard<'_, HashSet<RecordId>> {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn order(&self) -> std::sync::MutexGuard<'_, Order> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last record that this master has read or made.
    pub(crate) fn tail(&self) -> Option<Tail> {
        self.order().follower.at().copied()
    }

    /// Waits for the turn to append. Returns the push's number and what says that its turn has come.
    pub(super) fn queue(&self) -> (u64, oneshot::Receiver<()>) {
        let (sender, receiver) = oneshot::channel();
        let mut order = self.order();
        let number = order.next;
        order.next += 1;
        order.waiting.insert(number, sender);
        order.turns.wait(number);
        order.grant();
        (number, receiver)
    }

    pub(super) fn settled(&self, number: u64) {
        let mut order = self.order();
        order.waiting.remove(&number);
        order.turns.settled(number);
        order.grant();
    }

    pub(super) fn unknown(&self, number: u64) {
        self.order().turns.unknown(number);
    }

    pub(super) fn fence(&self, epoch: Epoch) {
        self.order().turns.close();
        self.fate.fenced(epoch);
    }

    /// A record of ours is in the log.
    pub(super) fn accept(&self, record: &Record) -> Result<(), Divergence> {
        self.order().follower.accept(record)?;
        let _ = self.view.send(ViewInput::Appended(record.sequence));
        Ok(())
    }

    /// A record that says nothing of a store moves the position all the same.
    pub(super) async fn pass_over(&self, record: Record) {
        let replica = self.replica.clone();
        let _ = tokio::task::spawn_blocking(move || replica.apply(&record, &[])).await;
    }

    /// Reads what the log holds behind the tail. Returns what lies at `sequence`, the record if it is `id`, and a higher epoch.
    pub(super) async fn read(&self, sequence: Sequence, id: RecordId) -> (Found, Option<Record>, Option<Epoch>) {
        let mut found = Found::Nothing;
        let mut ours = None;
        let mut higher = None;
        let mut from = sequence;
        loop {
            let records = match self.log.read(from, READ_MAX).await {
                Ok(records) => records,
                Err(error) => {
                    if let LogError::Closed(_) = error {
                        // The next start settles what is open.
                        self.fate.failed(error.to_string());
                    }
                    tracing::error!(%error, "the log can't be read");
                    return (Found::Unreadable, None, higher);
                }
            };
            let Some(last) = records.last() else { break };
            let Some(next) = last.sequence.next() else { break };
            for record in records {
                if record.sequence == sequence {
                    found = if record.id == id { Found::Ours } else { Found::Another };
                }
                if record.epoch > self.epoch {
                    higher = higher.max(Some(record.epoch));
                }
                let accepted = {
                    let mut order = self.order();
                    if order.follower.at().is_some_and(|at| at.sequence >= record.sequence) {
                        Ok(())
                    } else {
                        order.follower.accept(&record)
                    }
                };
                if let Err(divergence) = accepted {
                    self.fate.failed(divergence.to_string());
                    return (Found::Unreadable, None, higher);
                }
                if record.id == id {
                    let _ = self.view.send(ViewInput::Appended(record.sequence));
                    ours = Some(record);
                } else if record.epoch == self.epoch && matches!(record.body, Body::Empty) {
                    // Ours as well: one that settled this push, and whose own outcome was unknown.
                    self.pass_over(record).await;
                }
            }
            from = next;
        }
        (found, ours, higher)
    }
}

impl Order {
    fn grant(&mut self) {
        while let Some(number) = self.turns.take() {
            if let Some(sender) = self.waiting.remove(&number) {
                let _ = sender.send(());
            }
        }
    }
}
