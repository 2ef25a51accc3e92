//! Handing the lease over in an orderly way.
//!
//! No new push gets a lock, those that run come to their end, then the lease names the standby, which takes the next epoch
//! at once. Sessions whose connections end here find the new master by themselves, so that no client sees any of it. Whatever goes
//! wrong on the way is taken back, and this server goes on as before.

use std::time::Duration;

use hgfleet_log::membership::SILENT_MS;
use hgfleet_log::{Member, Role, ServerState};
use tokio::time::{Instant, sleep};

use super::master::{Master, No};
use crate::clock::unix_ms;

/// How long pushes that run may take to end.
const PUSHES_WAIT: Duration = Duration::from_secs(15);
/// How long the standby may take to take the epoch.
const EPOCH_WAIT: Duration = Duration::from_secs(5);
/// How often to look.
const LOOK: Duration = Duration::from_millis(5);

/// A hand-over that was done.
#[derive(Debug)]
pub(crate) struct HandedOver {
    pub to: String,
    pub epoch: hgfleet_log::Epoch,
    pub took: Duration,
}

impl Master {
    /// Hands the lease to a standby: the named one, or the one that lags least.
    pub(crate) async fn hand_over(&self, to: Option<&str>) -> Result<HandedOver, No> {
        let to = self.standby(to).await?;
        let started = Instant::now();
        self.locks.close();
        let handed = self.hand_over_to(&to, started).await;
        if handed.is_err() {
            self.lease.take_back().await;
            if let Err(newer) = self.lease.renew().await {
                self.fate.fenced(newer);
            }
            self.locks.open();
        }
        handed
    }

    async fn hand_over_to(&self, to: &str, started: Instant) -> Result<HandedOver, No> {
        while self.locks.held() > 0 || !self.committer.is_idle() {
            if started.elapsed() > PUSHES_WAIT {
                return Err(No::refused(format!(
                    "the lease was not handed over to {to}: a push still runs after {} s. Try again when it has ended",
                    PUSHES_WAIT.as_secs()
                )));
            }
            sleep(LOOK).await;
        }
        let failed = |why: &dyn std::fmt::Display| {
            No::failed(format!("the lease was not handed over to {to}: {why}. This server is master as before"))
        };
        self.lease.give(to).await.map_err(|error| failed(&error))?;
        let given = Instant::now();
        loop {
            match self.lease.newer().await {
                Ok(Some(epoch)) => return Ok(HandedOver { to: to.to_owned(), epoch, took: started.elapsed() }),
                Ok(None) if given.elapsed() > EPOCH_WAIT => {
                    return Err(failed(&format!("it did not take it within {} s", EPOCH_WAIT.as_secs())));
                }
                Ok(None) => sleep(LOOK).await,
                Err(error) => return Err(failed(&error)),
            }
        }
    }

    /// The name of the standby that shall have the lease.
    async fn standby(&self, to: Option<&str>) -> Result<String, No> {
        if to == Some(self.name.as_str()) {
            return Err(No::refused(format!("{} is master already", self.name)));
        }
        let all = self.log.members().await.map_err(|error| No::failed(format!("the log can't be read: {error}")))?;
        let now = unix_ms();
        let ready = |member: &&Member| member.state == ServerState::InService && member.silent_ms(now) <= SILENT_MS;
        let mut standbys = all.iter().filter(|member| member.role == Role::Standby);
        let Some(to) = to else {
            let best = standbys.filter(ready).max_by_key(|member| member.position);
            return best.map(|member| member.name.clone()).ok_or_else(|| {
                No::refused(
                    "there is no standby that is in service. Start one (`hgfleet master --name NAME`, with a [[standby]] in the configuration)",
                )
            });
        };
        match standbys.find(|member| member.name == to) {
            Some(member) if ready(&member) => Ok(member.name.clone()),
            Some(member) if member.reason.is_empty() => {
                Err(No::refused(format!("{to} is {}, or was not heard of. Look at `hgfleet status`", member.state)))
            }
            Some(member) => Err(No::refused(format!("{to} is {}: {}", member.state, member.reason))),
            None => Err(No::refused(format!("no standby is called {to}. Look at `hgfleet status`"))),
        }
    }
}
