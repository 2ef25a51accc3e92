//! Heads of each named branch.

use crate::{Revision, Snapshot, StoreError};

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
        todo!()
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
    pub(crate) fn read(_: &Snapshot) -> Result<Branchmap, StoreError> {
        todo!()
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
