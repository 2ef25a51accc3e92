//! Taking the next epoch, having read the log to its end.

use std::time::Duration;

use hgfleet_log::{
    AppendError, Body, Draft, Epoch, Follower, LogError, Payload, Record, RecordId, Refusal, Sequence, Tail, boot_time,
};

use hgfleet_resync::{GapError, Stock, stock_at, tail_before};

use super::server::Server;
use super::volume::Plan;
use crate::clock::unix_ms;
use crate::options::MasterError;

/// Records read at once.
const READ_MAX: usize = 1024;
/// How often the epoch record is tried while its outcome is unknown, before this server gives up.
const TRIES_MAX: u32 = 20;
/// The pause between.
const PAUSE: Duration = Duration::from_millis(200);

/// An epoch that was taken.
#[derive(Debug)]
pub(crate) struct Taken {
    pub epoch: Epoch,
    /// The epoch record: the log's end.
    pub tail: Tail,
    /// The lease's counter, where somebody held it before.
    pub counter: Option<u64>,
    /// When the epoch record was on its way, a reading of [`boot_time`]: nobody else judges this lease lapsed before a lease time
    /// from here.
    pub since: Duration,
    /// Where it writes to, in a shared volume.
    pub plan: Option<Plan>,
}

/// Why a server does not follow, or does not take the epoch.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It is tried again.
    Passing(String),
    /// This process must end.
    Fatal(MasterError),
}

impl From<MasterError> for Trouble {
    fn from(error: MasterError) -> Trouble {
        match error {
            MasterError::Log(what) => Trouble::Passing(what),
            error => Trouble::Fatal(error),
        }
    }
}

impl From<LogError> for Trouble {
    fn from(error: LogError) -> Trouble {
        match error {
            // After a failed fsync only the next process may believe what it reads.
            LogError::Closed(why) => Trouble::Fatal(MasterError::Log(why)),
            error => Trouble::Passing(error.to_string()),
        }
    }
}

impl From<GapError> for Trouble {
    fn from(error: GapError) -> Trouble {
        match error {
            GapError::Log(error) => error.into(),
            error => Trouble::Passing(error.to_string()),
        }
    }
}

/// Appends an epoch record behind the end of what was read. None: another server was faster.
pub(crate) async fn take(
    server: &Server,
    follower: &mut Follower,
    counter: Option<u64>,
    plan: Option<Plan>,
) -> Result<Option<Taken>, Trouble> {
    let log = &server.log;
    let mut tried = Vec::new();
    for _ in 0..TRIES_MAX {
        let tail = follower.at().copied();
        let epoch = Epoch::after(tail.map(|tail| tail.epoch))
            .ok_or_else(|| Trouble::Passing("the log's epochs are used up".to_owned()))?;
        let id = RecordId::random().map_err(|error| Trouble::Passing(error.to_string()))?;
        let body = Body::Epoch { holder: server.name().to_owned() };
        let draft = Draft::following(tail.as_ref(), epoch, id, unix_ms(), body);
        let since = boot_time();
        tried.push((id, since));
        match log.append(draft, Payload::Empty).await {
            Ok(record) => return Ok(Some(Taken { epoch, tail: Tail::of(&record), counter, since, plan })),
            Err(AppendError::Refused(Refusal::WrongLastSequence { .. } | Refusal::Fenced { .. })) => {
                // What came between may be an epoch record of ours whose outcome was unknown.
                read_on(server, follower).await?;
                for (id, since) in tried {
                    let Some(record) = log.find(&id).await? else { continue };
                    if follower.at().is_some_and(|at| at.sequence == record.sequence) {
                        let (epoch, tail) = (record.epoch, Tail::of(&record));
                        return Ok(Some(Taken { epoch, tail, counter, since, plan }));
                    }
                }
                return Ok(None);
            }
            Err(AppendError::Unknown(why)) => {
                tracing::error!(why, "the outcome of the epoch record is unknown; it is tried again");
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => return Err(Trouble::Passing(error.to_string())),
        }
    }
    Err(Trouble::Fatal(MasterError::Log("the outcome of the epoch record stays unknown".to_owned())))
}

/// Begins to follow where this server's stores are, having made sure that the log still has what they have.
pub(crate) async fn start(server: &Server) -> Result<Follower, Trouble> {
    let (log, log_id, replica) = (&server.log, server.log_id, &server.own);
    let lost = |what: String| {
        Trouble::Passing(format!(
            "{what}. The log was restored or exchanged: nothing is appended to it until an operator says so (`hgfleet log rebuild`)"
        ))
    };
    if let Some(other) = replica.log().filter(|other| *other != log_id) {
        return Err(lost(format!("this server follows log {other}, and this is log {log_id}")));
    }
    let first = log.first().await?;
    let Some((seen, hash)) = replica.seen() else {
        return if first > Sequence::FIRST { jump(server, first).await } else { Ok(Follower::new(log_id, None)) };
    };
    let found = match log.read(seen, 1).await {
        Ok(records) => records.first().map(Tail::of),
        Err(LogError::Trimmed { .. }) if first.previous() == Some(seen) => {
            Some(tail_before(log.as_ref(), first).await?)
        }
        Err(LogError::Trimmed { .. }) => return jump(server, first).await,
        Err(error) => return Err(error.into()),
    };
    match found {
        Some(tail) if tail.hash == hash => Ok(Follower::new(log_id, Some(tail))),
        Some(_) => Err(lost(format!("record {seen} is not the one that this server has seen"))),
        None => Err(lost(format!("this server has seen record {seen}, and the log ends before it"))),
    }
}

/// Goes on from the first record that can be read: what this server lacks before it is copied from another one.
async fn jump(server: &Server, first: Sequence) -> Result<Follower, Trouble> {
    let log = server.log.as_ref();
    let to = tail_before(log, first).await?;
    if server.options.volume.is_some() {
        // It has no stores that could lack anything.
        server.jump(to, Vec::new(), Default::default()).await?;
        return Ok(Follower::new(server.log_id, Some(to)));
    }
    let stock = stock_at(log, server.log_id, &server.options.run, server.name(), &server.own, to.sequence).await?;
    let Stock { by, theirs, later } = stock;
    let lacking = server.jump(to, theirs, later).await?;
    tracing::warn!(to = %to.sequence, lacking, by, "going on from a later record; what is lacking is copied");
    Ok(Follower::new(server.log_id, Some(to)))
}

/// Reads some records and checks that they follow; none at the log's end.
pub(crate) async fn read_some(server: &Server, follower: &mut Follower) -> Result<Vec<Record>, Trouble> {
    let Some(due) = follower.due() else { return Ok(Vec::new()) };
    let records = server.log.read(due, READ_MAX).await?;
    for record in &records {
        follower.accept(record).map_err(|error| Trouble::Passing(error.to_string()))?;
    }
    Ok(records)
}

/// Reads the log to its end.
pub(crate) async fn read_on(server: &Server, follower: &mut Follower) -> Result<(), Trouble> {
    while !read_some(server, follower).await?.is_empty() {}
    Ok(())
}
