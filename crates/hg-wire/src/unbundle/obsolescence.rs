//! What markers say of which changeset came after which.

use hg_store::{Marker, Node};
use rustc_hash::{FxHashMap, FxHashSet};

/// A marker whose bit is set mends a phase divergence, and is not followed when one is looked for.
const BUMPED_FIX: u16 = 1;
/// Sets of successors of one changeset; more are not counted.
const SETS_MAX: usize = 1_000;

/// Markers by what they replace and by what replaces it.
pub(super) struct Obsolescence<'m> {
    by_predecessor: FxHashMap<Node, Vec<&'m Marker>>,
    by_successor: FxHashMap<Node, Vec<&'m Marker>>,
}

/// One way in which a changeset lives on: what it was split into, or the one that replaced it.
type Successors = Vec<Node>;

impl<'m> Obsolescence<'m> {
    pub(super) fn new(markers: impl Iterator<Item = &'m Marker>) -> Self {
        let mut obsolescence =
            Obsolescence { by_predecessor: FxHashMap::default(), by_successor: FxHashMap::default() };
        for marker in markers {
            obsolescence.by_predecessor.entry(marker.predecessor).or_default().push(marker);
            for successor in &marker.successors {
                obsolescence.by_successor.entry(*successor).or_default().push(marker);
            }
        }
        obsolescence
    }

    /// Whether a marker replaces this changeset. It is obsolete if it also isn't public.
    pub(super) fn replaces(&self, node: &Node) -> bool {
        self.by_predecessor.contains_key(node)
    }

    /// Everything that `node` came from, itself not included; over markers without the bits `ignored`.
    fn predecessors(&self, node: &Node, ignored: u16) -> Vec<Node> {
        let mut seen = FxHashSet::from_iter([*node]);
        let mut found = Vec::new();
        let mut waiting = vec![*node];
        while let Some(node) = waiting.pop() {
            for marker in self.by_successor.get(&node).into_iter().flatten() {
                if marker.flags & ignored == 0 && seen.insert(marker.predecessor) {
                    found.push(marker.predecessor);
                    waiting.push(marker.predecessor);
                }
            }
        }
        found
    }

    /// Whether `node` replaces something that is public.
    pub(super) fn is_phase_divergent(&self, node: &Node, is_public: &dyn Fn(&Node) -> bool) -> bool {
        self.predecessors(node, BUMPED_FIX).iter().any(is_public)
    }

    /// Whether something that `node` came from lives on in another way as well.
    pub(super) fn is_content_divergent(
        &self,
        node: &Node,
        known: &mut FxHashMap<Node, Vec<Successors>>,
        is_here: &dyn Fn(&Node) -> bool,
    ) -> bool {
        self.predecessors(node, 0).iter().any(|predecessor| {
            self.find_successors(*predecessor, known, is_here);
            let ways = &known[predecessor];
            ways.len() > 1 && ways.iter().any(|way| !way.contains(node))
        })
    }

    /// Fills `known` with the ways in which `node` and everything after it live on. Cycles are cut where they are met.
    fn find_successors(
        &self,
        node: Node,
        known: &mut FxHashMap<Node, Vec<Successors>>,
        is_here: &dyn Fn(&Node) -> bool,
    ) {
        let mut stack = vec![node];
        let mut stacked = FxHashSet::from_iter([node]);
        while let Some(current) = stack.last().copied() {
            let markers = self.by_predecessor.get(&current);
            if !known.contains_key(&current) {
                let Some(markers) = markers else {
                    known.insert(current, if is_here(&current) { vec![vec![current]] } else { vec![] });
                    continue;
                };
                let next = markers.iter().flat_map(|marker| &marker.successors).find(|next| !known.contains_key(*next));
                if let Some(next) = next {
                    if stacked.insert(*next) {
                        stack.push(*next);
                    } else {
                        known.insert(*next, vec![]);
                    }
                    continue;
                }
                known.insert(current, ways_of(markers, known));
            }
            stack.pop();
            stacked.remove(&current);
        }
    }
}

/// The ways in which a changeset lives on, from those of its direct successors.
fn ways_of(markers: &[&Marker], known: &FxHashMap<Node, Vec<Successors>>) -> Vec<Successors> {
    let mut all: Vec<Successors> = Vec::new();
    for marker in markers {
        let mut ways: Vec<Successors> = vec![vec![]];
        for successor in &marker.successors {
            let mut longer = Vec::new();
            for way in &ways {
                for suffix in &known[successor] {
                    let mut way = way.clone();
                    for node in suffix {
                        if !way.contains(node) {
                            way.push(*node);
                        }
                    }
                    longer.push(way);
                    if longer.len() >= SETS_MAX {
                        break;
                    }
                }
            }
            // A successor that lives on nowhere is passed over.
            if !longer.is_empty() {
                longer.truncate(SETS_MAX);
                ways = longer;
            }
        }
        all.extend(ways.into_iter().filter(|way| !way.is_empty()));
        all.truncate(SETS_MAX);
    }
    all.sort_by_key(|way| std::cmp::Reverse(way.len()));
    let mut distinct: Vec<Successors> = Vec::new();
    for way in all {
        if !distinct.iter().any(|longer| way.iter().all(|node| longer.contains(node))) {
            distinct.push(way);
        }
    }
    distinct
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(byte: u8) -> Node {
        Node::new([byte; 20])
    }

    fn marker(from: u8, to: &[u8], flags: u16) -> Marker {
        Marker {
            predecessor: node(from),
            successors: to.iter().map(|byte| node(*byte)).collect(),
            flags,
            metadata: vec![],
            time: 0.0,
            offset: 0,
            parents: None,
        }
    }

    fn divergent(markers: &[Marker], of: u8) -> bool {
        Obsolescence::new(markers.iter()).is_content_divergent(&node(of), &mut FxHashMap::default(), &|_| true)
    }

    #[test]
    fn two_replacements_of_one_changeset_diverge() {
        let markers = [marker(1, &[2], 0), marker(1, &[3], 0)];
        assert!(divergent(&markers, 2) && divergent(&markers, 3));
        assert!(!divergent(&markers[..1], 2));
    }

    #[test]
    fn a_split_does_not_diverge_and_neither_does_what_was_folded_again() {
        let markers = [marker(1, &[2, 3], 0)];
        assert!(!divergent(&markers, 2) && !divergent(&markers, 3));
        let markers = [marker(1, &[2], 0), marker(1, &[3], 0), marker(2, &[4], 0), marker(3, &[4], 0)];
        assert!(!divergent(&markers, 4));
    }

    #[test]
    fn cycles_end() {
        let markers = [marker(1, &[2], 0), marker(2, &[1], 0), marker(1, &[1], 0), marker(2, &[3], 0)];
        divergent(&markers, 3);
        divergent(&markers, 1);
    }

    #[test]
    fn what_replaces_a_public_changeset_diverges_in_phase_unless_mended() {
        let public = |looked: &Node| *looked == node(1);
        let markers = [marker(1, &[2], 0), marker(2, &[3], 0)];
        assert!(Obsolescence::new(markers.iter()).is_phase_divergent(&node(3), &public));
        let markers = [marker(1, &[2], BUMPED_FIX)];
        assert!(!Obsolescence::new(markers.iter()).is_phase_divergent(&node(2), &public));
    }
}
