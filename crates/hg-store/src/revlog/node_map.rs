//! From names to revisions.

use std::ops::{ControlFlow, RangeInclusive};

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

    /// Shows each revision whose name may have its first bits in a range, and others, until `visit` says stop.
    pub(super) fn visit_range(&self, range: &RangeInclusive<u64>, visit: impl FnMut(u32) -> ControlFlow<()>) {
        visit_slots(range, self.shift, self.slots.len(), |slot| self.slots[slot], visit);
    }

    fn first_slot(&self, node: &Node) -> usize {
        (first_bits(node) >> self.shift) as usize
    }
}

/// The first 64 bits of a name.
fn first_bits(node: &Node) -> u64 {
    let bytes = node.as_bytes();
    u64::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7]])
}

/// Shows the numbers in an open-addressed table of numbers plus one that begin where the first 64 bits of a name say, for all names in a
/// range, until `visit` says stop. `shift` makes a slot of 64 bits.
pub(crate) fn visit_slots(
    range: &RangeInclusive<u64>,
    shift: u32,
    slots: usize,
    slot: impl Fn(usize) -> u32,
    mut visit: impl FnMut(u32) -> ControlFlow<()>,
) {
    let slot_of = |bits: u64| bits.checked_shr(shift).unwrap_or(0) as usize;
    let (first, last) = (slot_of(*range.start()), slot_of(*range.end()));
    for steps in 0..slots {
        let flow = match slot((first + steps) & (slots - 1)).checked_sub(1) {
            Some(number) => visit(number),
            // Whatever begins in the range is in a run of taken slots that begins there, too.
            None if first + steps >= last => ControlFlow::Break(()),
            None => ControlFlow::Continue(()),
        };
        if flow.is_break() {
            return;
        }
    }
}
