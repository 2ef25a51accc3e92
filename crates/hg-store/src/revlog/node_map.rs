//! From names to revisions.

use super::Revlog;
use crate::{Node, Revision};

/// Up to this many revisions are looked through one by one.
pub(super) const SCANNED_MAX: usize = 8;

/// An open-addressed table of revisions plus one; 0 is free. A name is a hash already: its own first bits say where.
pub(super) struct NodeMap {
    slots: Vec<u32>,
    shift: u32,
}

impl NodeMap {
    pub(super) fn of(log: &Revlog) -> NodeMap {
        let bits = (log.len() * 2).next_power_of_two().trailing_zeros();
        let mut map = NodeMap { slots: vec![0; 1 << bits], shift: 64 - bits };
        let mask = map.slots.len() - 1;
        for revision in log.revisions() {
            let mut slot = map.first_slot(&log.node(revision));
            while map.slots[slot] != 0 {
                slot = (slot + 1) & mask;
            }
            map.slots[slot] = revision.get() + 1;
        }
        map
    }

    pub(super) fn get(&self, log: &Revlog, node: &Node) -> Option<Revision> {
        let mask = self.slots.len() - 1;
        let mut slot = self.first_slot(node);
        // At most half of the slots are taken, so this ends.
        while let Some(number) = self.slots[slot].checked_sub(1) {
            let revision = Revision::new(number);
            if log.node(revision) == *node {
                return Some(revision);
            }
            slot = (slot + 1) & mask;
        }
        None
    }

    fn first_slot(&self, node: &Node) -> usize {
        let bytes = node.as_bytes();
        let word = u64::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7]]);
        (word >> self.shift) as usize
    }
}
