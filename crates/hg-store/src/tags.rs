//! Tags, from the `.hgtags` of the served heads.

use crate::{Node, Snapshot, StoreError};

/// Names and the changesets that they are on, sorted by name; without `tip`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags {
    entries: Vec<(Vec<u8>, Node)>,
}

impl Tags {
    pub(crate) fn read(_: &Snapshot) -> Result<Tags, StoreError> {
        todo!()
    }

    /// Where a tag is.
    pub fn get(&self, name: &[u8]) -> Option<Node> {
        let at = self.entries.binary_search_by(|(known, _)| known.as_slice().cmp(name)).ok()?;
        Some(self.entries[at].1)
    }

    /// All of them, sorted by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], Node)> {
        self.entries.iter().map(|(name, node)| (name.as_slice(), *node))
    }
}
