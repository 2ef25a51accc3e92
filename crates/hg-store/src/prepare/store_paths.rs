//! The files of a revlog that is not the changelog or the manifest of the top.

use crate::Snapshot;

use super::growing::{Growing, RevlogPaths};

/// Their store paths, such as `data/x.i`.
pub(super) struct StorePaths {
    index: Vec<u8>,
    data: Vec<u8>,
}

impl StorePaths {
    /// Of the revlog `data/x`, given in parts.
    pub(super) fn of(parts: &[&[u8]]) -> StorePaths {
        let stem = parts.concat();
        StorePaths { index: [&stem, &b".i"[..]].concat(), data: [&stem, &b".d"[..]].concat() }
    }

    /// Where they lie, below `.hg`.
    pub(super) fn on_disk(&self, snapshot: &Snapshot) -> RevlogPaths {
        let place_of = |path: &[u8]| [b"store/", &snapshot.repository().encode(path)[..]].concat();
        RevlogPaths { index: place_of(&self.index), data: place_of(&self.data) }
    }

    /// Those of files that the push brings.
    pub(super) fn new_ones(self, revlog: &Growing<'_>) -> impl Iterator<Item = Vec<u8>> + use<> {
        let (index, data) = revlog.new_files();
        index.then_some(self.index).into_iter().chain(data.then_some(self.data))
    }
}
