//! A bound for a listener's connections, by which those that only rest make room for those that come.
//!
//! Thousands of clients that connect and say nothing would else keep everybody out until a time limit cuts them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};

/// How long a connection must have rested, once places are scarce, before it is asked to go. A client that connects and asks at once
/// is faster.
const REST: Duration = Duration::from_secs(1);
/// Between two calls to go, while places stay scarce.
const BETWEEN_CALLS: Duration = Duration::from_millis(250);

/// The places of one listener.
#[derive(Debug)]
pub struct Places {
    free: Arc<Semaphore>,
    count: u32,
    /// With fewer free than these, resting connections are asked to go.
    few: usize,
    scarce: watch::Sender<()>,
}

impl Places {
    /// As many places, for as many connections at a time.
    pub fn new(count: u32) -> Places {
        let count = count.min(Semaphore::MAX_PERMITS as u32);
        let free = Arc::new(Semaphore::new(count as usize));
        Places { free, count, few: count as usize / 8, scarce: watch::Sender::new(()) }
    }

    /// Waits for a place.
    pub async fn take(&self) -> Place {
        loop {
            if self.free.available_permits() <= self.few {
                self.scarce.send_replace(());
            }
            let taken = self.free.clone().acquire_owned();
            if let Ok(Ok(permit)) = timeout(BETWEEN_CALLS, taken).await {
                return Place { _permit: permit, scarce: self.scarce.subscribe(), requests: Requests::default() };
            }
        }
    }

    /// Waits until all places are free.
    pub async fn all_free(&self) {
        drop(self.free.acquire_many(self.count).await);
    }
}

/// How many requests of a connection have begun.
#[derive(Debug, Clone, Default)]
pub struct Requests(Arc<AtomicU64>);

impl Requests {
    /// Counts one more.
    pub fn begin(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn begun(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The place of one connection; free again when it is dropped.
#[derive(Debug)]
pub struct Place {
    _permit: OwnedSemaphorePermit,
    scarce: watch::Receiver<()>,
    requests: Requests,
}

impl Place {
    /// Returns the count that the connection's requests are added to.
    pub fn requests(&self) -> Requests {
        self.requests.clone()
    }

    /// Waits until places are scarce and no request has begun on this connection for a second; whether there was one before. That may
    /// still run: it is the connection's last.
    pub async fn wanted(&mut self) -> bool {
        loop {
            if self.scarce.changed().await.is_err() {
                // The listener is gone: nobody wants a place.
                std::future::pending().await
            }
            let begun = self.requests.begun();
            sleep(REST).await;
            if self.requests.begun() == begun {
                return begun > 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;

    #[tokio::test]
    async fn who_rests_makes_room_and_who_asks_stays() {
        let places = Places::new(8);
        let mut taken = Vec::new();
        for _ in 0..8 {
            taken.push(places.take().await);
        }
        let (mut rests, mut asks) = (taken.pop().expect("eight"), taken.pop().expect("eight"));
        let requests = asks.requests();
        let asking = async {
            loop {
                requests.begin();
                sleep(REST / 2).await;
            }
        };
        let ninth = async {
            let mut asks = pin!(asks.wanted());
            let mut asking = pin!(asking);
            let mut ninth = pin!(places.take());
            tokio::select! {
                any = rests.wanted() => assert!(!any),
                _ = &mut ninth => panic!("a place that nobody gave"),
                _ = &mut asks => panic!("a busy connection was asked to go"),
                () = &mut asking => {}
            }
            drop(rests);
            ninth.await
        };
        timeout(Duration::from_secs(30), ninth).await.expect("room was made");
        assert!(requests.begun() > 0);
    }

    #[tokio::test]
    async fn with_room_nobody_is_asked_to_go() {
        let places = Places::new(80);
        let mut first = places.take().await;
        let _others: Vec<Place> = vec![places.take().await, places.take().await];
        assert!(timeout(REST * 2, first.wanted()).await.is_err());
    }
}
