//! The lease, and how this server is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hgfleet_log::{DiskUse, Epoch, LeaseError, Log, Member, Role, ServerState, boot_time};
use hgfleet_replica::Replica;

use super::fate::Fate;
use crate::clock::unix_ms;

/// Until when the master may answer reads.
#[derive(Debug)]
pub(crate) struct LeaseState {
    lease: Duration,
    /// When the last renewal that was answered was sent, nanoseconds of [`boot_time`].
    renewed: AtomicU64,
}

impl LeaseState {
    pub(crate) fn new(lease: Duration) -> LeaseState {
        let state = LeaseState { lease, renewed: AtomicU64::new(0) };
        state.renewed(boot_time());
        state
    }

    fn renewed(&self, sent: Duration) {
        self.renewed.store(sent.as_nanos() as u64, Ordering::Release);
    }

    /// Whether less than a lease time has gone since the last answered renewal was sent: nobody else can be master yet.
    pub(crate) fn may_read(&self) -> bool {
        let renewed = Duration::from_nanos(self.renewed.load(Ordering::Acquire));
        boot_time().saturating_sub(renewed) < self.lease
    }
}

/// What the heartbeat says of the server.
pub(crate) struct Itself {
    pub name: String,
    pub address: String,
    pub replica: Arc<Replica>,
}

/// Renews the lease and says how the master is, until the daemon ends.
pub(crate) async fn keep(
    log: Arc<dyn Log>,
    epoch: Epoch,
    counter: Option<u64>,
    state: Arc<LeaseState>,
    itself: Itself,
    fate: Fate,
) {
    let mut counter = counter;
    let pause = (state.lease / 4).clamp(Duration::from_millis(50), Duration::from_secs(1));
    loop {
        let sent = boot_time();
        match log.renew_lease(&itself.name, Some(epoch), counter).await {
            Ok(lease) => {
                counter = Some(lease.counter);
                state.renewed(sent);
            }
            Err(LeaseError::Lost { current }) => {
                // Somebody tries for the next epoch. Only their epoch record ends this one; until then the counter is taken back.
                tracing::warn!(
                    holder = current.as_ref().map(|lease| lease.holder.as_str()),
                    "the lease was renewed by another server"
                );
                counter = current.as_ref().map(|lease| lease.counter);
                if let Some(newer) = current.and_then(|lease| lease.epoch).filter(|other| *other > epoch) {
                    fate.fenced(newer);
                    return;
                }
            }
            Err(LeaseError::Log(error)) => tracing::error!(%error, "the lease could not be renewed"),
        }
        if let Err(error) = log.put_heartbeat(itself.member(&log).await).await {
            tracing::warn!(%error, "the heartbeat could not be written");
        }
        tokio::time::sleep(pause).await;
        if let Some(why) = log.failure() {
            // The next start finds out what the log holds.
            fate.failed(why);
        }
        if fate.has_ended() {
            return;
        }
    }
}

impl Itself {
    async fn member(&self, log: &Arc<dyn Log>) -> Member {
        let position = self.replica.position();
        let quarantined: Vec<String> = self
            .replica
            .repositories()
            .into_iter()
            .filter(|repository| repository.quarantine.is_some())
            .map(|repository| repository.name.to_string())
            .collect();
        Member {
            name: self.name.clone(),
            role: Role::Master,
            state: ServerState::InService,
            address: self.address.clone(),
            pid: std::process::id(),
            incarnation: Some(self.replica.incarnation()),
            // What the log has is durable for the master: it is the log's own disk.
            staged_position: log.end().await.ok().flatten().map(|tail| tail.sequence),
            position,
            lag_seconds: 0.0,
            reason: if quarantined.is_empty() {
                String::new()
            } else {
                format!("in quarantine: {}", quarantined.join(", "))
            },
            at_ms: unix_ms(),
            disk: DiskUse {
                log_bytes: log.disk_bytes().await.unwrap_or(0),
                staged_bytes: 0,
                store_bytes: self.replica.store_bytes(),
                free_bytes: self.replica.free_bytes().unwrap_or(0),
            },
        }
    }
}
