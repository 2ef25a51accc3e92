//! Reads all stores again, slowly, one after the other, for ever.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hgfleet_log::RepositoryName;
use hgfleet_replica::{ReplicaError, Scrubbed};

use crate::pace::Pace;
use crate::repair::Resync;

/// Where the rate follows from the time, it is at least this, in bytes a second.
const BYTES_PER_SECOND_MIN: u64 = 4 << 20;
/// What a repository counts for beside its bytes: its files are opened, and what was found is written down. So ten thousand
/// small ones that came at once take minutes, and nobody notices.
const REPOSITORY_BYTES: usize = 256 << 10;
/// How long one that could not be read to its end is left alone.
const AFTER_TROUBLE: Duration = Duration::from_secs(60);
/// The pause while what a crash may have torn is not redone yet.
const NOT_YET: Duration = Duration::from_millis(200);

/// Scrubs until the server ends.
pub(crate) fn run(resync: &Resync) {
    let options = &resync.options.scrub;
    if options.bytes_per_second == Some(0) {
        return;
    }
    let replica = resync.host().replica();
    let look_every = (options.every / 20).clamp(Duration::from_millis(200), Duration::from_secs(10));
    let mut scrub = Scrub { resync, pace: Pace::default(), rate: 0, troubled: HashMap::new() };
    while !resync.is_stopped() {
        scrub.troubled.retain(|_, since| since.elapsed() < AFTER_TROUBLE);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let is_due = |scrubbed: Option<u64>| {
            scrubbed.is_none_or(|at| now.saturating_sub(Duration::from_millis(at)) >= options.every)
        };
        let all = replica.scrubbed();
        scrub.rate = options.bytes_per_second.unwrap_or_else(|| {
            let bytes = replica.store_bytes() + (all.len() * REPOSITORY_BYTES) as u64;
            BYTES_PER_SECOND_MIN.max((bytes as f64 / (options.every.as_secs_f64() * 0.8).max(1.0)) as u64)
        });
        // All that are due, and not one after the other with a look at all before each.
        let due = all.into_iter().filter(|(name, at)| is_due(*at) && !scrub.troubled.contains_key(name));
        let due: Vec<RepositoryName> = due.map(|(name, _)| name).collect();
        if due.is_empty() {
            wait(resync, look_every);
        }
        for name in due.into_iter().take_while(|_| !resync.is_stopped()) {
            scrub.one(name);
        }
    }
}

/// What one round of it knows.
struct Scrub<'a> {
    resync: &'a Resync,
    pace: Pace,
    /// Bytes a second
    rate: u64,
    /// Those that could not be read to their end, and since when.
    troubled: HashMap<RepositoryName, Instant>,
}

impl Scrub<'_> {
    fn one(&mut self, name: RepositoryName) {
        let Scrub { resync, pace, rate, troubled } = self;
        let replica = resync.host().replica();
        let mut take = |bytes| pace.take(bytes, *rate, &|| resync.is_stopped());
        if !take(REPOSITORY_BYTES) {
            return;
        }
        match replica.scrub(&name, &mut take) {
            Ok(Scrubbed::Whole(..)) => {}
            Ok(Scrubbed::Damaged(_)) => resync.wake(),
            Ok(Scrubbed::Ended) | Err(ReplicaError::NotFound(_) | ReplicaError::Quarantined { .. }) => {
                troubled.insert(name, Instant::now());
            }
            Err(ReplicaError::NotRecovered) => wait(resync, NOT_YET),
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
