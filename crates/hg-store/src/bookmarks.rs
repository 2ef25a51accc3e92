//! Bookmarks.

use crate::{Node, Snapshot, StoreError};

/// Names and the changesets that they are on, sorted by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bookmarks {
    entries: Vec<(Vec<u8>, Node)>,
}

impl Bookmarks {
    pub(crate) fn read(_: &Snapshot) -> Result<Bookmarks, StoreError> {
        todo!()
    }

    /// Where a bookmark is.
    pub fn get(&self, name: &[u8]) -> Option<Node> {
        let at = self.entries.binary_search_by(|(known, _)| known.as_slice().cmp(name)).ok()?;
        Some(self.entries[at].1)
    }

    /// All of them, sorted by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], Node)> {
        self.entries.iter().map(|(name, node)| (name.as_slice(), *node))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
