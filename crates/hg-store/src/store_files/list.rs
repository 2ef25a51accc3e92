//! Which files there are, and how long.

use std::collections::HashSet;
use std::sync::Arc;

use super::{Kind, StoreFile, StoreFiles};
use crate::folder::Folder;
use crate::revlog::open::data_path;
use crate::{Revlog, RevlogExtent, Snapshot, StoreError, path_encoding};

/// How deep folders may lie below `store/data`; a tracked file's path has at most half of its 4,096 bytes as separators.
const DEPTH_MAX: usize = 2_100;

pub(super) fn list(snapshot: Arc<Snapshot>, markers: bool) -> Result<StoreFiles, StoreError> {
    let state = snapshot.state();
    let mut list = List::default();
    let fncache = snapshot.fncache()?;
    // By the hash of the name on disk: a collision hides a stray file, which nothing depends on.
    let mut encoded = HashSet::with_capacity(fncache.len());
    let store = snapshot.repository().store();
    for path in fncache.paths() {
        let name = path_encoding::encode(path);
        let is_index = path.ends_with(b".i");
        if is_index {
            let Some(log) = Revlog::open_linked(store, &name, state.changelog.revisions)? else {
                return Err(StoreError::corrupt(store.path_of(&name), "missing, and `fncache` lists it"));
            };
            list.revlog(path, log.extent(), log.is_inline());
        }
        encoded.insert(name);
    }
    Stray { store, encoded: &encoded, changesets: state.changelog.revisions }.look()?;
    if markers && state.obsstore_bytes > 0 {
        list.alone(b"obsstore", state.obsstore_bytes, Kind::Growing);
    }
    if let Some(phaseroots) = state.phaseroots.as_ref().filter(|_| !snapshot.settings().publishing()) {
        list.alone(b"phaseroots", phaseroots.len() as u64, Kind::Phaseroots);
    }
    list.revlog(b"00manifest.i", state.manifest, snapshot.manifest().is_inline());
    list.revlog(b"00changelog.i", state.changelog, snapshot.changelog().is_inline());
    let List { files, groups, bytes } = list;
    Ok(StoreFiles { snapshot, files, groups, bytes })
}

#[derive(Default)]
struct List {
    files: Vec<StoreFile>,
    groups: Vec<u8>,
    bytes: u64,
}

impl List {
    fn revlog(&mut self, path: &[u8], extent: RevlogExtent, is_inline: bool) {
        if extent.revisions == 0 {
            return;
        }
        let before = self.files.len();
        if extent.data_bytes > 0 {
            self.file(&data_path(path), extent.data_bytes, Kind::Growing);
        }
        self.file(path, extent.index_bytes, if is_inline { Kind::Inline } else { Kind::Growing });
        self.groups.push((self.files.len() - before) as u8);
    }

    fn alone(&mut self, path: &[u8], bytes: u64, kind: Kind) {
        if bytes > 0 {
            self.file(path, bytes, kind);
            self.groups.push(1);
        }
    }

    fn file(&mut self, path: &[u8], bytes: u64, kind: Kind) {
        self.bytes += bytes;
        self.files.push(StoreFile { path: path.into(), bytes, kind });
    }
}

/// Looks for revlogs that `fncache` doesn't list. Stock sends a stream without them, and calls that a success.
struct Stray<'a> {
    store: &'a Folder,
    /// Names on disk of what is listed.
    encoded: &'a HashSet<Vec<u8>>,
    /// Revlogs of later changesets alone may be there.
    changesets: u32,
}

impl Stray<'_> {
    fn look(&self) -> Result<(), StoreError> {
        // Long names lie in `dh`, by their hashes.
        for name in [b"data".as_slice(), b"dh"] {
            self.look_in(name, 0)?;
        }
        Ok(())
    }

    fn look_in(&self, path: &[u8], depth: usize) -> Result<(), StoreError> {
        if depth > DEPTH_MAX {
            return Err(StoreError::corrupt(self.store.path_of(path), "too deep a folder"));
        }
        for (name, is_folder) in self.store.names(path)? {
            let path = [path, b"/", &name].concat();
            if is_folder {
                self.look_in(&path, depth + 1)?;
            } else if path.ends_with(b".i") && !self.encoded.contains(&path) {
                let log = Revlog::open_linked(self.store, &path, self.changesets)?;
                if log.is_some_and(|log| !log.is_empty()) {
                    return Err(StoreError::corrupt(self.store.path_of(&path), "there, and `fncache` doesn't list it"));
                }
            }
        }
        Ok(())
    }
}
