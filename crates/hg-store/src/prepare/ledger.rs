//! Which file revisions a push must bring, and which it may.
//!
//! Changesets list the files that they touch; manifests name the revisions. Both come before the files. A new file revision must be
//! named by a new manifest, and belong to a new changeset that lists the file: else `hg verify` would complain of it. A named
//! revision must come, or be in the store.

use std::collections::{HashMap, HashSet};

use crate::Node;

use super::error::{Place, PrepareError, Refusal};
use super::limits::PrepareLimits;
use super::names::check_path;

/// What is expected of one file.
#[derive(Default)]
pub(super) struct Expected {
    /// New changesets that list it, lowest first.
    listed_by: Vec<u32>,
    /// Revisions that manifests name; sorted once the file's group begins.
    named: Vec<Node>,
}

impl Expected {
    pub(super) fn is_listed_by(&self, changeset: u32) -> bool {
        self.listed_by.binary_search(&changeset).is_ok()
    }

    pub(super) fn is_named(&self, node: &Node) -> bool {
        self.named.binary_search(node).is_ok()
    }

    /// Sorted, none twice.
    pub(super) fn named(&self) -> &[Node] {
        &self.named
    }

    pub(super) fn first_listed_by(&self) -> Option<u32> {
        self.listed_by.first().copied()
    }

    fn sort(mut self) -> Expected {
        self.named.sort_unstable();
        self.named.dedup();
        self
    }
}

/// What is expected of all files. Keyed by bytes from outside, hence the hasher with a secret.
#[derive(Default)]
pub(super) struct Ledger {
    files: HashMap<Box<[u8]>, Expected>,
    seen: HashSet<Box<[u8]>>,
}

impl Ledger {
    /// A new changeset lists a file. Changesets come lowest first.
    pub(super) fn list(&mut self, path: &[u8], changeset: u32, limits: &PrepareLimits) -> Result<(), PrepareError> {
        match self.files.get_mut(path) {
            Some(expected) if expected.listed_by.last() == Some(&changeset) => {}
            Some(expected) => expected.listed_by.push(changeset),
            None => {
                self.insert(path, Expected { listed_by: vec![changeset], named: Vec::new() }, limits)?;
            }
        }
        Ok(())
    }

    /// A manifest names a file revision.
    pub(super) fn name(&mut self, path: &[u8], node: Node, limits: &PrepareLimits) -> Result<(), PrepareError> {
        match self.files.get_mut(path) {
            Some(expected) => {
                if expected.named.is_empty() {
                    check(path, limits)?;
                }
                if expected.named.last() != Some(&node) {
                    expected.named.push(node);
                }
            }
            None => {
                check(path, limits)?;
                self.insert(path, Expected { listed_by: Vec::new(), named: vec![node] }, limits)?;
            }
        }
        Ok(())
    }

    fn insert(&mut self, path: &[u8], expected: Expected, limits: &PrepareLimits) -> Result<(), PrepareError> {
        if self.files.len() >= limits.files as usize {
            let what = Refusal::Limit { limit: limits.files.into(), unit: "files" };
            return Err(PrepareError::refused(what, Place::Push));
        }
        self.files.insert(path.into(), expected);
        Ok(())
    }

    /// A file's group begins.
    pub(super) fn begin(&mut self, path: &[u8], limits: &PrepareLimits) -> Result<Expected, PrepareError> {
        if !self.seen.insert(path.into()) {
            return Err(PrepareError::refused(Refusal::Twice, Place::File(path.to_vec())));
        }
        check(path, limits)?;
        Ok(self.files.remove(path).unwrap_or_default().sort())
    }

    /// The files that had no group, sorted by path.
    pub(super) fn rest(self) -> Vec<(Box<[u8]>, Expected)> {
        let mut rest: Vec<_> = self.files.into_iter().map(|(path, expected)| (path, expected.sort())).collect();
        rest.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        rest
    }
}

fn check(path: &[u8], limits: &PrepareLimits) -> Result<(), PrepareError> {
    check_path(path, limits).map_err(|what| PrepareError::refused(what, Place::File(path.to_vec())))
}
