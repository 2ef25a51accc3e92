//! The new changesets, as far as later checks ask for them.

use hg_store::observe::ObservedChangeset;
use hg_store::{Node, Revision};

/// A new changeset.
#[derive(Debug)]
pub(crate) struct Pushed {
    pub(crate) revision: Revision,
    pub(crate) node: Node,
    pub(crate) parents: [Option<Revision>; 2],
    pub(crate) branch: Box<[u8]>,
    pub(crate) closes_branch: bool,
}

/// All new changesets so far; their numbers follow each other, or nearly so.
#[derive(Debug, Default)]
pub(crate) struct PushedChangesets {
    all: Vec<Pushed>,
}

impl PushedChangesets {
    pub(crate) fn add(&mut self, new: &ObservedChangeset<'_>) {
        self.all.push(Pushed {
            revision: new.revision,
            node: new.node,
            parents: new.parents,
            branch: new.content.branch().into(),
            closes_branch: new.content.closes_branch(),
        });
    }

    pub(crate) fn all(&self) -> &[Pushed] {
        &self.all
    }

    pub(crate) fn get(&self, revision: Revision) -> Option<&Pushed> {
        let at = self.all.binary_search_by_key(&revision, |pushed| pushed.revision).ok()?;
        self.all.get(at)
    }

    /// A new changeset's name.
    pub(crate) fn node(&self, revision: Revision) -> Node {
        self.get(revision).map_or(Node::NULL, |pushed| pushed.node)
    }
}
