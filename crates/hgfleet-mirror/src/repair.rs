//! Repositories in quarantine are tried again: what kept them from being applied, a full disk above
//! all, often passes.

use std::sync::Arc;
use std::time::Duration;

use hgfleet_replica::{Outcome, Replica};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::follow::Standing;
use crate::recover::Records;
use crate::show::Showing;
use crate::staging::Staging;

const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Tries again for ever, with growing pauses while nothing comes of it.
pub(crate) async fn run(replica: Arc<Replica>, staging: Arc<Staging>, showing: Arc<Showing>, standing: Arc<Standing>) {
    let mut pause = FIRST_PAUSE;
    loop {
        sleep(pause).await;
        let records = Records::new(staging.clone(), standing.log(), Handle::current());
        let (replica, showing) = (replica.clone(), showing.clone());
        let tried = spawn_blocking(move || try_all(&replica, &records, &showing)).await;
        pause = match tried {
            Ok((0, _)) => FIRST_PAUSE,
            Ok((_, back)) if back > 0 => FIRST_PAUSE,
            Ok(_) => (pause * 2).min(LONGEST_PAUSE),
            Err(error) => {
                tracing::error!(%error, "trying a repository in quarantine again has failed");
                LONGEST_PAUSE
            }
        };
    }
}

/// Returns how many were tried, and how many of them are back.
fn try_all(replica: &Replica, records: &Records, showing: &Showing) -> (usize, usize) {
    let all = replica.repositories();
    let (mut tried, mut back) = (0, 0);
    for one in all.iter().filter(|one| one.quarantine.is_some()) {
        tried += 1;
        let repository = one.name.as_str();
        match replica.retry(&one.name, showing.position(), &mut |sequence| records.get(sequence)) {
            Ok(Outcome::Quarantined(reason)) => tracing::warn!(repository, reason, "still in quarantine"),
            Ok(_) => {
                tracing::info!(repository, "back from quarantine");
                back += 1;
            }
            Err(error) => tracing::error!(repository, %error, "a repository could not be tried again"),
        }
    }
    (tried, back)
}
