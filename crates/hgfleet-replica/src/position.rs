//! Up to where everything has been applied, and up to where all of that is on disk.

use std::collections::{BTreeMap, BTreeSet};

use hgfleet_log::{RepositoryName, Sequence};

/// Positions of a server. Records may be done out of order, of different repositories.
#[derive(Debug, Default)]
pub(crate) struct Positions {
    position: Option<Sequence>,
    /// Records above the position that are done.
    above: BTreeSet<Sequence>,
    /// Records that are applied and not known to be on disk, with their repositories.
    volatile: BTreeMap<Sequence, RepositoryName>,
}

impl Positions {
    pub(crate) fn new(position: Option<Sequence>) -> Self {
        Self { position, ..Self::default() }
    }

    /// The sequence up to which every record is done.
    pub(crate) fn position(&self) -> Option<Sequence> {
        self.position
    }

    /// The sequence up to which every record is done and on disk.
    pub(crate) fn durable(&self) -> Option<Sequence> {
        match self.volatile.keys().next() {
            Some(first) => self.position.min(first.previous()),
            None => self.position,
        }
    }

    /// Notes that nothing is left to do for a record.
    pub(crate) fn done(&mut self, sequence: Sequence) {
        if Some(sequence) <= self.position {
            return;
        }
        self.above.insert(sequence);
        while let Some(next) = Sequence::after(self.position).filter(|next| self.above.remove(next)) {
            self.position = Some(next);
        }
    }

    /// Notes that nothing is left to do for all records up to this one.
    pub(crate) fn jump(&mut self, to: Sequence) {
        if Some(to) > self.position {
            self.above = self.above.split_off(&to);
            self.above.remove(&to);
            self.position = Some(to);
            while let Some(next) = Sequence::after(self.position).filter(|next| self.above.remove(next)) {
                self.position = Some(next);
            }
        }
    }

    /// Notes that what a record did is not on disk yet. To be called before [`Self::done`].
    pub(crate) fn volatile(&mut self, sequence: Sequence, name: &RepositoryName) {
        self.volatile.insert(sequence, name.clone());
    }

    /// Notes that these are on disk.
    pub(crate) fn on_disk(&mut self, sequences: &[Sequence]) {
        sequences.iter().for_each(|sequence| {
            self.volatile.remove(sequence);
        });
    }

    /// Forgets what is not on disk of a repository in quarantine: it counts in no position.
    pub(crate) fn forget(&mut self, name: &RepositoryName) {
        self.volatile.retain(|_, other| other != name);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn at(number: u64) -> Sequence {
        Sequence::new(number).unwrap()
    }

    #[test]
    fn position_moves_without_a_gap_and_durable_follows() {
        let name = RepositoryName::parse("a").unwrap();
        let other = RepositoryName::parse("b").unwrap();
        let mut positions = Positions::new(None);
        assert_eq!((positions.position(), positions.durable()), (None, None));
        positions.volatile(at(2), &name);
        positions.done(at(2));
        assert_eq!(positions.position(), None);
        positions.done(at(1));
        assert_eq!((positions.position(), positions.durable()), (Some(at(2)), Some(at(1))));
        positions.volatile(at(3), &other);
        positions.done(at(3));
        positions.done(at(3));
        positions.done(at(1));
        positions.on_disk(&[at(2)]);
        assert_eq!((positions.position(), positions.durable()), (Some(at(3)), Some(at(2))));
        positions.forget(&other);
        assert_eq!(positions.durable(), Some(at(3)));
        positions.volatile(at(9), &name);
        positions.done(at(9));
        assert_eq!((positions.position(), positions.durable()), (Some(at(3)), Some(at(3))));
        positions.jump(at(8));
        assert_eq!((positions.position(), positions.durable()), (Some(at(9)), Some(at(8))));
        positions.jump(at(4));
        assert_eq!(positions.position(), Some(at(9)));
    }
}
