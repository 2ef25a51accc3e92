//! Stores as a comparison sees them: every byte, but for what is no part of a store.

use std::collections::BTreeMap;
use std::path::Path;

/// Whether a file below `.hg` is left out of a comparison: caches, locks, journals, the working copy's own files.
fn left_out(path: &str) -> bool {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let top = folder.is_empty() || folder == "store";
    path.starts_with("cache/")
        || path.starts_with("wcache/")
        || (top && (name.starts_with("undo") || name.starts_with("journal")))
        || ["branch", "wlock", "store/lock", "last-message.txt"].contains(&path)
        || (folder.is_empty() && name.starts_with("dirstate"))
}

/// The files of a store and their bytes, by path below `.hg`.
pub fn files(hg: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(root: &Path, folder: &Path, into: &mut BTreeMap<String, Vec<u8>>) {
        for entry in std::fs::read_dir(folder).expect("readable") {
            let path = entry.expect("readable").path();
            let name = path.strip_prefix(root).expect("below").to_str().expect("a store's names are ASCII").to_owned();
            if left_out(&name) {
                continue;
            }
            if path.is_dir() && !path.is_symlink() {
                walk(root, &path, into);
            } else if path.is_file() {
                into.insert(name, std::fs::read(&path).expect("readable"));
            }
        }
    }
    let mut into = BTreeMap::new();
    walk(hg, hg, &mut into);
    into
}

/// Panics, naming the first file that differs, unless both stores hold the same bytes.
#[track_caller]
pub fn assert_equal(left: &Path, right: &Path) {
    let (a, b) = (files(left), files(right));
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&a), names(&b), "{} and {} hold different files", left.display(), right.display());
    for (name, bytes) in &a {
        assert!(bytes == &b[name], "{name} differs between {} and {}", left.display(), right.display());
    }
}
