//! The write locks: one holder for each repository.
//!
//! A lock lives with its guard: dropped, it is free, so it is lost with the connection that holds it. Whoever waits gets it in the
//! order of asking. A token names it, with the epoch, so that what was prepared under another lock is refused.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hgfleet_log::{Epoch, RepositoryName};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::protocol::Token;

/// All locks of one master.
#[derive(Debug)]
pub(crate) struct Locks {
    epoch: Epoch,
    next: AtomicU64,
    repositories: Mutex<HashMap<RepositoryName, Arc<Semaphore>>>,
    /// Counts the locks that are held: one more than those.
    held: Arc<()>,
    closed: watch::Sender<bool>,
}

/// Why a lock is not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoLock {
    /// Somebody else holds it still.
    Held,
    /// The lease is being handed over.
    Closed,
}

/// A lock that is held.
#[derive(Debug)]
pub(crate) struct WriteLock {
    /// Of which repository.
    pub repository: RepositoryName,
    /// Its name.
    pub token: Token,
    _permit: OwnedSemaphorePermit,
    _held: Arc<()>,
    /// Held as long as this one.
    _other: Option<Box<WriteLock>>,
}

impl WriteLock {
    /// Holds another one as long as this.
    pub(crate) fn and(self, other: WriteLock) -> WriteLock {
        WriteLock { _other: Some(Box::new(other)), ..self }
    }
}

impl Locks {
    pub(crate) fn new(epoch: Epoch) -> Locks {
        Locks {
            epoch,
            next: AtomicU64::new(1),
            repositories: Mutex::default(),
            held: Arc::new(()),
            closed: watch::Sender::new(false),
        }
    }

    /// Gives no lock from now on; whoever waits for one waits no longer.
    pub(crate) fn close(&self) {
        self.closed.send_replace(true);
    }

    /// Gives locks again.
    pub(crate) fn open(&self) {
        self.closed.send_replace(false);
    }

    /// Whether no locks are given.
    pub(crate) fn are_closed(&self) -> bool {
        *self.closed.borrow()
    }

    /// How many are held.
    pub(crate) fn held(&self) -> usize {
        Arc::strong_count(&self.held) - 1
    }

    /// Waits for a lock, `wait` at most.
    pub(crate) async fn take(&self, repository: &RepositoryName, wait: Duration) -> Result<WriteLock, NoLock> {
        let semaphore = {
            let mut all = self.repositories.lock().unwrap_or_else(PoisonError::into_inner);
            // What nobody holds or waits for needs no entry: names that don't exist must not pile up.
            if all.len() >= 1024 {
                all.retain(|_, semaphore| Arc::strong_count(semaphore) > 1);
            }
            all.entry(repository.clone()).or_insert_with(|| Arc::new(Semaphore::new(1))).clone()
        };
        let mut closed = self.closed.subscribe();
        let permit = tokio::select! {
            permit = tokio::time::timeout(wait, semaphore.acquire_owned()) => {
                permit.ok().and_then(Result::ok).ok_or(NoLock::Held)?
            }
            _ = closed.wait_for(|closed| *closed) => return Err(NoLock::Closed),
        };
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let lock = WriteLock {
            repository: repository.clone(),
            token: Token { epoch: self.epoch.get(), number },
            _permit: permit,
            _held: self.held.clone(),
            _other: None,
        };
        // Looked at once the lock counts as held: either it is seen here, or whoever closes sees the lock.
        if self.are_closed() { Err(NoLock::Closed) } else { Ok(lock) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> RepositoryName {
        RepositoryName::parse(text).unwrap()
    }

    #[tokio::test]
    async fn one_holder_until_the_guard_is_dropped() {
        let locks = Locks::new(Epoch::new(3).unwrap());
        let wait = Duration::from_millis(50);
        let first = locks.take(&name("a"), wait).await.unwrap();
        assert_eq!(first.token.epoch, 3);
        assert_eq!(locks.take(&name("a"), wait).await.err(), Some(NoLock::Held));
        let other = locks.take(&name("b"), wait).await.unwrap();
        assert_ne!(first.token, other.token);
        drop(first);
        assert!(locks.take(&name("a"), wait).await.is_ok());
    }

    #[tokio::test]
    async fn closed_locks_send_who_waits_away_and_leave_those_that_are_held() {
        let locks = Locks::new(Epoch::FIRST);
        let held = locks.take(&name("a"), Duration::ZERO).await.unwrap();
        let (a, free) = (name("a"), name("b"));
        let waiting = locks.take(&a, Duration::from_secs(60));
        let (waited, ()) = tokio::join!(waiting, async {
            tokio::task::yield_now().await;
            locks.close();
        });
        assert_eq!(waited.err(), Some(NoLock::Closed));
        assert_eq!(locks.take(&free, Duration::ZERO).await.err(), Some(NoLock::Closed));
        assert_eq!(locks.held(), 1);
        drop(held);
        assert_eq!(locks.held(), 0);
        locks.open();
        assert!(locks.take(&a, Duration::ZERO).await.is_ok());
    }
}
