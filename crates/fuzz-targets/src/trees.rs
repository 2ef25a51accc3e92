//! Changegroups with manifests of folders, taken by a repository that has such.

use std::fs;
use std::sync::{Arc, OnceLock};

use hg_store::prepare::{Preparation, PrepareLimits};
use hg_store::{Repository, Snapshot, StoreFormat};
use hg_wire::changegroup_reader::{ChangegroupLimits, ChangegroupReader, ChangegroupVersion};

use crate::bundle;
use crate::tree_history::TreeHistory;

pub(crate) fn history() -> TreeHistory {
    let mut history = TreeHistory::default();
    history.commit(&[(b"a", b"one\n"), (b"d/b", b"1\n"), (b"d/e/c", b"1\n")]).commit(&[(b"d/e/c", b"2\n")]);
    history
}

/// A changegroup of version 03 for an empty repository, as far as it goes.
pub(crate) fn changegroup(bytes: &[u8]) {
    let snapshot = snapshot();
    let spool = tempfile::tempfile().expect("a spool");
    let limits = PrepareLimits { text_bytes: 1 << 20, ..PrepareLimits::default() };
    let mut preparation = Preparation::new(&snapshot, spool, limits).expect("begun");
    let mut changegroup = ChangegroupReader::new(bytes, ChangegroupVersion::V3, ChangegroupLimits::default());
    if preparation.add_changegroup(&mut changegroup).is_ok() {
        preparation.finish().expect("finished");
    }
}

pub(crate) fn changegroups() -> Vec<Vec<u8>> {
    vec![bundle::changegroup_bytes(history().pieces(), true)]
}

fn snapshot() -> Arc<Snapshot> {
    static SNAPSHOT: OnceLock<(tempfile::TempDir, Arc<Snapshot>)> = OnceLock::new();
    let make = || {
        let folder = tempfile::tempdir().expect("a folder");
        for (path, mut bytes) in Repository::create_files(StoreFormat::Current, None) {
            if path.ends_with(b"store/requires") {
                bytes.extend_from_slice(b"treemanifest\n");
            }
            let path = folder.path().join(".hg").join(String::from_utf8(path).expect("ASCII"));
            fs::create_dir_all(path.parent().expect("in a folder")).expect("made");
            fs::write(path, bytes).expect("written");
        }
        let repository = Repository::open(folder.path()).expect("opened");
        let snapshot = repository.snapshot(repository.current_state().expect("read")).expect("opened");
        (folder, Arc::new(snapshot))
    };
    SNAPSHOT.get_or_init(make).1.clone()
}
