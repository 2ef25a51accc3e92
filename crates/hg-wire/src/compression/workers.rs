//! How many threads compress, in the whole process: as many as there are cores, whoever takes them first, and two
//! where there is one core. zstd gives a worker its next job once it sleeps. With a single worker it asks for that again and again, without
//! a pause, so that on a single core the worker can't get there before the kernel takes the core away from who asks.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Threads that one stream may have.
const STREAM_WORKERS_MAX: u32 = 4;
/// Threads of the process, however few its cores.
const WORKERS_MIN: u32 = 2;

static TAKEN: AtomicU32 = AtomicU32::new(0);

/// The right to so many threads, perhaps to none; given back when dropped.
pub(super) struct Workers(u32);

impl Workers {
    /// Takes those that are free, up to what a stream may have.
    pub(super) fn take() -> Workers {
        let mut count = 0;
        // Nothing else depends on the order.
        let _ = TAKEN.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
            count = all().saturating_sub(taken).min(STREAM_WORKERS_MAX);
            Some(taken + count)
        });
        Workers(count)
    }

    pub(super) fn count(&self) -> u32 {
        self.0
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        TAKEN.fetch_sub(self.0, Ordering::Relaxed);
    }
}

/// How many there are, taken or not.
fn all() -> u32 {
    static ALL: OnceLock<u32> = OnceLock::new();
    *ALL.get_or_init(|| std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32).max(WORKERS_MIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_streams_together_share_the_workers() {
        let taken: Vec<Workers> = (0..40).map(|_| Workers::take()).collect();
        let count = |taken: &[Workers]| taken.iter().map(Workers::count).sum::<u32>();
        // Another test's stream may hold some.
        assert!(count(&taken) <= all());
        assert_eq!(taken.last().map(Workers::count), Some(0));
        assert!(taken.iter().all(|workers| workers.count() <= STREAM_WORKERS_MAX));
    }
}
