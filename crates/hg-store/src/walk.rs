//! Walks over the graph of changesets. Parents have lower numbers, so one pass in order does, without recursion.

use crate::{Revision, Revlog};

/// A set of revision numbers below a bound.
pub(crate) struct RevisionSet {
    words: Vec<u64>,
}

impl RevisionSet {
    pub(crate) fn below(bound: usize) -> RevisionSet {
        RevisionSet { words: vec![0; bound.div_ceil(64)] }
    }

    /// Whether it was not in the set before.
    pub(crate) fn insert(&mut self, at: usize) -> bool {
        let (word, bit) = (at / 64, 1 << (at % 64));
        let new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        new
    }

    pub(crate) fn contains(&self, at: usize) -> bool {
        self.words.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
    }
}

/// Ancestors of `heads` (themselves included) that are no ancestors of `common` (nor among them), lowest first.
pub fn missing(revlog: &Revlog, common: &[Revision], heads: &[Revision]) -> Vec<Revision> {
    let Some(highest) = heads.iter().chain(common).max() else { return Vec::new() };
    let mut wanted = RevisionSet::below(highest.index() + 1);
    let mut had = RevisionSet::below(highest.index() + 1);
    // Revisions wanted, not had, and not reached yet: with none left, the walk is over.
    let mut open = 0_usize;
    for revision in common {
        had.insert(revision.index());
    }
    for revision in heads {
        if wanted.insert(revision.index()) && !had.contains(revision.index()) {
            open += 1;
        }
    }
    let mut found = Vec::new();
    let mut at = highest.index() + 1;
    while open > 0 && at > 0 {
        at -= 1;
        let revision = Revision::new(at as u32);
        if had.contains(at) {
            for parent in revlog.parents(revision).into_iter().flatten() {
                if had.insert(parent.index()) && wanted.contains(parent.index()) {
                    open -= 1;
                }
            }
        } else if wanted.contains(at) {
            open -= 1;
            found.push(revision);
            for parent in revlog.parents(revision).into_iter().flatten() {
                if wanted.insert(parent.index()) && !had.contains(parent.index()) {
                    open += 1;
                }
            }
        }
    }
    found.reverse();
    found
}

/// All ancestors of `heads`, themselves included, lowest first.
pub fn ancestors(revlog: &Revlog, heads: &[Revision]) -> Vec<Revision> {
    missing(revlog, &[], heads)
}

/// All descendants of `roots`, themselves included, lowest first.
pub fn descendants(revlog: &Revlog, roots: &[Revision]) -> Vec<Revision> {
    let Some(lowest) = roots.iter().min() else { return Vec::new() };
    let start = lowest.index();
    let mut reached = RevisionSet::below(revlog.len() - start);
    for root in roots {
        reached.insert(root.index() - start);
    }
    let mut found = Vec::new();
    for revision in revlog.revisions().skip(start) {
        let at = revision.index() - start;
        let mut parents = revlog.parents(revision).into_iter().flatten();
        if reached.contains(at)
            || parents.any(|parent| parent.index() >= start && reached.contains(parent.index() - start))
        {
            reached.insert(at);
            found.push(revision);
        }
    }
    found
}

/// Whether `ancestor` is `descendant` or an ancestor of it.
pub fn is_ancestor(revlog: &Revlog, ancestor: Revision, descendant: Revision) -> bool {
    if ancestor >= descendant {
        return ancestor == descendant;
    }
    let start = ancestor.index();
    let mut reached = RevisionSet::below(descendant.index() + 1 - start);
    reached.insert(descendant.index() - start);
    for at in (start + 1..=descendant.index()).rev() {
        if reached.contains(at - start) {
            for parent in revlog.parents(Revision::new(at as u32)).into_iter().flatten() {
                if parent.index() >= start {
                    reached.insert(parent.index() - start);
                }
            }
        }
    }
    reached.contains(0)
}

/// Of these revisions those that are no ancestors of another one, lowest first.
pub fn heads_of(revlog: &Revlog, revisions: &[Revision]) -> Vec<Revision> {
    let (Some(lowest), Some(highest)) = (revisions.iter().min(), revisions.iter().max()) else {
        return Vec::new();
    };
    let start = lowest.index();
    let bound = highest.index() + 1 - start;
    let (mut asked, mut below) = (RevisionSet::below(bound), RevisionSet::below(bound));
    for revision in revisions {
        asked.insert(revision.index() - start);
    }
    let mut heads = Vec::new();
    for at in (0..bound).rev() {
        let is_below = below.contains(at);
        if !is_below && !asked.contains(at) {
            continue;
        }
        let revision = Revision::new((at + start) as u32);
        if !is_below {
            heads.push(revision);
        }
        for parent in revlog.parents(revision).into_iter().flatten() {
            if parent.index() >= start {
                below.insert(parent.index() - start);
            }
        }
    }
    heads.reverse();
    heads
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::damage_tests::Entries;
    use crate::folder::Folder;
    use crate::revlog::index::Links;

    /// A changelog with these parents, each counted back from its revision; 0 is none.
    fn changelog(back: &[(u32, u32)]) -> Revlog {
        let mut entries = Entries::new();
        for (own, (first, second)) in (0_u32..).zip(back) {
            let parent = |back: &u32| own.checked_sub(*back).filter(|at| *at < own);
            entries.add_merge([parent(first), parent(second)], own, &own.to_be_bytes());
        }
        let folder = tempfile::tempdir().expect("a folder");
        let (index, data) = entries.split();
        std::fs::write(folder.path().join("x.i"), &index).expect("written");
        std::fs::write(folder.path().join("x.d"), &data).expect("written");
        let folder = Folder::open(folder.path(), true).expect("opened");
        let extent = Revlog::measure(&folder, b"x.i", index.len() as u64, Links::Own).expect("measured");
        Revlog::open_extent(&folder, b"x.i", extent, Links::Own, 0).expect("opened")
    }

    /// Ancestors of each revision, itself included, the plain way.
    fn ancestors_of_all(log: &Revlog) -> Vec<BTreeSet<Revision>> {
        let mut all: Vec<BTreeSet<Revision>> = Vec::new();
        for revision in log.revisions() {
            let mut own = BTreeSet::from([revision]);
            for parent in log.parents(revision).into_iter().flatten() {
                own.extend(&all[parent.index()]);
            }
            all.push(own);
        }
        all
    }

    proptest! {
        #[test]
        fn walks_are_what_the_sets_say(
            back in proptest::collection::vec((0_u32..6, prop_oneof![3 => Just(0), 1 => 0_u32..20]), 1..60),
            some in proptest::collection::vec(any::<prop::sample::Index>(), 0..5),
            others in proptest::collection::vec(any::<prop::sample::Index>(), 0..5),
        ) {
            let log = changelog(&back);
            let all = ancestors_of_all(&log);
            let chosen = |indexes: &[prop::sample::Index]| -> Vec<Revision> {
                indexes.iter().map(|index| Revision::new(index.index(log.len()) as u32)).collect()
            };
            let (some, others) = (chosen(&some), chosen(&others));
            let union = |of: &[Revision]| of.iter().flat_map(|at| &all[at.index()]).copied().collect::<BTreeSet<_>>();
            let wanted: Vec<Revision> = union(&some).difference(&union(&others)).copied().collect();
            prop_assert_eq!(missing(&log, &others, &some), wanted);
            let below: Vec<Revision> = log.revisions().filter(|at| some.iter().any(|root| all[at.index()].contains(root))).collect();
            prop_assert_eq!(descendants(&log, &some), below);
            let chosen: BTreeSet<Revision> = some.iter().copied().collect();
            let is_head = |at: &Revision| chosen.iter().all(|other| other == at || !all[other.index()].contains(at));
            let heads: Vec<Revision> = chosen.iter().copied().filter(is_head).collect();
            prop_assert_eq!(heads_of(&log, &some), heads);
            for (one, other) in some.iter().zip(&others) {
                prop_assert_eq!(is_ancestor(&log, *one, *other), all[other.index()].contains(one));
            }
        }
    }
}
