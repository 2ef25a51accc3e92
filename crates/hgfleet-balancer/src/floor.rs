//! The highest position that this balancer has shown anybody.

use std::sync::atomic::{AtomicU64, Ordering};

use hgfleet_log::Sequence;

/// Only ever rises; it is the tag of each request.
#[derive(Debug, Default)]
pub(crate) struct Floor(AtomicU64);

impl Floor {
    /// The floor as it stands; none before any position was heard of.
    pub(crate) fn get(&self) -> Option<Sequence> {
        Sequence::new(self.0.load(Ordering::Acquire))
    }

    /// Takes note of a position that a reply or a view has named.
    pub(crate) fn raise(&self, position: Option<Sequence>) {
        if let Some(position) = position {
            self.0.fetch_max(position.get(), Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_goes_down() {
        let floor = Floor::default();
        assert_eq!(floor.get(), None);
        floor.raise(Sequence::new(7));
        floor.raise(Sequence::new(3));
        floor.raise(None);
        assert_eq!(floor.get(), Sequence::new(7));
    }
}
