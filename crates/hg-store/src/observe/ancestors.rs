//! The nearest common ancestors of two changesets.

use std::collections::BinaryHeap;

use rustc_hash::FxHashMap;

/// Reached from the one, from the other, or below a common ancestor.
const ONE: u8 = 1;
const OTHER: u8 = 2;
const BELOW: u8 = 4;

/// Revisions that were reached and not looked at yet.
#[derive(Default)]
struct Reached {
    marks: FxHashMap<u32, u8>,
    queue: BinaryHeap<u32>,
    /// Those of the queue that are not below a common ancestor.
    open: usize,
}

impl Reached {
    fn mark(&mut self, revision: u32, marks: u8) {
        match self.marks.get_mut(&revision) {
            Some(known) => {
                let was_open = *known & BELOW == 0;
                *known |= marks;
                if was_open && *known & BELOW != 0 {
                    self.open -= 1;
                }
            }
            None => {
                self.marks.insert(revision, marks);
                self.queue.push(revision);
                self.open += usize::from(marks & BELOW == 0);
            }
        }
    }

    /// The highest one, with all its marks: whatever could reach it was looked at.
    fn pop(&mut self) -> Option<(u32, u8)> {
        let revision = self.queue.pop()?;
        let marks = self.marks.remove(&revision)?;
        self.open -= usize::from(marks & BELOW == 0);
        Some((revision, marks))
    }
}

/// The common ancestors of two revisions that are no ancestors of another one of them; highest first. Parents have lower numbers.
///
/// Looks at what lies above the lowest of them, and no further.
pub(crate) fn common_ancestors(parents: impl Fn(u32) -> [Option<u32>; 2], one: u32, other: u32) -> Vec<u32> {
    let mut reached = Reached::default();
    reached.mark(one, ONE);
    reached.mark(other, OTHER);
    let mut found = Vec::new();
    while reached.open > 0 {
        let Some((revision, mut marks)) = reached.pop() else { break };
        if marks == ONE | OTHER {
            found.push(revision);
            marks |= BELOW;
        }
        for parent in parents(revision).into_iter().flatten() {
            reached.mark(parent, marks);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn ancestors(graph: &[[Option<u32>; 2]], of: u32) -> BTreeSet<u32> {
        let (mut found, mut left) = (BTreeSet::new(), vec![of]);
        while let Some(at) = left.pop() {
            if found.insert(at) {
                left.extend(graph[at as usize].iter().flatten());
            }
        }
        found
    }

    proptest! {
        #[test]
        fn they_are_those_that_the_sets_of_ancestors_say(
            choices in prop::collection::vec((any::<u32>(), any::<u32>(), 0..4u8), 2..40),
            one in any::<u32>(),
            other in any::<u32>(),
        ) {
            let graph: Vec<[Option<u32>; 2]> = (0..).zip(&choices).map(|(at, (first, second, kind)): (u32, _)| {
                let parent = |choice: u32| (at > 0).then(|| choice % at.max(1));
                [parent(*first).filter(|_| *kind > 0), parent(*second).filter(|_| *kind == 3)]
            }).collect();
            let (one, other) = (one % graph.len() as u32, other % graph.len() as u32);
            let common: BTreeSet<u32> = ancestors(&graph, one).intersection(&ancestors(&graph, other)).copied().collect();
            let nearest: BTreeSet<u32> = common
                .iter()
                .filter(|at| !common.iter().any(|above| above != *at && ancestors(&graph, *above).contains(at)))
                .copied()
                .collect();
            let found = common_ancestors(|at| graph[at as usize], one, other);
            prop_assert_eq!(found.len(), nearest.len());
            prop_assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), nearest);
        }
    }
}
