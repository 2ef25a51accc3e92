//! A repository's folder.

use std::path::Path;
use std::sync::Arc;

use crate::{Requirements, Snapshot, SnapshotState, StoreError};

/// Which stores a new repository makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum StoreFormat {
    /// As `hg init` of Mercurial 7.x: `share-safe`, zstd; 5.8 and later open it.
    #[default]
    Current,
    /// Opened by every Mercurial since 4.9: no `share-safe`, zlib.
    Since49,
}

/// One working folder with `.hg`, its requirements known and checked.
pub struct Repository {
    _private: (),
}

impl Repository {
    /// Opens the folder that holds `.hg`. Requirements that aren't known here are refused by name.
    pub fn open(root: &Path) -> Result<Arc<Repository>, StoreError> {
        let _ = root;
        todo!()
    }

    /// The folder that holds `.hg`.
    pub fn root(&self) -> &Path {
        todo!()
    }

    /// What the repository asks of its reader.
    pub fn requirements(&self) -> &Requirements {
        todo!()
    }

    /// The state from disk, as of now: for stand-alone use and for start-up.
    pub fn current_state(&self) -> Result<SnapshotState, StoreError> {
        todo!()
    }

    /// The repository as this state says. Nothing beyond its lengths is ever read.
    pub fn snapshot(self: &Arc<Self>, state: SnapshotState) -> Result<Snapshot, StoreError> {
        let _ = state;
        todo!()
    }

    /// The files of a new, empty repository: path below `.hg` and content.
    pub fn create_files(format: StoreFormat, hgrc: Option<&[u8]>) -> Vec<(Vec<u8>, Vec<u8>)> {
        let _ = (format, hgrc);
        todo!()
    }
}
