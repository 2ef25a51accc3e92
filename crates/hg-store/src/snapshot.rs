//! A repository as it was at one moment.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    Bookmarks, Branchmap, Changeset, Fncache, Obsstore, Phases, Repository, Revision, Revlog,
    RevlogExtent, Settings, StoreError, Tags, View,
};

/// Lengths of the files that grow, and the small files: what a server keeps and hands out for each request.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SnapshotState {
    /// `store/00changelog`.
    pub changelog: RevlogExtent,
    /// `store/00manifest`.
    pub manifest: RevlogExtent,
    /// Bytes of `store/obsstore`; 0 when absent.
    pub obsstore_bytes: u64,
    /// Bytes of `store/fncache`; 0 when absent.
    pub fncache_bytes: u64,
    /// Content of `store/phaseroots`, if there is one.
    pub phaseroots: Option<Vec<u8>>,
    /// Content of the bookmarks file, if there is one.
    pub bookmarks: Option<Vec<u8>>,
    /// Content of `hgrc`, if there is one.
    pub hgrc: Option<Vec<u8>>,
}

/// A repository as a [`SnapshotState`] says. Cheap to share; parts are read when first asked for.
pub struct Snapshot {
    _private: (),
}

impl Snapshot {
    /// The repository that this is of.
    pub fn repository(&self) -> &Arc<Repository> {
        todo!()
    }

    /// The lengths and small files from which it was made.
    pub fn state(&self) -> &SnapshotState {
        todo!()
    }

    /// What the repository's `hgrc` says.
    pub fn settings(&self) -> &Settings {
        todo!()
    }

    /// The changesets.
    pub fn changelog(&self) -> &Revlog {
        todo!()
    }

    /// The manifests.
    pub fn manifest(&self) -> &Revlog {
        todo!()
    }

    /// The revisions of one tracked file; `None` when it has none.
    ///
    /// Revisions that link at or above the changelog's length don't exist for it.
    pub fn filelog(&self, path: &[u8]) -> Result<Option<Revlog>, StoreError> {
        let _ = path;
        todo!()
    }

    /// The list of tracked files' store paths.
    pub fn fncache(&self) -> Result<Fncache, StoreError> {
        todo!()
    }

    /// Phases of the changesets.
    pub fn phases(&self) -> Result<&Phases, StoreError> {
        todo!()
    }

    /// Bookmarks on changesets that exist.
    pub fn bookmarks(&self) -> Result<&Bookmarks, StoreError> {
        todo!()
    }

    /// Obsolescence markers.
    pub fn obsstore(&self) -> Result<&Obsstore, StoreError> {
        todo!()
    }

    /// The changesets that a server shows: no secret ones, no hidden ones.
    pub fn served(&self) -> Result<&View, StoreError> {
        todo!()
    }

    /// One changeset, parsed; its hash is checked.
    pub fn changeset(&self, revision: Revision) -> Result<Changeset, StoreError> {
        let _ = revision;
        todo!()
    }

    /// Heads of each branch over the served view.
    pub fn branchmap(&self) -> Result<&Branchmap, StoreError> {
        todo!()
    }

    /// Tags as the `.hgtags` of the served heads say.
    pub fn tags(&self) -> Result<Tags, StoreError> {
        todo!()
    }
}
