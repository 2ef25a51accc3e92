//! The one thread that writes `log.sqlite`.
//!
//! It takes what waits, does it in one transaction, and answers when that is durable: so appends that wait
//! together share one write to disk. After an error whose outcome is unknown it does nothing more; what the
//! log holds is for the next start to find out, since a failed fsync can't be repeated and believed.

mod batch;
mod checkpoint;

use std::sync::{Arc, OnceLock};

use tokio::sync::{mpsc, oneshot};

use self::batch::Batch;
use self::checkpoint::Checkpoints;
use super::Shared;
use crate::ids::{Epoch, Sequence};
use crate::log::{AppendError, LogError, Payload, Refusal, ViewError};
use crate::membership::View;
use crate::record::Record;

/// Most jobs that wait.
pub(super) const QUEUE_MAX: usize = 1024;
/// Most jobs of one transaction.
const BATCH_JOBS_MAX: usize = 256;
/// Most bytes of one transaction, in which a job that has more is alone.
const BATCH_BYTES_MAX: u64 = 8 << 20;

/// Something to write, and who waits for it.
pub(super) enum Job {
    Append { append: Box<Append>, reply: oneshot::Sender<Result<Record, AppendError>> },
    View { expected: Option<u64>, view: View, reply: oneshot::Sender<Result<(), ViewError>> },
    ReadOnly { epoch: Epoch, reason: Option<String>, reply: oneshot::Sender<Result<(), ViewError>> },
    Trim { checkpoint: Sequence, reply: oneshot::Sender<Result<(), LogError>> },
}

/// A record ready to be stored.
pub(super) struct Append {
    pub record: Record,
    pub encoded: Vec<u8>,
    /// As long as the record says.
    pub payload: Payload,
}

impl Job {
    fn bytes(&self) -> u64 {
        match self {
            Job::Append { append, .. } => append.encoded.len() as u64 + append.payload.len(),
            Job::View { .. } | Job::ReadOnly { .. } | Job::Trim { .. } => 0,
        }
    }

    /// Nothing of it was done.
    fn refuse(self, why: &str) {
        let why = || why.to_owned();
        // Whoever doesn't wait any more needs no answer: so in all replies here.
        let _ = match self {
            Job::Append { reply, .. } => reply.send(Err(Refusal::Closed(why()).into())).is_ok(),
            Job::View { reply, .. } | Job::ReadOnly { reply, .. } => {
                reply.send(Err(LogError::Closed(why()).into())).is_ok()
            }
            Job::Trim { reply, .. } => reply.send(Err(LogError::Closed(why()))).is_ok(),
        };
    }
}

/// Why the writer ended, once it has.
#[derive(Debug, Default)]
pub(super) struct Failure(OnceLock<String>);

impl Failure {
    pub(super) fn get(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }

    fn set(&self, why: &str) {
        tracing::error!(why, "the log failed: nothing more is appended or read until the next start");
        let _ = self.0.set(why.to_owned());
    }
}

/// Starts the thread. It ends when all senders are gone.
pub(super) fn start(shared: Arc<Shared>, connection: rusqlite::Connection) -> std::io::Result<mpsc::Sender<Job>> {
    let (sender, receiver) = mpsc::channel(QUEUE_MAX);
    std::thread::Builder::new().name("log-writer".to_owned()).spawn(move || run(&shared, connection, receiver))?;
    Ok(sender)
}

fn run(shared: &Arc<Shared>, connection: rusqlite::Connection, mut jobs: mpsc::Receiver<Job>) {
    let mut checkpoints = Checkpoints::start(shared.clone());
    let mut held = None;
    while let Some(first) = held.take().or_else(|| jobs.blocking_recv()) {
        let mut batch = Batch::new(first);
        while batch.jobs.len() < BATCH_JOBS_MAX {
            match jobs.try_recv() {
                Ok(job) if batch.bytes + job.bytes() > BATCH_BYTES_MAX => {
                    held = Some(job);
                    break;
                }
                Ok(job) => batch.push(job),
                Err(_) => break,
            }
        }
        match shared.failure.get() {
            Some(why) => batch.jobs.drain(..).for_each(|job| job.refuse(why)),
            None => {
                let bytes = batch.bytes;
                batch.run(shared, &connection);
                checkpoints.written(shared, &connection, bytes);
            }
        }
    }
}
