//! Which files there are, and how long.

use std::collections::HashSet;
use std::sync::Arc;

use super::{Kind, StoreFile, StoreFiles};
use crate::folder::Folder;
use crate::revlog::open::data_path;
use crate::{Revlog, RevlogExtent, Snapshot, StoreError};

pub(super) fn list(snapshot: Arc<Snapshot>, markers: bool) -> Result<StoreFiles, StoreError> {
    let state = snapshot.state();
    let mut list = List::default();
    let fncache = snapshot.fncache()?;
    // By the hash of the name on disk: a collision hides a stray file, which nothing depends on.
    let mut encoded = HashSet::with_capacity(fncache.len());
    let store = snapshot.repository().store();
    for path in fncache.paths() {
        let name = snapshot.repository().encode(path);
        let is_index = path.ends_with(b".i");
        if is_index {
            let Some(log) = Revlog::open_linked(store, &name, state.changelog.revisions)? else {
                return Err(StoreError::corrupt(store.path_of(&name), "missing, and `fncache` lists it"));
            };
            list.revlog(path, log.extent(), log.is_inline());
        }
        encoded.insert(name);
    }
    if snapshot.repository().requirements().fncache() {
        look_for_stray(store, &encoded, state.changelog.revisions)?;
    }
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
///
/// `encoded`: names on disk of what is listed; `changesets`: revlogs of later ones alone may be there.
fn look_for_stray(store: &Folder, encoded: &HashSet<Vec<u8>>, changesets: u32) -> Result<(), StoreError> {
    // Long names lie in `dh`, by their hashes.
    for folder in [b"data".as_slice(), b"dh", b"meta"] {
        store.each_file(folder, &mut |name| {
            if name.ends_with(b".i") && !encoded.contains(name) {
                let log = Revlog::open_linked(store, name, changesets)?;
                if log.is_some_and(|log| !log.is_empty()) {
                    return Err(StoreError::corrupt(store.path_of(name), "there, and `fncache` doesn't list it"));
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}
