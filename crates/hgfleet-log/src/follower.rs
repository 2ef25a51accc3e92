//! Reading a log and believing nothing.

use crate::ids::{ChainHash, Epoch, LogId, Sequence};
use crate::log::Tail;
use crate::record::{Body, Record};

/// Checks that each record is the one that follows: identity, place, chain, epoch.
///
/// After the first record that doesn't follow it accepts nothing more: a server whose follower has stopped
/// keeps what it has, says so, and is repaired by reading that stretch again or by a resync.
#[derive(Clone, Debug)]
pub struct Follower {
    log: LogId,
    at: Option<Tail>,
    stopped: Option<Divergence>,
}

/// Where and why a log could not be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Divergence {
    /// The record belongs to another log.
    #[error("record {sequence} belongs to log {found}, and this server follows log {expected}")]
    OtherLog {
        /// Which record.
        sequence: Sequence,
        /// The log that is followed.
        expected: LogId,
        /// The log that the record names.
        found: LogId,
    },
    /// A record is missing, or came twice, or out of order.
    #[error("record {found} came directly after record {after}")]
    Order {
        /// The last one before; 0 where there was none.
        after: u64,
        /// What came.
        found: Sequence,
    },
    /// It holds another hash than that of the record before it.
    #[error("record {sequence} does not follow on the record before it: broken chain")]
    Chain {
        /// Which record.
        sequence: Sequence,
        /// The hash of the record before it.
        expected: ChainHash,
        /// The hash that it holds.
        found: ChainHash,
    },
    /// It is of an epoch that has ended, or that no epoch record began.
    #[error("record {sequence} is of epoch {found} after epoch {newest}")]
    Epoch {
        /// Which record.
        sequence: Sequence,
        /// The newest epoch before it; 0 where there was none.
        newest: u64,
        /// Its epoch.
        found: Epoch,
    },
}

impl Follower {
    /// Returns a follower of this log that has everything up to `at`.
    pub fn new(log: LogId, at: Option<Tail>) -> Follower {
        Follower { log, at, stopped: None }
    }

    /// Returns the last record that it accepted.
    pub fn at(&self) -> Option<&Tail> {
        self.at.as_ref()
    }

    /// Returns the sequence that is due next.
    pub fn due(&self) -> Option<Sequence> {
        Sequence::after(self.at.map(|at| at.sequence))
    }

    /// Accepts the next record.
    ///
    /// # Errors
    /// Says at which sequence and why it doesn't follow; from then on every record is refused so.
    pub fn accept(&mut self, record: &Record) -> Result<(), Divergence> {
        if let Some(stopped) = self.stopped {
            return Err(stopped);
        }
        match self.check(record) {
            Ok(()) => {
                self.at = Some(Tail::of(record));
                Ok(())
            }
            Err(divergence) => {
                self.stopped = Some(divergence);
                Err(divergence)
            }
        }
    }

    fn check(&self, record: &Record) -> Result<(), Divergence> {
        let sequence = record.sequence;
        if record.log != self.log {
            return Err(Divergence::OtherLog { sequence, expected: self.log, found: record.log });
        }
        if self.due() != Some(sequence) {
            return Err(Divergence::Order { after: self.at.map_or(0, |at| at.sequence.get()), found: sequence });
        }
        let expected = self.at.map_or(ChainHash::NONE, |at| at.hash);
        if record.previous != expected {
            return Err(Divergence::Chain { sequence, expected, found: record.previous });
        }
        let newest = self.at.map(|at| at.epoch);
        let due = match record.body {
            Body::Epoch { .. } => Epoch::after(newest),
            Body::Empty | Body::Store(_) | Body::Purge { .. } => newest,
        };
        if due != Some(record.epoch) {
            let newest = newest.map_or(0, Epoch::get);
            return Err(Divergence::Epoch { sequence, newest, found: record.epoch });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::RecordId;
    use crate::log::Draft;

    const LOG: LogId = LogId::from_bytes([3; 16]);

    fn append(log: &mut Vec<Record>, epoch: u64, body: Body) {
        let tail = log.last().map(Tail::of);
        let id = RecordId::from_bytes([log.len() as u8; 16]);
        let epoch = Epoch::new(epoch).expect("epoch");
        log.push(Draft::following(tail.as_ref(), epoch, id, 0, body).seal(LOG).expect("record"));
    }

    fn epoch_body() -> Body {
        Body::Epoch { holder: "master".to_owned() }
    }

    fn log() -> Vec<Record> {
        let mut log = Vec::new();
        append(&mut log, 1, epoch_body());
        append(&mut log, 1, Body::Empty);
        append(&mut log, 2, epoch_body());
        append(&mut log, 2, Body::Empty);
        log
    }

    fn accept_all<'a>(records: impl IntoIterator<Item = &'a Record>) -> Result<(), Divergence> {
        let mut follower = Follower::new(LOG, None);
        records.into_iter().try_for_each(|record| follower.accept(record))
    }

    #[test]
    fn a_whole_log_is_followed_and_can_be_resumed_anywhere() {
        let log = log();
        assert_eq!(accept_all(&log), Ok(()));
        for at in 1..log.len() {
            let mut follower = Follower::new(LOG, Some(Tail::of(&log[at - 1])));
            assert_eq!(log[at..].iter().try_for_each(|record| follower.accept(record)), Ok(()));
            assert_eq!(follower.at(), log.last().map(Tail::of).as_ref());
        }
    }

    #[test]
    fn gap_duplicate_and_reordering_stop_it_and_name_the_sequence() {
        let log = log();
        let order = |after, found| Err(Divergence::Order { after, found: Sequence::new(found).expect("sequence") });
        assert_eq!(accept_all([&log[0], &log[2]]), order(1, 3));
        assert_eq!(accept_all([&log[0], &log[1], &log[1]]), order(2, 2));
        assert_eq!(accept_all([&log[0], &log[1], &log[0]]), order(2, 1));
        assert_eq!(accept_all([&log[1]]), order(0, 2));
    }

    #[test]
    fn a_forked_history_breaks_the_chain() {
        let log = log();
        let mut other = log[..1].to_vec();
        append(&mut other, 1, Body::Epoch { holder: "x".to_owned() });
        let mut forked = other.clone();
        append(&mut forked, 1, Body::Empty);
        let found = accept_all([&log[0], &log[1], &forked[2]]);
        assert!(matches!(found, Err(Divergence::Chain { sequence, .. }) if sequence.get() == 3));
    }

    #[test]
    fn records_of_another_log_are_refused() {
        let mut follower = Follower::new(LogId::from_bytes([4; 16]), None);
        assert!(matches!(follower.accept(&log()[0]), Err(Divergence::OtherLog { .. })));
    }

    #[test]
    fn an_epoch_falls_jumps_or_begins_twice_never() {
        let diverges = |build: &dyn Fn(&mut Vec<Record>)| {
            let mut log = log();
            build(&mut log);
            matches!(accept_all(&log), Err(Divergence::Epoch { sequence, newest: 2, .. }) if sequence.get() == 5)
        };
        assert!(diverges(&|log| append(log, 1, Body::Empty)));
        assert!(diverges(&|log| append(log, 3, Body::Empty)));
        assert!(diverges(&|log| append(log, 2, epoch_body())));
        assert!(diverges(&|log| append(log, 4, epoch_body())));
        let mut first = Vec::new();
        append(&mut first, 1, Body::Empty);
        assert!(matches!(accept_all(&first), Err(Divergence::Epoch { newest: 0, .. })));
    }

    #[test]
    fn after_a_divergence_nothing_is_accepted_any_more() {
        let log = log();
        let mut follower = Follower::new(LOG, None);
        let stopped = follower.accept(&log[1]).expect_err("a gap");
        assert_eq!(follower.accept(&log[0]), Err(stopped));
        assert_eq!(follower.at(), None);
    }
}
