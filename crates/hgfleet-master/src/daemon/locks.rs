//! The write locks: one holder for each repository.
//!
//! A lock lives with its guard: dropped, it is free, so it is lost with the connection that holds it. Whoever waits gets it in the
//! order of asking. A token names it, with the epoch, so that what was prepared under another lock is refused.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hgfleet_log::{Epoch, RepositoryName};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::protocol::Token;

/// All locks of one master.
#[derive(Debug)]
pub(crate) struct Locks {
    epoch: Epoch,
    next: AtomicU64,
    repositories: Mutex<HashMap<RepositoryName, Arc<Semaphore>>>,
}

/// A lock that is held.
#[derive(Debug)]
pub(crate) struct WriteLock {
    /// Of which repository.
    pub repository: RepositoryName,
    /// Its name.
    pub token: Token,
    _permit: OwnedSemaphorePermit,
}

impl Locks {
    pub(crate) fn new(epoch: Epoch) -> Locks {
        Locks { epoch, next: AtomicU64::new(1), repositories: Mutex::default() }
    }

    /// Waits for a lock, `wait` at most. `None`: somebody else holds it still.
    pub(crate) async fn take(&self, repository: &RepositoryName, wait: Duration) -> Option<WriteLock> {
        let semaphore = {
            let mut all = self.repositories.lock().unwrap_or_else(PoisonError::into_inner);
            // What nobody holds or waits for needs no entry: names that don't exist must not pile up.
            if all.len() >= 1024 {
                all.retain(|_, semaphore| Arc::strong_count(semaphore) > 1);
            }
            all.entry(repository.clone()).or_insert_with(|| Arc::new(Semaphore::new(1))).clone()
        };
        let permit = tokio::time::timeout(wait, semaphore.acquire_owned()).await.ok()?.ok()?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        Some(WriteLock {
            repository: repository.clone(),
            token: Token { epoch: self.epoch.get(), number },
            _permit: permit,
        })
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
        assert!(locks.take(&name("a"), wait).await.is_none());
        let other = locks.take(&name("b"), wait).await.unwrap();
        assert_ne!(first.token, other.token);
        drop(first);
        assert!(locks.take(&name("a"), wait).await.is_some());
    }
}
