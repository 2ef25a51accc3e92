//! So many bytes in a second, and no more.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Longest single pause, so that whoever wants to stop is heard.
const PAUSE_MAX: Duration = Duration::from_millis(200);
/// What may come at once after a pause.
const BURST: Duration = Duration::from_millis(100);

/// Shared by all who read or take bytes under one limit.
#[derive(Debug, Default)]
pub(crate) struct Pace(Mutex<Option<Instant>>);

impl Pace {
    /// Takes `bytes` from what `bytes_per_second` allows (0: anything), and waits until they are due; `false` where
    /// `stopped` says that nobody waits any more.
    pub(crate) fn take(&self, bytes: usize, bytes_per_second: u64, stopped: &dyn Fn() -> bool) -> bool {
        if bytes_per_second == 0 {
            return !stopped();
        }
        let due = {
            let mut next = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let due = next.unwrap_or(now).max(now.checked_sub(BURST).unwrap_or(now));
            *next = Some(due + Duration::from_secs_f64(bytes as f64 / bytes_per_second as f64));
            due
        };
        loop {
            if stopped() {
                return false;
            }
            match due.checked_duration_since(Instant::now()) {
                Some(left) if !left.is_zero() => std::thread::sleep(left.min(PAUSE_MAX)),
                _ => return true,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_allowed_and_a_stop_is_heard() {
        let pace = Pace::default();
        let begun = Instant::now();
        for _ in 0..4 {
            assert!(pace.take(100_000, 1_000_000, &|| false));
        }
        assert!(begun.elapsed() >= Duration::from_millis(190), "{:?}", begun.elapsed());
        assert!(pace.take(1 << 30, 1, &|| false));
        assert!(!pace.take(1, 1, &|| true));
        assert!(pace.take(usize::MAX, 0, &|| false));
    }
}
