//! What a repository asks of its reader, by name.

use std::collections::BTreeSet;

/// The names in `.hg/requires` and `.hg/store/requires`, all of them known.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Requirements {
    names: BTreeSet<String>,
}

impl Requirements {
    /// The names, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// Whether this name is among them.
    pub fn contains(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Chunks may be zstd frames.
    pub fn zstd(&self) -> bool {
        self.contains("revlog-compression-zstd")
    }

    /// A delta's base may be any earlier revision.
    pub fn generaldelta(&self) -> bool {
        self.contains("generaldelta")
    }

    /// Chains may have intermediate snapshots.
    pub fn sparse_revlog(&self) -> bool {
        self.contains("sparserevlog")
    }

    /// Bookmarks lie in `.hg/store/bookmarks`, else in `.hg/bookmarks`.
    pub fn bookmarks_in_store(&self) -> bool {
        self.contains("bookmarksinstore")
    }

    /// The store's own requirements lie in `.hg/store/requires`.
    pub fn share_safe(&self) -> bool {
        self.contains("share-safe")
    }
}
