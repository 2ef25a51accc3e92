//! A store of which one file is not what it was.

use std::cell::OnceCell;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use hg_store::{Repository, StoreFormat, verify};
use hg_wire::standalone::StandaloneHost;
use tempfile::TempDir;

use crate::{bundle, stream};

/// The files of which one is exchanged, below `.hg`.
const FILES: [&str; 10] = [
    "store/00changelog.i",
    "store/00manifest.i",
    "store/data/a.i",
    "store/fncache",
    "store/phaseroots",
    "store/obsstore",
    "store/requires",
    "requires",
    "bookmarks",
    "hgrc",
];

/// A repository with two changesets and a bookmark, for this process.
pub(crate) fn root() -> &'static Path {
    static ROOT: OnceLock<TempDir> = OnceLock::new();
    ROOT.get_or_init(make).path()
}

fn make() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (path, bytes) in Repository::create_files(StoreFormat::Current, Some(b"[phases]\npublish = False\n")) {
        let path = folder.path().join(".hg").join(String::from_utf8(path).expect("ASCII"));
        fs::create_dir_all(path.parent().expect("in a folder")).expect("made");
        fs::write(path, bytes).expect("written");
    }
    let head = stream::history().changesets[1].node;
    let mark = bundle::part("bookmarks", &[], &[&head.as_bytes()[..], &[0, 4], b"mark"].concat());
    let push = bundle::bundle(&[bundle::changegroup(stream::history().pieces()), mark]);
    let session = [format!("unbundle\nheads 10\n666f726365{}\n", push.len()).as_bytes(), &push, b"0\n"].concat();
    let mut host = StandaloneHost::open(folder.path(), |_| ()).expect("opened");
    hg_wire::ssh::serve(&session[..], io::sink(), io::sink(), &mut host).expect("pushed");
    folder
}

/// A copy of that repository, of whose files the first byte says which one is the other bytes.
pub(crate) fn store(bytes: &[u8]) {
    thread_local! {
        static COPY: OnceCell<TempDir> = const { OnceCell::new() };
    }
    let Some((which, content)) = bytes.split_first() else { return };
    let file = FILES[usize::from(*which) % FILES.len()];
    COPY.with(|copy| {
        let root = copy.get_or_init(make).path();
        let path = root.join(".hg").join(file);
        let before = fs::read(&path).ok();
        fs::write(&path, content).expect("written");
        look_at(root);
        match before {
            Some(before) => fs::write(&path, before).expect("written"),
            None => fs::remove_file(&path).expect("ours"),
        }
    });
}

/// Reads everything that there is, whatever is wrong with it.
fn look_at(root: &Path) {
    let Ok(repository) = Repository::open(root) else { return };
    let Ok(state) = repository.current_state() else { return };
    let Ok(snapshot) = repository.snapshot(state) else { return };
    let _ = verify(&snapshot);
    let _ = (snapshot.phases(), snapshot.bookmarks(), snapshot.obsstore(), snapshot.fncache());
    let _ = (snapshot.served(), snapshot.branchmap(), snapshot.tags().is_ok());
    for revision in snapshot.changelog().revisions() {
        let _ = snapshot.changeset(revision);
        snapshot.changelog().chain(revision);
    }
    if let Ok(Some(file)) = snapshot.filelog(b"a") {
        for revision in file.revisions() {
            let _ = (file.text(revision), file.delta_base(revision), file.parents(revision));
        }
    }
}

pub(crate) fn stores() -> Vec<Vec<u8>> {
    let content = |file: &str| fs::read(PathBuf::from(root()).join(".hg").join(file)).unwrap_or_default();
    FILES.iter().enumerate().map(|(which, file)| [&[which as u8][..], &content(file)].concat()).collect()
}
