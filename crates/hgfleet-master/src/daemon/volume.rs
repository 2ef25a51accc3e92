//! Stores in a volume that master and standbys share: which tree an epoch writes to.
//!
//! NFS keeps nobody out. So each epoch writes to a tree of its own; or, where `fence_command` says that the last epoch's
//! holder can't write any more, to that one's. What is decided here is decided before the epoch record, because what is wrong must
//! keep this server from taking the epoch; it is done after it.

use std::process::Stdio;
use std::sync::Arc;

use hgfleet_log::{ChainHash, Log, LogError, Sequence, Tail};
use hgfleet_replica::{Replica, ReplicaError, TreeNote, Volume};
use hgfleet_resync::{stock_at, tail_before};

use super::again::again;
use super::epoch::{Taken, Trouble};
use super::redo::LogSource;
use super::server::{Server, blocking, stores};
use crate::options::{Fence, MasterError, VolumeOptions};

/// Records read at once.
const READ_MAX: usize = 256;
/// A log without repositories is one that is no longer than this: fewer records than any fleet has that is in use.
const EMPTY_LOG_MAX: u64 = 1000;

/// Where an epoch is going to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plan {
    /// To a tree of its own, that begins with what this one has; none, with nothing.
    Own(Option<u64>),
    /// To this one, on which it goes on.
    GoOn {
        tree: u64,
        /// This machine wrote to it since its boot, and nobody else.
        is_ours: bool,
    },
}

impl From<ReplicaError> for Trouble {
    fn from(error: ReplicaError) -> Trouble {
        Trouble::Passing(error.to_string())
    }
}

/// Decides, before the epoch is taken, where it is going to write, and fences off who held the last one where that is to be
/// done. `handed`: the lease names this server.
pub(crate) async fn prepare(
    server: &Server,
    options: &VolumeOptions,
    tail: Option<&Tail>,
    handed: bool,
) -> Result<Plan, Trouble> {
    let volume = Volume::new(options.path.clone());
    let trees = volume.trees()?;
    let (Some(&newest), Some(tail)) = (trees.last(), tail) else {
        return match trees.last() {
            None if is_empty(server, tail).await? => Ok(Plan::Own(None)),
            None => Err(Trouble::Passing(format!(
                "the volume {} has no tree, and the log has repositories: is it mounted? (An empty volume begins with a copy of another server's folder, called e0)",
                volume.dir().display()
            ))),
            Some(newest) => Err(lost(&volume, *newest, "the log is empty")),
        };
    };
    if newest > tail.epoch.get() {
        return Err(lost(&volume, newest, &format!("the log's newest epoch is {}", tail.epoch)));
    }
    let Some(note) = volume.note(newest)? else { return Ok(Plan::Own(Some(newest))) };
    check_note(server, &volume, newest, &note, tail).await?;
    // Where somebody has taken an epoch since and made no tree, nobody knows who else may still write to this one.
    if note.epoch != tail.epoch {
        return Ok(Plan::Own(Some(newest)));
    }
    if note.holder == server.name() {
        return Ok(match note.is_of(server.own.incarnation()) {
            true => Plan::GoOn { tree: newest, is_ours: true },
            false => Plan::Own(Some(newest)),
        });
    }
    let Some(fence) = options.fence.as_ref().filter(|_| !handed) else { return Ok(Plan::Own(Some(newest))) };
    let holder = note.holder;
    run(fence, &holder).await.map_err(|why| {
        Trouble::Passing(format!(
            "the epoch of {holder} has lapsed and is not taken: fence_command {} {why}",
            fence.command.join(" ")
        ))
    })?;
    tracing::warn!(holder, tree = newest, "fenced off; its tree is gone on in");
    Ok(Plan::GoOn { tree: newest, is_ours: false })
}

fn lost(volume: &Volume, tree: u64, why: &str) -> Trouble {
    Trouble::Passing(format!(
        "the volume {} has a tree e{tree}, and {why}. The log was restored or exchanged: nothing is appended to it until an operator says so (`hgfleet log rebuild`)",
        volume.dir().display()
    ))
}

/// Makes sure that the log is the one, and goes as far, as when the tree was begun.
async fn check_note(server: &Server, volume: &Volume, tree: u64, note: &TreeNote, tail: &Tail) -> Result<(), Trouble> {
    if note.log != server.log_id {
        return Err(lost(volume, tree, &format!("it is of log {}, and this is log {}", note.log, server.log_id)));
    }
    if note.sequence > tail.sequence {
        return Err(lost(volume, tree, &format!("the log ends before its record {}", note.sequence)));
    }
    match is_in_log(server.log.as_ref(), note.sequence, note.hash).await? {
        true => Ok(()),
        false => Err(lost(volume, tree, &format!("record {} is not the one that it began with", note.sequence))),
    }
}

/// Whether the log has this record, as far as it still has it.
async fn is_in_log(log: &dyn Log, sequence: Sequence, hash: ChainHash) -> Result<bool, LogError> {
    match again(|| log.read(sequence, 1)).await {
        Ok(records) => Ok(records.first().is_some_and(|record| record.chain_hash() == hash)),
        Err(LogError::Trimmed { .. }) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Whether the log never had a repository.
async fn is_empty(server: &Server, tail: Option<&Tail>) -> Result<bool, LogError> {
    let Some(tail) = tail else { return Ok(true) };
    if tail.sequence.get() > EMPTY_LOG_MAX || server.log.first().await? > Sequence::FIRST {
        return Ok(false);
    }
    let mut from = Some(Sequence::FIRST);
    while let Some(at) = from {
        let records = server.log.read(at, READ_MAX).await?;
        if records.iter().any(|record| record.store().is_some()) {
            return Ok(false);
        }
        from = records.last().and_then(|last| last.sequence.next());
    }
    Ok(true)
}

/// Runs the command with the server's name behind its arguments; `Err` says why it did not succeed.
async fn run(fence: &Fence, holder: &str) -> Result<(), String> {
    let Some((program, arguments)) = fence.command.split_first() else { return Err("is empty".to_owned()) };
    let mut command = tokio::process::Command::new(program);
    // What it says goes where this server's own log goes.
    command.args(arguments).arg(holder).stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
    tracing::warn!(holder, program, "fencing off");
    match tokio::time::timeout(fence.wait, command.status()).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(format!("failed: {status}")),
        Ok(Err(error)) => Err(format!("can't be run: {error}")),
        Err(_) => Err(format!("did not end within {} s", fence.wait.as_secs())),
    }
}

/// Opens the tree of an epoch that was taken, and makes it as the log says.
pub(crate) async fn open(
    server: &Server,
    options: &VolumeOptions,
    plan: Plan,
    taken: &Taken,
) -> Result<Arc<Replica>, MasterError> {
    let (epoch, tail) = (taken.epoch, taken.tail);
    let volume = Volume::new(options.path.clone());
    let note =
        TreeNote::new((server.log_id, epoch), (tail.sequence, tail.hash), server.name(), server.own.incarnation());
    let label = server.name().to_owned();
    let opened = blocking(move || {
        let replica = match plan {
            Plan::Own(from) => volume.begin(epoch.get(), from, &note).and_then(|dir| Replica::open_tree(&dir, &label)),
            Plan::GoOn { tree, is_ours } => {
                volume.go_on(tree, &note).and_then(|dir| Replica::continue_tree(&dir, &label, is_ours))
            }
        };
        replica.map(Arc::new).map_err(stores)
    });
    let replica = opened.await?;
    let log_failed = |error: LogError| MasterError::Log(error.to_string());
    if let Some(log) = replica.log().filter(|log| *log != server.log_id) {
        return Err(MasterError::Replica(format!(
            "the volume's newest tree is of log {log}, and this is log {}",
            server.log_id
        )));
    }
    if let Some((seen, hash)) = replica.seen()
        && (seen > tail.sequence || !is_in_log(server.log.as_ref(), seen, hash).await.map_err(log_failed)?)
    {
        return Err(MasterError::Replica(format!(
            "the volume's newest tree has record {seen}, and the log does not have that one: it was restored or exchanged"
        )));
    }
    let (recovering, mut source) = (replica.clone(), LogSource::new(server.log.clone()));
    blocking(move || {
        let recovery = recovering.recover(Some(tail.sequence), &mut |sequence| source.get(sequence)).map_err(stores)?;
        for (name, why) in &recovery.quarantined {
            tracing::error!(repository = %name, why, "in quarantine");
        }
        tracing::info!(?plan, redone = recovery.redone, "tree opened");
        Ok(())
    })
    .await?;
    bridge(server, &replica).await?;
    Ok(replica)
}

/// Goes on behind what the log no longer has, where the tree is older than that.
async fn bridge(server: &Server, replica: &Arc<Replica>) -> Result<(), MasterError> {
    let log = server.log.as_ref();
    let failed = |error: &dyn std::fmt::Display| MasterError::Log(error.to_string());
    let first = log.first().await.map_err(|error| failed(&error))?;
    if Sequence::after(replica.position()).is_none_or(|next| next >= first) {
        return Ok(());
    }
    let to = tail_before(log, first).await.map_err(|error| failed(&error))?;
    let stock = stock_at(log, server.log_id, &server.options.run, server.name(), replica, to.sequence).await;
    let stock = stock.map_err(|error| failed(&error))?;
    let (replica, id) = (replica.clone(), server.log_id);
    blocking(move || {
        let lacking = replica.jump(id, to, &stock.theirs, &|name| stock.later.contains(name)).map_err(stores)?;
        tracing::warn!(to = %to.sequence, lacking, by = stock.by, "the tree goes on from a later record; what is lacking is copied");
        Ok(())
    })
    .await
}

/// How the stores lie, for `status`.
pub(crate) fn summary(replica: &Replica) -> String {
    let elsewhere: usize = replica.in_older_trees().values().map(Vec::len).sum();
    let tree = replica.tree_name();
    match elsewhere {
        0 => format!("shared volume, tree {tree}"),
        some => format!("shared volume, tree {tree}; repositories in older ones: {some}"),
    }
}
