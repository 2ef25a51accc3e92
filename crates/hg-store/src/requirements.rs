//! What a repository asks of its reader, by name.

use std::collections::BTreeSet;
use std::path::Path;

use crate::StoreError;
use crate::folder::Folder;

/// Names that change nothing for a reader or are handled here. Whatever isn't listed is refused.
const KNOWN: &[&str] = &[
    "bookmarksinstore",
    // How the working directory's state is kept: not looked at.
    "dirstate-tracked-key-v1",
    "dirstate-v2",
    "dotencode",
    "fncache",
    "generaldelta",
    "internal-phase",
    "internal-phase-2",
    // A cache beside the changelog; ignored, Mercurial brings it up to date itself.
    "persistent-nodemap",
    "revlog-compression-zstd",
    "revlogv1",
    "share-safe",
    "sparserevlog",
    "store",
];

/// Without these a store has other names or another format.
const NEEDED: &[&str] = &["revlogv1", "store", "fncache", "dotencode"];

const REQUIRES_BYTES_MAX: u64 = 64 << 10;

/// The names in `.hg/requires` and `.hg/store/requires`, all of them known.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Requirements {
    names: BTreeSet<String>,
}

impl Requirements {
    /// Reads both files. `hg` is `.hg`, `store` is `.hg/store`.
    pub(crate) fn read(hg: &Folder, store: Option<&Folder>) -> Result<Requirements, StoreError> {
        let mut requirements = Requirements::default();
        requirements.add(hg)?;
        if let Some(store) = store.filter(|_| requirements.share_safe()) {
            requirements.add(store)?;
        }
        for needed in NEEDED {
            if !requirements.contains(needed) {
                let what = format!("a repository without requirement '{needed}'");
                return Err(StoreError::unsupported(hg.path().join("requires"), what));
            }
        }
        Ok(requirements)
    }

    fn add(&mut self, folder: &Folder) -> Result<(), StoreError> {
        let path = folder.path().join("requires");
        let Some(content) = folder.read(b"requires", REQUIRES_BYTES_MAX)? else {
            return Err(StoreError::corrupt(path, "missing"));
        };
        self.parse(&content, &path)
    }

    fn parse(&mut self, content: &[u8], path: &Path) -> Result<(), StoreError> {
        for line in content.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let name = String::from_utf8_lossy(line);
            if !KNOWN.contains(&&*name) {
                let what = format!("requirement '{}'", name.escape_debug());
                return Err(StoreError::unsupported(path, what));
            }
            self.names.insert(name.into_owned());
        }
        Ok(())
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(content: &[u8]) -> Result<Requirements, StoreError> {
        let mut requirements = Requirements::default();
        requirements.parse(content, Path::new("requires")).map(|()| requirements)
    }

    #[test]
    fn unknown_names_are_refused_by_name() {
        for name in ["treemanifest", "narrowhg-experimental", "lfs", "exp-revlogv2.2", "shared", "x\u{1b}y", " store"] {
            let error = parsed(format!("store\n{name}\n").as_bytes()).expect_err(name);
            assert!(error.is_unsupported());
            assert!(error.to_string().contains(&name.escape_debug().to_string()), "{error}");
        }
        let known = parsed(b"store\nrevlogv1").expect("known");
        assert_eq!(known.iter().collect::<Vec<_>>(), ["revlogv1", "store"]);
    }
}
