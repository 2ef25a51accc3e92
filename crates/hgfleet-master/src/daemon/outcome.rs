//! What became of a push, as the log says.

use hgfleet_log::{Log, LogError, RecordId};

use crate::protocol::Settled;

/// Looks a push up that was handed over to a master of this epoch.
///
/// Once a newer epoch has begun, nothing of the older one can still arrive: what is not there never will be.
pub(crate) async fn settled(log: &dyn Log, id: &RecordId, epoch: u64) -> Result<Settled, LogError> {
    // Read before the record is looked for, so that it can't come between.
    let newest = log.end().await?.map_or(0, |tail| tail.epoch.get());
    Ok(match log.find(id).await? {
        Some(record) => Settled::Stored(record.sequence.get()),
        None if newest > epoch => Settled::NotStored,
        None => Settled::Pending,
    })
}
