//! Drives pushes from the append to their replies.
//!
//! Each push has a task of its own that feeds [`Commit`] and does what it says; [`Turns`] says whose append comes next. A task
//! lives on when its session has gone: from the hand-over on the daemon owns the push.

use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hgfleet_log::{
    AppendError, Body, Divergence, Draft, Epoch, Follower, Log, LogError, LogId, Payload, Record, RecordId, Refusal,
    RepositoryName, Sequence, StoreKind, StoreRecord, Tail, stop_at,
};
use hgfleet_replica::{Outcome, Replica};
use tokio::sync::{mpsc, oneshot};

use super::change_file::ChangeFile;
use super::fate::Fate;
use super::locks::WriteLock;
use super::redo::LogSource;
use super::view::{ViewInput, ViewSender};
use crate::clock::unix_ms;
use crate::commit::machine::{Commit, Found, Input, Output, Tell};
use crate::commit::turns::Turns;
use crate::protocol::{PushEnd, SessionTimes};

/// Pause before the log is asked again what became of an append, and before the first retry of an apply.
const PAUSE: Duration = Duration::from_millis(200);
/// Longest pause between retries of an apply.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Records read at once.
const READ_MAX: usize = 256;

/// A push whose change was checked.
#[derive(Debug)]
pub(crate) struct Push {
    pub id: RecordId,
    pub kind: StoreKind,
    pub before: Option<[u8; 32]>,
    pub after: Option<[u8; 32]>,
    pub who: String,
    pub source: String,
    pub summary: Vec<u8>,
    pub change: ChangeFile,
    pub lock: WriteLock,
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

    /// Waits until no push is under way.
    pub(crate) async fn idle(&self) {
        while !self.in_flight().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn in_flight(&self) -> std::sync::MutexGuard<'_, HashSet<RecordId>> {
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
    fn queue(&self) -> (u64, oneshot::Receiver<()>) {
        let (sender, receiver) = oneshot::channel();
        let mut order = self.order();
        let number = order.next;
        order.next += 1;
        order.waiting.insert(number, sender);
        order.turns.wait(number);
        order.grant();
        (number, receiver)
    }

    fn settled(&self, number: u64) {
        let mut order = self.order();
        order.waiting.remove(&number);
        order.turns.settled(number);
        order.grant();
    }

    fn unknown(&self, number: u64) {
        self.order().turns.unknown(number);
    }

    fn fence(&self, epoch: Epoch) {
        self.order().turns.close();
        self.fate.fenced(epoch);
    }

    /// A record of ours is in the log.
    fn accept(&self, record: &Record) -> Result<(), Divergence> {
        self.order().follower.accept(record)?;
        let _ = self.view.send(ViewInput::Appended(record.sequence));
        Ok(())
    }

    /// Reads what the log holds behind the tail. Returns what lies at `sequence`, the record if it is `id`, and a higher epoch.
    async fn read(&self, sequence: Sequence, id: RecordId) -> (Found, Option<Record>, Option<Epoch>) {
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

/// What is under way for one push, and ends in an input.
type Work = Pin<Box<dyn Future<Output = Done> + Send>>;

/// What work ends in.
struct Done {
    input: Input,
    /// The push's record, once the log has it.
    record: Option<Record>,
}

/// One push.
struct Driver {
    committer: Arc<Committer>,
    machine: Commit,
    id: RecordId,
    repository: RepositoryName,
    body: Body,
    change: ChangeFile,
    lock: Option<WriteLock>,
    events: mpsc::UnboundedSender<Event>,
    ended: bool,
    number: u64,
    record: Option<Record>,
    sequence: Option<Sequence>,
    /// What the record expects to follow.
    expected: Option<Tail>,
    applies: u32,
    ledger: Ledger,
}

/// Where the time of one push went, milliseconds; the daemon's part is counted from the hand-over on.
struct Ledger {
    session: SessionTimes,
    asked: Instant,
    append_ms: f64,
    applied_ms: f64,
    told_ms: f64,
}

impl Driver {
    fn new(committer: Arc<Committer>, push: Push, events: mpsc::UnboundedSender<Event>) -> Driver {
        let Push { id, kind, before, after, who, source, summary, change, lock, times, asked } = push;
        let repository = lock.repository.clone();
        let body = Body::Store(StoreRecord {
            repository: repository.clone(),
            kind,
            before,
            after,
            who,
            source,
            summary,
            change: change.description(),
        });
        Driver {
            committer,
            machine: Commit::new(),
            id,
            repository,
            body,
            change,
            lock: Some(lock),
            events,
            ended: false,
            number: 0,
            record: None,
            sequence: None,
            expected: None,
            applies: 0,
            ledger: Ledger { session: times, asked, append_ms: 0.0, applied_ms: 0.0, told_ms: 0.0 },
        }
    }

    async fn run(mut self) {
        let (number, turn) = self.committer.queue();
        self.number = number;
        let mut turn = Some(turn);
        let mut work: Option<Work> = None;
        let mut told: Option<oneshot::Receiver<(usize, usize)>> = None;
        let deadline = tokio::time::sleep(self.committer.append_wait);
        tokio::pin!(deadline);
        let mut over = false;
        let mut lost = false;
        let mut fenced = false;
        let events = self.events.clone();
        let fate = self.committer.fate.clone();
        while !self.machine.is_done() {
            let input = tokio::select! {
                biased;
                done = async { work.as_mut().expect_some().await }, if work.is_some() => {
                    work = None;
                    if done.record.is_some() {
                        self.record = done.record;
                    }
                    done.input
                }
                turned = async { turn.as_mut().expect_some().await }, if turn.is_some() => {
                    turn = None;
                    match (turned, self.take_turn()) {
                        (Ok(()), Some(sequence)) => Input::Turn(sequence),
                        _ => Input::Fenced,
                    }
                }
                answer = async { told.as_mut().expect_some().await }, if told.is_some() => {
                    told = None;
                    let (told, of) = answer.unwrap_or((0, 0));
                    Input::Told { told, of }
                }
                () = events.closed(), if !lost => {
                    lost = true;
                    Input::SessionLost
                }
                _ = fate.ended(), if !fenced => {
                    fenced = true;
                    Input::Fenced
                }
                () = &mut deadline, if !over => {
                    over = true;
                    Input::AppendWaitOver
                }
            };
            self.note(&input);
            for output in self.machine.on(input) {
                match output {
                    Output::Append => work = Some(self.append()),
                    Output::Read { again } => {
                        self.committer.unknown(self.number);
                        work = Some(self.read(again));
                    }
                    Output::AppendEmpty => work = Some(self.append_empty()),
                    Output::Tell(tell) => self.tell(tell),
                    Output::Apply { again } => {
                        self.committer.settled(self.number);
                        work = self.apply(again);
                    }
                    Output::AwaitTold(sequence) => {
                        let (answer, receiver) = oneshot::channel();
                        let _ = self.committer.view.send(ViewInput::Push { sequence, answer });
                        told = Some(receiver);
                    }
                    Output::DropChange => {
                        self.change = ChangeFile::Empty;
                        self.committer.settled(self.number);
                    }
                    Output::ReleaseLock => self.lock = None,
                    Output::Fence => {}
                    Output::EndSession => self.end(PushEnd::Unknown(Tell::Unknown.text(&self.repository))),
                }
            }
        }
        self.committer.settled(self.number);
        self.committer.in_flight().remove(&self.id);
        self.end(PushEnd::Done);
        self.ledger.write(&self.repository, self.sequence, self.change.bytes().len());
    }

    /// The turn has come: from here the record's place is known.
    fn take_turn(&mut self) -> Option<Sequence> {
        self.expected = self.committer.tail();
        self.sequence = Sequence::after(self.expected.map(|tail| tail.sequence));
        self.sequence
    }

    fn draft(&self, id: RecordId, body: Body) -> Draft {
        Draft::following(self.expected.as_ref(), self.committer.epoch, id, unix_ms(), body)
    }

    fn append(&self) -> Work {
        let draft = self.draft(self.id, self.body.clone());
        let payload = self.change.payload();
        let committer = self.committer.clone();
        Box::pin(async move {
            stop_at("master.before-append");
            let payload = match payload {
                Ok(payload) => payload,
                Err(error) => return Done { input: Input::Refused(error.to_string()), record: None },
            };
            let input = match committer.log.append(draft, payload).await {
                Ok(record) => {
                    stop_at("master.appended");
                    return match committer.accept(&record) {
                        Ok(()) => Done { input: Input::Acknowledged, record: Some(record) },
                        Err(divergence) => {
                            committer.fate.failed(divergence.to_string());
                            Done { input: Input::Unknown, record: None }
                        }
                    };
                }
                Err(AppendError::Unknown(why)) => {
                    tracing::error!(why, "the outcome of an append is unknown");
                    Input::Unknown
                }
                Err(AppendError::Refused(Refusal::WrongLastSequence { .. })) => Input::WrongLastSequence,
                Err(AppendError::Refused(Refusal::Fenced { newest })) => {
                    committer.fence(newest);
                    Input::RefusedFenced
                }
                Err(error) => Input::Refused(error.to_string()),
            };
            Done { input, record: None }
        })
    }

    fn read(&self, again: bool) -> Work {
        let committer = self.committer.clone();
        let (id, sequence) = (self.id, self.sequence);
        Box::pin(async move {
            if again {
                tokio::time::sleep(PAUSE).await;
            }
            let Some(sequence) = sequence else {
                return Done { input: Input::LogSays { found: Found::Unreadable, fenced: false }, record: None };
            };
            let (found, record, higher) = committer.read(sequence, id).await;
            if let Some(epoch) = higher {
                committer.fence(epoch);
            }
            Done { input: Input::LogSays { found, fenced: higher.is_some() }, record }
        })
    }

    fn append_empty(&self) -> Work {
        let committer = self.committer.clone();
        let id = RecordId::random();
        let draft = id.map(|id| self.draft(id, Body::Empty));
        Box::pin(async move {
            let Ok(draft) = draft else { return Done { input: Input::EmptyRefused, record: None } };
            let input = match committer.log.append(draft, Payload::Empty).await {
                Ok(record) if committer.accept(&record).is_ok() => {
                    // It says nothing of a store; it moves the position.
                    let replica = committer.replica.clone();
                    let _ = tokio::task::spawn_blocking(move || replica.apply(&record, &[])).await;
                    Input::EmptyAccepted
                }
                _ => Input::EmptyRefused,
            };
            Done { input, record: None }
        })
    }

    fn apply(&mut self, again: bool) -> Option<Work> {
        let record = self.record.clone()?;
        let committer = self.committer.clone();
        let change = self.change.clone();
        let repository = self.repository.clone();
        let pause = PAUSE.saturating_mul(1 << self.applies.min(10)).min(PAUSE_MAX);
        self.applies += 1;
        Some(Box::pin(async move {
            if again {
                tokio::time::sleep(pause).await;
            }
            let fate = committer.fate.clone();
            let applied = tokio::task::spawn_blocking(move || {
                if !again {
                    return committer.replica.apply(&record, change.bytes());
                }
                let mut source = LogSource::new(committer.log.clone());
                committer.replica.retry(&repository, Some(record.sequence), &mut |sequence| source.get(sequence))
            });
            let input = match applied.await {
                Ok(Ok(Outcome::Applied | Outcome::Already | Outcome::NoStore)) => {
                    stop_at("master.applied");
                    Input::Applied
                }
                Ok(Ok(Outcome::Quarantined(reason))) => {
                    tracing::error!(reason, "a record could not be applied; it is tried again");
                    Input::ApplyFailed
                }
                Ok(Err(error)) => {
                    fate.failed(error.to_string());
                    Input::ApplyFailed
                }
                Err(error) => {
                    fate.failed(error.to_string());
                    Input::ApplyFailed
                }
            };
            Done { input, record: None }
        }))
    }

    fn note(&mut self, input: &Input) {
        let ms = self.ledger.asked.elapsed().as_secs_f64() * 1000.0;
        match input {
            Input::Acknowledged => self.ledger.append_ms = ms,
            Input::Applied => self.ledger.applied_ms = ms,
            Input::Told { .. } => {
                stop_at("master.told");
                self.ledger.told_ms = ms;
            }
            _ => {}
        }
    }

    fn tell(&mut self, tell: Tell) {
        let text = tell.text(&self.repository);
        match tell {
            Tell::Stored(_) => self.line(text),
            Tell::Visible { .. } => {
                self.line(text);
                self.end(PushEnd::Done);
            }
            Tell::NotApplied(_) => self.end(PushEnd::Stored(text)),
            Tell::Refused(_) => self.end(PushEnd::Refused(text)),
            Tell::Unknown => self.end(PushEnd::Unknown(text)),
        }
    }

    fn line(&self, text: String) {
        let _ = self.events.send(Event::Told(text));
    }

    /// The first end counts.
    fn end(&mut self, end: PushEnd) {
        if !self.ended {
            self.ended = true;
            let _ = self.events.send(Event::Ended(end));
        }
    }
}

impl Ledger {
    fn write(&self, repository: &RepositoryName, sequence: Option<Sequence>, bytes: usize) {
        tracing::info!(
            target: "hgfleet_master::ledger",
            receive_ms = self.session.receive_ms,
            lock_ms = self.session.lock_ms,
            prepare_ms = self.session.prepare_ms,
            append_ms = self.append_ms,
            applied_ms = self.applied_ms,
            told_ms = self.told_ms,
            total_ms = self.session.lock_ms + self.session.prepare_ms + self.asked.elapsed().as_secs_f64() * 1000.0,
            bytes,
            %repository,
            sequence = sequence.map(Sequence::get),
            "push"
        );
    }
}

/// For the arms of a `select!` that are guarded by `is_some`: their futures are made in any case, and polled only then.
trait ExpectSome<T> {
    fn expect_some(self) -> T;
}

impl<T> ExpectSome<T> for Option<T> {
    fn expect_some(self) -> T {
        match self {
            Some(value) => value,
            None => unreachable!("guarded by is_some"),
        }
    }
}
