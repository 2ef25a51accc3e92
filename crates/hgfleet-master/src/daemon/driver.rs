//! One push, from its turn to its reply: feeds [`Commit`] with what happens, and does what it says.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hgfleet_log::{
    AppendError, Body, Draft, Payload, Record, RecordId, Refusal, RepositoryName, Sequence, StoreRecord, Tail, planted,
    stop_at,
};
use hgfleet_replica::Outcome;
use tokio::sync::{mpsc, oneshot};

use super::change_file::ChangeFile;
use super::committer::{Change, Committer, Event, Push};
use super::locks::WriteLock;
use super::redo::LogSource;
use super::view::ViewInput;
use crate::clock::unix_ms;
use crate::commit::machine::{Commit, Found, Input, Output, Tell};
use crate::protocol::{PushEnd, SessionTimes};

/// Pause before the log is asked again what became of an append, and before the first retry of an apply.
const PAUSE: Duration = Duration::from_millis(200);
/// Longest pause between retries of an apply.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// What is under way for one push, and ends in an input.
type Work = Pin<Box<dyn Future<Output = Done> + Send>>;

/// What work ends in.
struct Done {
    input: Input,
    /// The push's record, once the log has it.
    record: Option<Record>,
}

/// One push.
pub(super) struct Driver {
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
    pub(super) fn new(committer: Arc<Committer>, push: Push, events: mpsc::UnboundedSender<Event>) -> Driver {
        let Push { id, repository, what, before, after, who, source, summary, change, lock, times, asked } = push;
        let body = match what {
            Change::Purge { deleted } => Body::Purge { deleted },
            Change::Store(kind) => Body::Store(StoreRecord {
                repository: repository.clone(),
                kind,
                before,
                after,
                who,
                source,
                summary,
                change: change.description(),
            }),
        };
        Driver {
            committer,
            machine: Commit::new(),
            id,
            repository,
            body,
            change,
            lock,
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

    pub(super) async fn run(mut self) {
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
        if planted::is("told-before-append")
            && let Some(sequence) = self.sequence
        {
            self.line(Tell::Stored(sequence).text(&self.repository));
        }
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
                    committer.pass_over(record).await;
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
