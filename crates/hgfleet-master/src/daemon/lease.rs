//! The lease: the holder's sign of life, given to another in an orderly hand-over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hgfleet_log::{Epoch, Lease, LeaseError, LogError, Role, ServerState, boot_time};
use tokio::sync::Mutex;

use super::epoch::Taken;
use super::fate::Fate;
use super::server::Server;

/// How often a renewal is tried again at once, where somebody else came between.
const TRIES_MAX: u32 = 3;

/// This server's lease, in one epoch.
pub(crate) struct HeldLease {
    server: Arc<Server>,
    epoch: Epoch,
    /// When the last renewal that was answered was sent, nanoseconds of [`boot_time`].
    renewed: AtomicU64,
    /// It names another server.
    given: AtomicBool,
    counter: Mutex<Option<u64>>,
}

impl HeldLease {
    pub(crate) fn new(server: Arc<Server>, taken: &Taken) -> HeldLease {
        let renewed = AtomicU64::new(taken.since.as_nanos() as u64);
        HeldLease { server, epoch: taken.epoch, renewed, given: false.into(), counter: Mutex::new(taken.counter) }
    }

    /// Whether less than a lease time has gone since the last answered renewal was sent: nobody else can be master yet.
    pub(crate) fn may_read(&self) -> bool {
        let renewed = Duration::from_nanos(self.renewed.load(Ordering::Acquire));
        !self.given.load(Ordering::Acquire) && boot_time().saturating_sub(renewed) < self.server.options.lease
    }

    /// Gives a sign of life. `Err`: a newer epoch has begun.
    pub(crate) async fn renew(&self) -> Result<(), Epoch> {
        let mut counter = self.counter.lock().await;
        if self.given.load(Ordering::Acquire) {
            return Ok(());
        }
        for _ in 0..TRIES_MAX {
            let sent = boot_time();
            match self.write(self.server.name(), *counter).await {
                Ok(lease) => {
                    *counter = Some(lease.counter);
                    self.renewed.store(sent.as_nanos() as u64, Ordering::Release);
                    return Ok(());
                }
                Err(LeaseError::Lost { current }) => {
                    // Only a newer epoch ends this one; until then the counter is taken back.
                    *counter = current.as_ref().map(|lease| lease.counter);
                    let newer = current.as_ref().and_then(|lease| lease.epoch).filter(|other| *other > self.epoch);
                    tracing::warn!(
                        holder = current.as_ref().map(|lease| lease.holder.as_str()),
                        "the lease was renewed by another server"
                    );
                    if let Some(newer) = newer {
                        return Err(newer);
                    }
                }
                Err(LeaseError::Log(error)) => {
                    tracing::error!(%error, "the lease could not be renewed");
                    break;
                }
            }
        }
        Ok(())
    }

    /// Names another server, which may take the next epoch at once. From here on nothing is read or renewed here.
    pub(crate) async fn give(&self, to: &str) -> Result<(), LeaseError> {
        let mut counter = self.counter.lock().await;
        self.given.store(true, Ordering::Release);
        match self.write(to, *counter).await {
            Ok(lease) => {
                *counter = Some(lease.counter);
                Ok(())
            }
            Err(error) => {
                self.given.store(false, Ordering::Release);
                Err(error)
            }
        }
    }

    /// The other one did not take it.
    pub(crate) async fn take_back(&self) {
        let _counter = self.counter.lock().await;
        self.given.store(false, Ordering::Release);
    }

    async fn write(&self, holder: &str, counter: Option<u64>) -> Result<Lease, LeaseError> {
        self.server.log.renew_lease(holder, Some(self.epoch), counter).await
    }

    /// Whether the log has a newer epoch.
    pub(crate) async fn newer(&self) -> Result<Option<Epoch>, LogError> {
        let newest = self.server.log.end().await?.map(|tail| tail.epoch);
        Ok(newest.filter(|newest| *newest > self.epoch))
    }
}

/// Renews the lease and says how the master is, until its term ends.
pub(crate) async fn keep(lease: Arc<HeldLease>, fate: Fate) {
    let server = &lease.server;
    let pause = (server.options.lease / 4).clamp(Duration::from_millis(50), Duration::from_secs(1));
    loop {
        if let Err(newer) = lease.renew().await {
            fate.fenced(newer);
            return;
        }
        let member = server.member(Role::Master, ServerState::InService, String::new(), Duration::ZERO).await;
        if let Err(error) = server.log.put_heartbeat(member).await {
            tracing::warn!(%error, "the heartbeat could not be written");
        }
        tokio::time::sleep(pause).await;
        if let Some(why) = server.log.failure() {
            // The next start finds out what the log holds.
            fate.failed(why);
        }
        if fate.has_ended() {
            return;
        }
    }
}
