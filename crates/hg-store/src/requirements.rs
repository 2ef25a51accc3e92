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
    // Phase 32 in `phaseroots`.
    "exp-archived-phase",
    "exp-compression-none",
    "fncache",
    "generaldelta",
    // Phase 96 in `phaseroots`; the name without a number is that of 4.8 to 6.3.
    "internal-phase",
    "internal-phase-2",
    // Files in `.hg/largefiles`, for which history has standins.
    "largefiles",
    // Content in `store/lfs/objects`, to which revisions point.
    "lfs",
    // A cache beside the changelog; ignored, Mercurial brings it up to date itself.
    "persistent-nodemap",
    "revlog-compression-zstd",
    "revlogv1",
    // The path is relative to `.hg`.
    "relshared",
    "share-safe",
    // The store is another repository's, `.hg/sharedpath` says where.
    "shared",
    "sparserevlog",
    "store",
    // A manifest for each folder, in `store/meta`.
    "treemanifest",
];

/// Without it a store's files have another format.
const NEEDED: &str = "revlogv1";

/// What to do about a requirement that is not known, where it is more than a conversion of the format.
const REMEDIES: &[(&str, &str)] = &[
    ("narrowhg-experimental", "Serve the whole repository that it was cloned from"),
    ("exp-remotefilelog-repo-req-1", "Serve the repository that it was cloned from: it has no files of its own"),
];

/// What to do about all others.
pub(crate) const CONVERT: &str =
    "Convert a copy of it with `hg debugupgraderepo --run` (`hg help config.format` has the settings), and serve that";

/// Bytes of a file of requirements.
pub(crate) const REQUIRES_BYTES_MAX: u64 = 64 << 10;

/// Why something is only read here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadOnly {
    /// What can't be written.
    pub what: &'static str,
    /// What to do about it: a sentence, without its full stop.
    pub remedy: &'static str,
}

/// The names in `.hg/requires` and `.hg/store/requires`, all of them known.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Requirements {
    names: BTreeSet<String>,
}

impl Requirements {
    /// Reads the file that lies in `.hg`: all of them, or what is asked by the working folder.
    pub(crate) fn read_beside(hg: &Folder) -> Result<Requirements, StoreError> {
        let mut requirements = Requirements::default();
        requirements.add(hg)?;
        Ok(requirements)
    }

    /// Adds what the file in `.hg/store` asks, where the one in `hg` says that there is one.
    pub(crate) fn with_store(mut self, hg: &Folder, store: Option<&Folder>) -> Result<Requirements, StoreError> {
        if let Some(store) = store.filter(|_| self.share_safe()) {
            self.add(store)?;
        }
        if !self.contains(NEEDED) {
            let what = format!("a repository without requirement '{NEEDED}'");
            return Err(StoreError::unsupported(hg.path().join("requires"), what, CONVERT));
        }
        Ok(self)
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
                let remedy = REMEDIES.iter().find(|(other, _)| *other == name).map_or(CONVERT, |(_, remedy)| remedy);
                return Err(StoreError::unsupported(path, what, remedy));
            }
            self.names.insert(name.into_owned());
        }
        Ok(())
    }

    /// The names in the contents of such files, known or not.
    pub(crate) fn unchecked(content: &[u8]) -> Requirements {
        let lines = content.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        Requirements { names: lines.map(|name| String::from_utf8_lossy(name).into_owned()).collect() }
    }

    /// The names, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// Whether this name is among them.
    pub fn contains(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// What keeps the repository from being written to here, though it is read; `None` where nothing does.
    pub fn read_only(&self) -> Option<ReadOnly> {
        (!self.store()).then_some(ReadOnly {
            what: "a repository without requirement 'store'",
            remedy: "Ask the administrators to copy it to a current format, with `hg clone --pull`",
        })
    }

    /// The store is that of another repository.
    pub fn shared(&self) -> bool {
        self.contains("shared") || self.contains("relshared")
    }

    /// Files lie in `.hg/store`, else in `.hg` itself.
    pub fn store(&self) -> bool {
        self.contains("store")
    }

    /// `.hg/store/fncache` lists the files of `.hg/store/data`, whose names may be hashes.
    pub fn fncache(&self) -> bool {
        self.store() && self.contains("fncache")
    }

    /// History has standins for files in `.hg/largefiles`.
    pub fn largefiles(&self) -> bool {
        self.contains("largefiles")
    }

    /// Revisions may point to objects in `store/lfs/objects`.
    pub fn lfs(&self) -> bool {
        self.contains("lfs")
    }

    /// Each folder has manifests of its own.
    pub fn tree_manifests(&self) -> bool {
        self.contains("treemanifest")
    }

    /// Chunks may be zstd frames.
    pub fn zstd(&self) -> bool {
        self.contains("revlog-compression-zstd")
    }

    /// Chunks are written as they are, where not zstd frames; else as zlib streams.
    pub fn uncompressed(&self) -> bool {
        self.contains("exp-compression-none")
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
        for name in [
            "narrowhg-experimental",
            "exp-remotefilelog-repo-req-1",
            "exp-revlogv2.2",
            "exp-changelog-v2",
            "delta-info-revlog",
            "fileindex-v1",
            "exp-sparse",
            "x\u{1b}y",
            " store",
        ] {
            let error = parsed(format!("store\n{name}\n").as_bytes()).expect_err(name);
            assert!(error.is_unsupported());
            assert!(error.remedy().is_some_and(|remedy| remedy.contains("hg") || remedy.contains("Serve")), "{error}");
            assert!(error.to_string().contains(&name.escape_debug().to_string()), "{error}");
        }
        let known = parsed(b"store\nrevlogv1").expect("known");
        assert_eq!(known.iter().collect::<Vec<_>>(), ["revlogv1", "store"]);
    }
}
