//! The log no longer has the record that this mirror needs next: it goes on from the first one that there is, and what
//! it lacks up to there is copied from another server.

use std::time::Duration;

use hgfleet_log::{Log, LogId, Sequence, Tail};
use hgfleet_resync::{GapError, Stock, stock_at, tail_before};
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
                return Err(GapError::Gap { first, why: "what is staged can't be applied".to_owned() }.into());
            }
            sleep(Duration::from_millis(20)).await;
        }
        let stock = stock_at(log, found, &self.run, &self.name, &self.replica, to.sequence).await?;
        let Stock { by, theirs, later } = stock;
        let (replica, staging) = (self.replica.clone(), self.staging.clone());
        let jumped = spawn_blocking(move || {
            replica.sync()?;
            let lacking = replica.jump(found, to, &theirs, &|name| later.contains(name))?;
            staging.reset()?;
            Ok::<_, Trouble>(lacking)
        });
        let lacking = jumped.await.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))?;
        tracing::warn!(to = %to.sequence, lacking, by, "going on from a later record; what is lacking is copied");
        self.showing.jump(to.sequence);
        self.resync.wake();
        Ok(to)
    }
}
