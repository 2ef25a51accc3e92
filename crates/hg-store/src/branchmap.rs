//! Heads of each named branch.

use std::collections::BTreeMap;
use std::path::Path;

use crate::kept_index::{KeptBranches, KeptHeads};
use crate::walk::RevisionSet;
use crate::{Revision, Revlog, Snapshot, StoreError, View, changeset, walk};

/// One head of a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BranchHead {
    /// The changeset.
    pub revision: Revision,
    /// Whether it closes the branch.
    pub closed: bool,
}

/// One branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Branch {
    /// Its name.
    pub name: Vec<u8>,
    /// Its heads, lowest first, closed ones included; never empty.
    pub heads: Vec<BranchHead>,
}

impl Branch {
    /// The highest open head, else the highest closed one.
    pub fn tip(&self) -> Revision {
        let open = self.heads.iter().rfind(|head| !head.closed);
        open.unwrap_or(&self.heads[self.heads.len() - 1]).revision
    }

    /// Whether all its heads are closed.
    pub fn closed(&self) -> bool {
        self.heads.iter().all(|head| head.closed)
    }
}

/// Branches of the served view, sorted by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Branchmap {
    branches: Vec<Branch>,
}

impl Branchmap {
    pub(crate) fn read(snapshot: &Snapshot) -> Result<Branchmap, StoreError> {
        let view = snapshot.served()?;
        if view.excluded().is_empty()
            && view.obsolete().is_empty()
            && let Some(kept) = snapshot.kept_heads()?
        {
            return Ok(Branchmap { branches: kept.branches() });
        }
        let folder = snapshot.repository().kept_folder();
        let of = BranchOfChangesets::read(snapshot.changelog(), folder)?;
        Ok(Branchmap::of(snapshot.changelog(), view, &of))
    }

    /// Heads and branches with nothing left out.
    pub(crate) fn all_heads(changelog: &Revlog, folder: &Path) -> Result<KeptHeads, StoreError> {
        let of = BranchOfChangesets::read(changelog, Some(folder))?;
        let all = View::of_all(changelog);
        Ok(KeptHeads::of(all.heads(), &Branchmap::of(changelog, &all, &of).branches))
    }

    fn of(changelog: &Revlog, view: &View, of: &BranchOfChangesets) -> Branchmap {
        // A head of its branch has no descendant on the branch; obsolete changesets don't count, neither as heads nor as
        // descendants. Whoever has a child there is none; descendants by way of another branch, or of an obsolete
        // changeset, are looked for only where a changeset has such a parent.
        let mut obsolete = RevisionSet::below(changelog.len());
        for revision in view.obsolete() {
            obsolete.insert(revision.index());
        }
        let counts = |revision: Revision| view.contains(revision) && !obsolete.contains(revision.index());
        let mut has_child = RevisionSet::below(changelog.len());
        let mut candidates: Vec<Vec<Revision>> = vec![Vec::new(); of.names.len()];
        let mut crossed = vec![false; of.names.len()];
        for revision in changelog.revisions().rev().filter(|revision| counts(*revision)) {
            let branch = of.numbers[revision.index()];
            if !has_child.contains(revision.index()) {
                candidates[branch as usize].push(revision);
            }
            for parent in changelog.parents(revision).into_iter().flatten() {
                if of.numbers[parent.index()] == branch && !obsolete.contains(parent.index()) {
                    has_child.insert(parent.index());
                } else {
                    crossed[branch as usize] = true;
                }
            }
        }
        let mut branches = Vec::new();
        for (number, mut heads) in candidates.into_iter().enumerate() {
            if heads.is_empty() {
                continue;
            }
            heads.reverse();
            if heads.len() > 1 && crossed[number] {
                heads = walk::heads_of(changelog, &heads);
            }
            let head =
                |revision: &Revision| BranchHead { revision: *revision, closed: of.closes.contains(revision.index()) };
            branches.push(Branch { name: of.names[number].clone(), heads: heads.iter().map(head).collect() });
        }
        branches.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        Branchmap { branches }
    }

    /// All branches, sorted by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Branch> {
        self.branches.iter()
    }

    /// One branch.
    pub fn get(&self, name: &[u8]) -> Option<&Branch> {
        let at = self.branches.binary_search_by(|branch| branch.name.as_slice().cmp(name)).ok()?;
        Some(&self.branches[at])
    }
}

/// The branch of each changeset, by number.
pub(crate) struct BranchOfChangesets {
    names: Vec<Vec<u8>>,
    /// The changeset that the first number is of.
    first: usize,
    numbers: Vec<u32>,
    closes: RevisionSet,
    /// Changesets of which the kept files knew it.
    kept: usize,
}

impl BranchOfChangesets {
    /// Of all changesets. `folder` has what is kept from before, if anything is.
    pub(crate) fn read(changelog: &Revlog, folder: Option<&Path>) -> Result<BranchOfChangesets, StoreError> {
        let kept = folder.and_then(|folder| KeptBranches::open(folder, changelog)).unwrap_or_default();
        BranchOfChangesets::from(kept, changelog)
    }

    /// Brings the files in this folder up to the changelog.
    pub(crate) fn keep(folder: &Path, changelog: &Revlog) -> Result<std::io::Result<()>, StoreError> {
        let kept = KeptBranches::end(folder, changelog).unwrap_or_default();
        let of = BranchOfChangesets::from(kept, changelog)?;
        let closes = |at: usize| of.closes.contains(of.first + at);
        let entries = of.numbers.iter().enumerate().map(|(at, number)| (*number, closes(at))).collect();
        let kept = KeptBranches { names: of.names[1..].to_vec(), first: of.first, entries };
        Ok(kept.update(folder, changelog, of.kept))
    }

    /// From the first changeset that these are of, or would be of, to the last one.
    fn from(kept: KeptBranches, changelog: &Revlog) -> Result<BranchOfChangesets, StoreError> {
        let mut of = BranchOfChangesets {
            names: vec![b"default".to_vec()],
            first: kept.first,
            numbers: Vec::with_capacity(changelog.len() - kept.first),
            closes: RevisionSet::below(changelog.len()),
            kept: kept.first + kept.entries.len(),
        };
        of.names.extend(kept.names);
        for (number, closes) in kept.entries {
            of.add(number, closes);
        }
        let named = of.names.iter().cloned().zip(0..).skip(1);
        let mut known: BTreeMap<Vec<u8>, u32> = named.collect();
        for revision in changelog.revisions().skip(of.kept) {
            let (branch, closes) = changeset::stored_branch_of(changelog, revision)?;
            let number = match branch {
                None => 0,
                Some(name) => *known.entry(name).or_insert_with_key(|name| {
                    of.names.push(name.clone());
                    of.names.len() as u32 - 1
                }),
            };
            of.add(number, closes);
        }
        Ok(of)
    }

    fn add(&mut self, number: u32, closes: bool) {
        if closes {
            self.closes.insert(self.first + self.numbers.len());
        }
        self.numbers.push(number);
    }
}
