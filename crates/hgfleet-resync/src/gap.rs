//! The log no longer has a record that a server needs next: what another server has tells what is lacking up to where the log
//! begins.

use std::collections::BTreeSet;
use std::path::Path;

use hgfleet_log::{Body, Epoch, Log, LogError, LogId, RepositoryName, Sequence, Tail};
use hgfleet_replica::{Replica, Theirs};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use crate::peer::peers;

/// Why a gap can't be bridged now.
#[derive(Debug, thiserror::Error)]
pub enum GapError {
    /// The log can't be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Something is missing; it may come.
    #[error("the log begins at record {first}, and what is needed before it can't be had: {why}")]
    Gap {
        /// The oldest record that can be read.
        first: Sequence,
        /// What is missing.
        why: String,
    },
}

/// What another server has of the log.
#[derive(Debug)]
pub struct Stock {
    /// That server's name.
    pub by: String,
    /// Its repositories.
    pub theirs: Vec<Theirs>,
    /// Those that only this server has, and that a record behind the gap is about.
    pub later: BTreeSet<RepositoryName>,
}

/// Asks the servers at their doors in `run`, but for the one called `name` whose stores `replica` are, until one has the log
/// up to `to`.
///
/// # Errors
/// None answers that has it; the log can't be read.
pub async fn stock_at(
    log: &dyn Log,
    log_id: LogId,
    run: &Path,
    name: &str,
    replica: &Replica,
    to: Sequence,
) -> Result<Stock, GapError> {
    let (run, runtime) = (run.to_owned(), Handle::current());
    let asked = spawn_blocking(move || peers(&run, &runtime)).await;
    let servers = asked.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()));
    let good = servers
        .into_iter()
        .find(|(peer, answer)| peer.name() != name && answer.log == Some(log_id) && answer.position >= Some(to));
    let Some((peer, answer)) = good else {
        let why = format!("no other server answers that has the log up to {to}");
        return Err(GapError::Gap { first: to.next().unwrap_or(to), why });
    };
    let theirs: Vec<Theirs> = answer
        .repositories
        .into_iter()
        .map(|one| Theirs { name: one.name, created: one.created, sequence: one.sequence })
        .collect();
    let names: BTreeSet<_> = theirs.iter().map(|one| &one.name).collect();
    let mut later = BTreeSet::new();
    for ours in replica.repositories().into_iter().filter(|one| !names.contains(&one.name)) {
        // Deleted there; by a record that comes here as well, or by one that is gone.
        if log.last_of(&ours.name).await?.is_some_and(|record| record.sequence > to) {
            later.insert(ours.name);
        }
    }
    Ok(Stock { by: peer.name().to_owned(), theirs, later })
}

/// Returns where the log ended before `first`, the oldest record that can be read, as that record itself says.
///
/// # Errors
/// The log can't be read, or was trimmed further just now.
pub async fn tail_before(log: &dyn Log, first: Sequence) -> Result<Tail, GapError> {
    let gap = |why: &str| GapError::Gap { first, why: why.to_owned() };
    let Some(before) = first.previous() else { return Err(gap("nothing comes before it")) };
    if let Some(end) = log.end().await?.filter(|end| end.sequence == before) {
        return Ok(end);
    }
    let record = match log.read(first, 1).await {
        Ok(records) => records.into_iter().next(),
        Err(LogError::Trimmed { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let record = record.ok_or_else(|| gap("it was given up just now"))?;
    let epoch = match record.body {
        Body::Epoch { .. } => Epoch::new(record.epoch.get() - 1),
        Body::Empty | Body::Store(_) | Body::Purge { .. } => Some(record.epoch),
    };
    let epoch = epoch.ok_or_else(|| gap("it is the first of all epochs"))?;
    Ok(Tail { sequence: before, hash: record.previous, epoch })
}
