//! Becoming master: reading the log to its end and taking the next epoch.

use std::sync::Arc;
use std::time::Duration;

use hgfleet_log::{
    AppendError, Body, Draft, Epoch, Follower, Log, LogError, LogId, Payload, Record, RecordId, Refusal, Sequence,
    Tail, boot_time,
};
use hgfleet_replica::Replica;

use crate::clock::unix_ms;
use crate::options::MasterError;

/// Records read at once.
const READ_MAX: usize = 1024;
/// How often the outcome of the epoch record is asked for before the start is given up.
const TRIES_MAX: u32 = 20;

fn failed(error: LogError) -> MasterError {
    MasterError::Log(error.to_string())
}

/// An epoch that was taken.
pub(crate) struct Taken {
    pub epoch: Epoch,
    /// The epoch record: the log's end.
    pub tail: Tail,
    /// The lease's counter, where somebody held it before.
    pub counter: Option<u64>,
}

/// Waits until nobody else shows a sign of life, then takes the next epoch.
pub(crate) async fn take(
    log: &Arc<dyn Log>,
    log_id: LogId,
    replica: &Replica,
    name: &str,
    lease: Duration,
) -> Result<Taken, MasterError> {
    let mut follower = start(log, log_id, replica).await?;
    let mut counter = quiet(log, name, lease).await?;
    let mut tries = 0;
    loop {
        read_on(log, &mut follower).await?;
        let tail = follower.at().copied();
        let epoch = Epoch::after(tail.map(|tail| tail.epoch))
            .ok_or_else(|| MasterError::Log("the log's epochs are used up".to_owned()))?;
        let id = RecordId::random().map_err(|error| MasterError::Log(error.to_string()))?;
        let body = Body::Epoch { holder: name.to_owned() };
        let draft = Draft::following(tail.as_ref(), epoch, id, unix_ms(), body);
        match log.append(draft, Payload::Empty).await {
            Ok(record) => return Ok(Taken { epoch, tail: Tail::of(&record), counter }),
            Err(AppendError::Refused(Refusal::WrongLastSequence { .. } | Refusal::Fenced { .. })) => {
                tracing::warn!("another server was faster; a lease time is waited");
                tokio::time::sleep(lease).await;
                counter = quiet(log, name, lease).await?;
            }
            Err(AppendError::Unknown(why)) if tries < TRIES_MAX => {
                tracing::error!(why, "the outcome of the epoch record is unknown; the log is read");
                tokio::time::sleep(Duration::from_millis(200)).await;
                if let Some(record) = log.find(&id).await.map_err(failed)? {
                    read_on(log, &mut follower).await?;
                    if follower.at().is_some_and(|at| at.sequence == record.sequence) {
                        return Ok(Taken { epoch, tail: Tail::of(&record), counter });
                    }
                }
            }
            Err(error) => return Err(MasterError::Log(error.to_string())),
        }
        tries += 1;
    }
}

/// Begins to follow where this server's stores were, having made sure that the log still has what they have.
async fn start(log: &Arc<dyn Log>, log_id: LogId, replica: &Replica) -> Result<Follower, MasterError> {
    let lost = |what: String| {
        MasterError::Log(format!(
            "{what}. The log was restored or exchanged: nothing is appended to it until an operator says so (`hgfleet log rebuild`)"
        ))
    };
    if let Some(other) = replica.log().filter(|other| *other != log_id) {
        return Err(lost(format!("this server follows log {other}, and this is log {log_id}")));
    }
    let first = log.first().await.map_err(failed)?;
    let Some((seen, hash)) = replica.seen() else {
        if first > Sequence::FIRST {
            return Err(MasterError::Log(format!(
                "the log begins at {first}, and this server has nothing: it needs a copy from another server"
            )));
        }
        return Ok(Follower::new(log_id, None));
    };
    let records = match log.read(seen, 1).await {
        Ok(records) => records,
        Err(LogError::Trimmed { .. }) => {
            return Err(MasterError::Log(format!("the log begins at {first}, and this server ends at {seen}")));
        }
        Err(error) => return Err(failed(error)),
    };
    match records.first() {
        Some(record) if record.chain_hash() == hash => Ok(Follower::new(log_id, Some(Tail::of(record)))),
        Some(_) => Err(lost(format!("record {seen} is not the one that this server has seen"))),
        None => Err(lost(format!("this server has seen record {seen}, and the log ends before it"))),
    }
}

async fn read_on(log: &Arc<dyn Log>, follower: &mut Follower) -> Result<(), MasterError> {
    while let Some(due) = follower.due() {
        let records: Vec<Record> = log.read(due, READ_MAX).await.map_err(failed)?;
        if records.is_empty() {
            return Ok(());
        }
        for record in &records {
            follower.accept(record).map_err(|error| MasterError::Log(error.to_string()))?;
        }
    }
    Ok(())
}

/// Waits until another holder's lease has not been renewed for a lease time. One's own needs no waiting.
async fn quiet(log: &Arc<dyn Log>, name: &str, wait: Duration) -> Result<Option<u64>, MasterError> {
    let mut seen = log.lease().await.map_err(failed)?;
    let mut since = boot_time();
    loop {
        let Some(lease) = &seen else { return Ok(None) };
        if lease.holder == name || boot_time().saturating_sub(since) >= wait {
            return Ok(Some(lease.counter));
        }
        tokio::time::sleep((wait / 10).max(Duration::from_millis(10))).await;
        let now = log.lease().await.map_err(failed)?;
        if now != seen {
            tracing::info!(holder = lease.holder, "another master lives");
            seen = now;
            since = boot_time();
        }
    }
}
