//! The way from one server to the log.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hgfleet_log::Refusal;
use tokio::time::{Instant, sleep};

use crate::world::Chance;

/// How long somebody waits for an answer that doesn't come.
const PATIENCE: Duration = Duration::from_secs(2);
/// So many of a thousand take a time that counts.
const SLOW: u64 = 250;

/// What goes wrong on the way, in cases of a thousand; nothing by default.
#[derive(Debug, Clone, Default)]
pub struct LinkFaults {
    /// Nothing gets through, either way.
    pub cut: bool,
    /// A question never arrives.
    pub questions_lost: u64,
    /// An answer never arrives.
    pub answers_lost: u64,
    /// An append arrives after its sender has given it up.
    pub appends_late: u64,
    /// An append is refused, for a reason of the log's own.
    pub appends_refused: u64,
    /// The longest time that each way takes.
    pub delay_max: Duration,
}

/// One server's way to the log.
#[derive(Debug)]
pub struct Link {
    state: Mutex<(LinkFaults, Chance)>,
    begun: Instant,
}

/// Why there was no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the log does not answer")]
pub struct LinkTrouble;

impl Link {
    /// A way on which nothing goes wrong yet.
    pub fn new(chance: Chance) -> Arc<Link> {
        Arc::new(Link { state: Mutex::new((LinkFaults::default(), chance)), begun: Instant::now() })
    }

    /// Sets what goes wrong from now on.
    pub fn set(&self, faults: LinkFaults) {
        self.state().0 = faults;
    }

    fn state(&self) -> MutexGuard<'_, (LinkFaults, Chance)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time, since this link was made.
    pub(super) fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    async fn way(&self, lost: impl FnOnce(&LinkFaults) -> u64) -> Result<(), LinkTrouble> {
        let (is_lost, delay) = {
            let (faults, chance) = &mut *self.state();
            let is_lost = faults.cut || chance.per_mille(lost(faults));
            let most = if chance.per_mille(SLOW) { faults.delay_max } else { Duration::ZERO };
            (is_lost, Duration::from_nanos(chance.below(most.as_nanos() as u64)))
        };
        if is_lost {
            self.give_up().await;
            return Err(LinkTrouble);
        }
        if !delay.is_zero() {
            sleep(delay).await;
        }
        Ok(())
    }

    /// A question's way.
    pub(super) async fn go(&self) -> Result<(), LinkTrouble> {
        self.way(|faults| faults.questions_lost).await
    }

    /// An answer's way.
    pub(super) async fn come(&self) -> Result<(), LinkTrouble> {
        self.way(|faults| faults.answers_lost).await
    }

    /// Waits as long as anybody does.
    pub(super) async fn give_up(&self) {
        sleep(PATIENCE).await;
    }

    /// Whether this append arrives too late, and when.
    pub(super) fn sends_late(&self) -> Option<Duration> {
        let (faults, chance) = &mut *self.state();
        if faults.cut || !chance.per_mille(faults.appends_late) {
            return None;
        }
        let late = Duration::from_millis(chance.below(2 * PATIENCE.as_millis() as u64 + 8_000));
        Some(self.begun.elapsed() + late)
    }

    /// Whether the log refuses this append for a reason of its own.
    pub(super) fn refuses_append(&self) -> Option<Refusal> {
        let (faults, chance) = &mut *self.state();
        let refused = chance.per_mille(faults.appends_refused);
        refused.then_some(Refusal::NoSpace { free: 0, needed: 1 })
    }
}
