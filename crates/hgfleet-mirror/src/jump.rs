//! The log no longer has the record that this mirror needs next: it goes on from the first one that there is, and what
//! it lacks up to there is copied from another server.

use std::collections::BTreeSet;
use std::time::Duration;

use hgfleet_log::{Body, Epoch, Log, LogError, LogId, Sequence, Tail};
use hgfleet_replica::Theirs;
use hgfleet_resync::peers;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use crate::follow::{Following, Trouble};

/// How long what is staged may take to be applied.
const APPLY_WAIT: Duration = Duration::from_secs(60);

impl Following {
    /// Goes on behind the record before `first`, the oldest one that can be read.
    pub(crate) async fn jump(&self, log: &dyn Log, found: LogId, first: Sequence) -> Result<Tail, Trouble> {
        let to = tail_before(log, first).await?;
        tracing::warn!(from = self.replica.position().map(Sequence::get), to = %to.sequence, "records are gone from the log");
        // What is here is brought to its end first: then no repository is between two records.
        let visible = log.view().await?.and_then(|view| view.visible);
        self.showing.hear(visible.max(Some(to.sequence)));
        let staged = self.showing.staged();
        let deadline = Instant::now() + APPLY_WAIT;
        while self.replica.position() < staged {
            if Instant::now() > deadline {
                return Err(Trouble::Gap { first, why: "what is staged can't be applied".to_owned() });
            }
            sleep(Duration::from_millis(20)).await;
        }
        let run = self.run.clone();
        let runtime = Handle::current();
        let asked = spawn_blocking(move || peers(&run, &runtime)).await;
        let servers = asked.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()));
        let good = servers.into_iter().find(|(peer, answer)| {
            peer.name() != self.name && answer.log == Some(found) && answer.position >= Some(to.sequence)
        });
        let Some((peer, answer)) = good else {
            let why = format!("no other server answers that has the log up to {}", to.sequence);
            return Err(Trouble::Gap { first, why });
        };
        let theirs: Vec<Theirs> = answer
            .repositories
            .into_iter()
            .map(|one| Theirs { name: one.name, created: one.created, sequence: one.sequence })
            .collect();
        let names: BTreeSet<_> = theirs.iter().map(|one| one.name.clone()).collect();
        let mut later = BTreeSet::new();
        for ours in self.replica.repositories().into_iter().filter(|one| !names.contains(&one.name)) {
            // Deleted there; by a record that comes here as well, or by one that is gone.
            if log.last_of(&ours.name).await?.is_some_and(|record| record.sequence > to.sequence) {
                later.insert(ours.name);
            }
        }
        let (replica, staging) = (self.replica.clone(), self.staging.clone());
        let jumped = spawn_blocking(move || {
            replica.sync()?;
            let lacking = replica.jump(found, to, &theirs, &|name| later.contains(name))?;
            staging.reset()?;
            Ok::<_, Trouble>(lacking)
        });
        let lacking = jumped.await.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))?;
        tracing::warn!(to = %to.sequence, lacking, by = peer.name(), "going on from a later record; what is lacking is copied");
        self.showing.jump(to.sequence);
        self.resync.wake();
        Ok(to)
    }
}

/// Returns where the log ended before `first`, as that record itself says.
pub(crate) async fn tail_before(log: &dyn Log, first: Sequence) -> Result<Tail, Trouble> {
    let gap = |why: &str| Trouble::Gap { first, why: why.to_owned() };
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
        Body::Empty | Body::Store(_) => Some(record.epoch),
    };
    let epoch = epoch.ok_or_else(|| gap("it is the first of all epochs"))?;
    Ok(Tail { sequence: before, hash: record.previous, epoch })
}
