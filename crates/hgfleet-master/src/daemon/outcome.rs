//! What became of a push, as the log says.

use hgfleet_log::{Body, Log, LogError, RecordId, Sequence};

use crate::protocol::Settled;

/// Looks a push up that was handed over to a master of this epoch.
///
/// Once a newer epoch has begun, nothing of the older one can still arrive: what is not there never will be. Where some of that
/// epoch's records were trimmed, what is not there may have been among them, and stays open.
pub(crate) async fn settled(log: &dyn Log, id: &RecordId, epoch: u64) -> Result<Settled, LogError> {
    // Read before the record is looked for, so that it can't come between.
    let newest = log.end().await?.map_or(0, |tail| tail.epoch.get());
    Ok(match log.find(id).await? {
        Some(record) => Settled::Stored(record.sequence.get()),
        // Read after it was looked for, so that it can't be trimmed between.
        None if newest > epoch && has_all_of(log, epoch).await? => Settled::NotStored,
        None => Settled::Pending,
    })
}

/// Whether no record of this epoch was trimmed.
async fn has_all_of(log: &dyn Log, epoch: u64) -> Result<bool, LogError> {
    let first = log.first().await?;
    if first == Sequence::FIRST {
        return Ok(true);
    }
    let oldest = match log.read(first, 1).await {
        Err(LogError::Trimmed { .. }) => return Ok(false),
        read => read?,
    };
    Ok(oldest.first().is_some_and(|record| {
        let begins = matches!(record.body, Body::Epoch { .. });
        record.epoch.get() < epoch || (begins && record.epoch.get() == epoch)
    }))
}

#[cfg(test)]
mod tests {
    use hgfleet_log::{Draft, EmbeddedLog, Epoch, Payload, Tail};

    use super::*;

    #[tokio::test]
    async fn what_may_have_been_trimmed_stays_open() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = EmbeddedLog::open_master(folder.path()).expect("a log");
        let id = |number| RecordId::from_bytes([number; 16]);
        let body = |begins: bool| if begins { Body::Epoch { holder: "master".to_owned() } } else { Body::Empty };
        // Sequences 1 to 6: an epoch begins, and has one more record.
        for number in 1..=6u8 {
            let tail = log.end().await.expect("read").as_ref().map(|tail: &Tail| *tail);
            let epoch = Epoch::new(u64::from(number).div_ceil(2)).expect("an epoch");
            let draft = Draft::following(tail.as_ref(), epoch, id(number), 0, body(number % 2 == 1));
            log.append(draft, Payload::Empty).await.expect("appended");
        }
        let lost = id(99);
        assert_eq!(settled(&log, &id(2), 1).await.expect("read"), Settled::Stored(2));
        assert_eq!(settled(&log, &lost, 1).await.expect("read"), Settled::NotStored);
        assert_eq!(settled(&log, &lost, 3).await.expect("read"), Settled::Pending, "its epoch has not ended");
        log.trim(Sequence::new(2).expect("a sequence")).await.expect("trimmed");
        assert_eq!(settled(&log, &id(2), 1).await.expect("read"), Settled::Pending, "it was stored");
        assert_eq!(settled(&log, &lost, 2).await.expect("read"), Settled::NotStored, "all of its epoch is there");
        log.trim(Sequence::new(3).expect("a sequence")).await.expect("trimmed");
        assert_eq!(settled(&log, &lost, 2).await.expect("read"), Settled::Pending);
    }
}
