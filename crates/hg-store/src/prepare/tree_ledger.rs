//! Which manifests of folders a push must bring, and which it may: those that the manifests above them name.

use std::collections::{HashMap, HashSet};

use crate::Node;

use super::error::{Place, PrepareError, Refusal};
use super::limits::PrepareLimits;
use super::names::check_path;

/// What is expected of one folder: names of manifests, each with a changeset that a manifest which names it came with. Sorted.
#[derive(Default)]
pub(super) struct ExpectedTrees(Vec<(Node, u32)>);

impl ExpectedTrees {
    fn sort(mut self) -> ExpectedTrees {
        self.0.sort_unstable();
        self.0.dedup();
        self
    }

    pub(super) fn is_named(&self, node: &Node) -> bool {
        self.0.binary_search_by_key(node, |(named, _)| *named).is_ok()
    }

    /// Whether a manifest of this changeset names it.
    pub(super) fn is_of(&self, node: &Node, changeset: u32) -> bool {
        self.0.binary_search(&(*node, changeset)).is_ok()
    }

    pub(super) fn named(&self) -> impl Iterator<Item = &Node> {
        self.0.iter().map(|(node, _)| node)
    }
}

/// What is expected of all folders. Keyed by bytes from outside, hence the hasher with a secret.
#[derive(Default)]
pub(super) struct TreeLedger {
    folders: HashMap<Box<[u8]>, ExpectedTrees>,
    seen: HashSet<Box<[u8]>>,
}

impl TreeLedger {
    /// A manifest that came with `changeset` names a manifest of a folder, whose path ends with a slash.
    pub(super) fn name(
        &mut self,
        folder: &[u8],
        node: Node,
        changeset: u32,
        limits: &PrepareLimits,
    ) -> Result<(), PrepareError> {
        if let Some(ExpectedTrees(named)) = self.folders.get_mut(folder) {
            if named.last() != Some(&(node, changeset)) {
                named.push((node, changeset));
            }
            return Ok(());
        }
        check(folder, limits)?;
        if self.folders.len() + self.seen.len() >= limits.files as usize {
            let what = Refusal::Limit { limit: limits.files.into(), unit: "folders" };
            return Err(PrepareError::refused(what, Place::Push));
        }
        self.folders.insert(folder.into(), ExpectedTrees(vec![(node, changeset)]));
        Ok(())
    }

    /// A folder's group begins.
    pub(super) fn begin(&mut self, folder: &[u8], limits: &PrepareLimits) -> Result<ExpectedTrees, PrepareError> {
        check(folder, limits)?;
        if !self.seen.insert(folder.into()) {
            return Err(PrepareError::refused(Refusal::Twice, Place::Tree(folder.to_vec())));
        }
        Ok(self.folders.remove(folder).unwrap_or_default().sort())
    }

    /// The folders that had no group, sorted by path.
    pub(super) fn rest(self) -> Vec<(Box<[u8]>, ExpectedTrees)> {
        let mut rest: Vec<_> = self.folders.into_iter().map(|(folder, expected)| (folder, expected.sort())).collect();
        rest.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        rest
    }
}

fn check(folder: &[u8], limits: &PrepareLimits) -> Result<(), PrepareError> {
    let refused = |what| PrepareError::refused(what, Place::Tree(folder.to_vec()));
    let path = folder.strip_suffix(b"/").ok_or_else(|| refused(Refusal::Name("of a folder ends without a slash")))?;
    check_path(path, limits).map_err(refused)
}
