//! Reading a log and believing nothing.

use crate::ids::{ChainHash, Epoch, LogId, Sequence};
use crate::log::Tail;
use crate::record::Record;

/// Checks that each record is the one that follows: identity, place, chain, epoch.
///
/// After the first record that doesn't follow it accepts nothing more: a server whose follower has stopped
/// keeps what it has, says so, and is repaired by reading that stretch again or by a resync.
#[derive(Clone, Debug)]
pub struct Follower {
    log: LogId,
    at: Option<Tail>,
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
    #[error("record {found} came where record {expected} was due")]
    Order {
        /// What was due.
        expected: Sequence,
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
        Follower { log, at }
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
        let _ = record;
        todo!()
    }
}
