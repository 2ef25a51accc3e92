//! Reads all stores again, slowly, one after the other, for ever.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hgfleet_log::RepositoryName;
use hgfleet_replica::{ReplicaError, Scrubbed};

use crate::pace::Pace;
use crate::repair::Resync;

/// Where the rate follows from the time, it is at least this, in bytes a second.
const BYTES_PER_SECOND_MIN: u64 = 4 << 20;
/// How long one that could not be read to its end is left alone.
const AFTER_TROUBLE: Duration = Duration::from_secs(60);

/// Scrubs until the server ends.
pub(crate) fn run(resync: &Resync) {
    let options = &resync.options.scrub;
    if options.bytes_per_second == Some(0) {
        return;
    }
    let replica = resync.host().replica();
    let pace = Pace::default();
    let look_every = (options.every / 20).clamp(Duration::from_millis(200), Duration::from_secs(10));
    let mut troubled = HashMap::<RepositoryName, Instant>::new();
    while !resync.is_stopped() {
        troubled.retain(|_, since| since.elapsed() < AFTER_TROUBLE);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let is_due = |scrubbed: Option<u64>| {
            scrubbed.is_none_or(|at| now.saturating_sub(Duration::from_millis(at)) >= options.every)
        };
        let mut oldest = replica.scrubbed().into_iter().filter(|(name, _)| !troubled.contains_key(name));
        let Some((name, _)) = oldest.next().filter(|(_, scrubbed)| is_due(*scrubbed)) else {
            wait(resync, look_every);
            continue;
        };
        let rate = options.bytes_per_second.unwrap_or_else(|| {
            let seconds = options.every.as_secs_f64() * 0.8;
            BYTES_PER_SECOND_MIN.max((replica.store_bytes() as f64 / seconds.max(1.0)) as u64)
        });
        let scrubbed = replica.scrub(&name, &mut |bytes| pace.take(bytes, rate, &|| resync.is_stopped()));
        match scrubbed {
            Ok(Scrubbed::Whole(..)) => {}
            Ok(Scrubbed::Damaged(_)) => resync.wake(),
            Ok(Scrubbed::Ended) | Err(ReplicaError::NotFound(_) | ReplicaError::Quarantined { .. }) => {
                troubled.insert(name, Instant::now());
            }
            Err(ReplicaError::NotRecovered) => wait(resync, look_every),
            Err(error) => {
                tracing::error!(repository = name.as_str(), %error, "a repository could not be scrubbed");
                troubled.insert(name, Instant::now());
            }
        }
    }
}

fn wait(resync: &Resync, time: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < time && !resync.is_stopped() {
        std::thread::sleep(Duration::from_millis(50));
    }
}
