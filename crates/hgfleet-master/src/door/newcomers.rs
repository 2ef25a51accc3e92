//! Connections that have not logged in yet, of all sources together.
//!
//! An honest login takes well below a second, unless somebody has to type a passphrase. So when there are too many, the one that has
//! waited longest makes room, and a flood of silent connections keeps nobody out for longer than it takes them to grow old.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

/// Nobody makes room who is younger.
const SPARED: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Newcomers {
    bound: usize,
    spared: Duration,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    next: u64,
    /// The oldest first.
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    since: Instant,
    oust: oneshot::Sender<()>,
}

/// One that waits, until it is dropped.
#[derive(Debug)]
pub(super) struct Newcomer {
    newcomers: Arc<Newcomers>,
    number: u64,
}

impl Newcomers {
    pub(super) fn new(bound: usize) -> Arc<Newcomers> {
        Arc::new(Newcomers { bound, spared: SPARED, queue: Mutex::default() })
    }

    /// One more, and what tells it that it has to make room. `None` where there is no room, and nobody who could make it.
    pub(super) fn enter(self: &Arc<Self>, now: Instant) -> Option<(Newcomer, oneshot::Receiver<()>)> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.waiting.len() >= self.bound {
            let oldest = queue.waiting.front()?;
            if now.saturating_duration_since(oldest.since) < self.spared {
                return None;
            }
            if let Some(oldest) = queue.waiting.pop_front() {
                let _ = oldest.oust.send(());
            }
        }
        let number = queue.next;
        queue.next += 1;
        let (oust, ousted) = oneshot::channel();
        queue.waiting.push_back(Waiting { number, since: now, oust });
        Some((Newcomer { newcomers: self.clone(), number }, ousted))
    }
}

impl Drop for Newcomer {
    fn drop(&mut self) {
        let mut queue = self.newcomers.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(at) = queue.waiting.binary_search_by_key(&self.number, |waiting| waiting.number) {
            queue.waiting.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_makes_room_and_nobody_young_does() {
        let newcomers = Newcomers::new(2);
        let start = Instant::now();
        let (_one, mut one) = newcomers.enter(start).unwrap();
        let (two, mut two_is_told) = newcomers.enter(start + Duration::from_secs(1)).unwrap();
        assert!(newcomers.enter(start + SPARED / 2).is_none());
        let (_three, _) = newcomers.enter(start + SPARED).unwrap();
        assert!(one.try_recv().is_ok(), "the first was told");
        assert!(two_is_told.try_recv().is_err());
        assert!(newcomers.enter(start + SPARED).is_none(), "the next is too young");
        drop(two);
        assert!(newcomers.enter(start + SPARED).is_some(), "who has logged in takes no room");
    }
}
