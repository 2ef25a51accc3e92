use std::collections::HashMap;
use std::fs;
use std::io::Cursor;
use std::path::Path;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::apply::{ApplyMode, apply};
use crate::change::{ChangeRef, ChangeWriter};

type Nodes = HashMap<Vec<u8>, Vec<u8>>;
type Writer = ChangeWriter<Cursor<Vec<u8>>>;

fn empty_store() -> TempDir {
    let dir = TempDir::new().unwrap();
    fs::create_dir(dir.path().join("store")).unwrap();
    dir
}

fn put(hg: &Path, path: &str, bytes: &[u8]) {
    let path = hg.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn nodes_of(hg: &Path) -> (Digest, Nodes) {
    let mut nodes = Nodes::new();
    let update = DigestUpdate::of_store(hg).unwrap();
    update.keep(&mut nodes).unwrap();
    (update.digest(), nodes)
}

#[test]
fn digests_stay_what_they_are() {
    let dir = empty_store();
    let empty = digest_of_store(dir.path()).unwrap();
    put(dir.path(), "store/fncache", b"data/a.i\n");
    let one = digest_of_store(dir.path()).unwrap();
    put(dir.path(), "store/data/a.i", &vec![7; 200_000]);
    let two = digest_of_store(dir.path()).unwrap();
    // Every server and every record holds such digests: a new value here is a new version of the format.
    let digests = [empty, one, two].map(|digest| digest.to_string()[..16].to_owned());
    assert_eq!(digests, ["f4000751575a3afc", "b03233b470c25a71", "a96b79e97a2b9d7d"]);
}

#[test]
fn what_is_no_state_is_left_out_by_place() {
    let dir = empty_store();
    put(dir.path(), "store/data/a.i", b"a");
    let digest = digest_of_store(dir.path()).unwrap();
    let left_out = [
        "cache/branch2-served",
        "cache/deep/x",
        "wcache/checklink",
        "undo.desc",
        "undo.bookmarks",
        "journal.branch",
        "store/undo",
        "store/undo.backupfiles",
        "store/journal",
        "store/journal.backup.new-3.bck",
        "store/data/undo.backup.a.i.bck",
        "store/data/journal.backup.old-1.bck",
        "store/data-s/a.i",
        "branch",
        "dirstate",
        "dirstate.0123",
        "largefiles/dirstate",
        "last-message.txt",
        "store/undo.backup.fncache.bck",
        "undo.backup.dirstate.bck",
    ];
    for path in left_out {
        put(dir.path(), path, b"anything");
        assert_eq!(digest_of_store(dir.path()).unwrap(), digest, "{path}");
    }
    std::os::unix::fs::symlink("host:1", dir.path().join("store/lock")).unwrap();
    std::os::unix::fs::symlink("host:1", dir.path().join("wlock")).unwrap();
    assert_eq!(digest_of_store(dir.path()).unwrap(), digest);
    let counted = [
        "store/data/undo.backup.x.i",
        "store/data/journal.i",
        "store/data/undo.backup.d.bck/a.i",
        "store/data/cache/x.i",
        "store/cache/x",
        "store/data/lock",
        "hgrc",
        "bookmarks",
        "largefiles/0123456789abcdef0123456789abcdef01234567",
        "store/bookmarks",
        "store/data/dirstate",
        "store/data/data-s/x.i",
        "store/branch",
    ];
    let mut before = digest;
    for path in counted {
        put(dir.path(), path, b"anything");
        let after = digest_of_store(dir.path()).unwrap();
        assert_ne!(after, before, "{path}");
        before = after;
    }
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("store/data/link.i")).unwrap();
    assert!(matches!(digest_of_store(dir.path()), Err(DigestError::Unexpected { .. })));
}

#[test]
fn each_byte_length_and_path_counts() {
    let dir = empty_store();
    let content = vec![0; 3 * 65536 + 10];
    put(dir.path(), "store/data/a.i", &content);
    let digest = digest_of_store(dir.path()).unwrap();
    for at in [0, 65535, 65536, 131_072, content.len() - 1] {
        let mut altered = content.clone();
        altered[at] = 1;
        put(dir.path(), "store/data/a.i", &altered);
        assert_ne!(digest_of_store(dir.path()).unwrap(), digest, "byte {at}");
    }
    for len in [content.len() + 1, content.len() - 1, 3 * 65536, 2 * 65536, 0] {
        put(dir.path(), "store/data/a.i", &vec![0; len]);
        assert_ne!(digest_of_store(dir.path()).unwrap(), digest, "{len} bytes");
    }
    put(dir.path(), "store/data/a.i", &content);
    assert_eq!(digest_of_store(dir.path()).unwrap(), digest);
    fs::rename(dir.path().join("store/data/a.i"), dir.path().join("store/data/b.i")).unwrap();
    assert_ne!(digest_of_store(dir.path()).unwrap(), digest);
}

#[test]
fn a_change_that_does_not_fit_is_refused_before_anything_is_written() {
    let dir = empty_store();
    put(dir.path(), "store/data/a.i", b"0123456789");
    put(dir.path(), "store/data/dir.i/b.i", b"b");
    put(dir.path(), "store/fncache", b"");
    let (_, mut nodes) = nodes_of(dir.path());
    let mut refused = |what: &str, fill: &dyn Fn(&mut Writer)| {
        let mut writer = ChangeWriter::new(Cursor::new(Vec::new())).unwrap();
        fill(&mut writer);
        let bytes = writer.finish().unwrap().0.into_inner();
        let change = ChangeRef::parse(&bytes).unwrap();
        let result = DigestUpdate::of_change(dir.path(), &mut nodes, &change);
        assert!(matches!(result, Err(DigestError::Unexpected { .. })), "{what}: {result:?}");
        assert!(apply(dir.path(), &change, ApplyMode::Normal).is_err(), "{what}");
    };
    refused("old length", &|w| w.append(b"store/data/a.i", 9, b"x").unwrap());
    refused("append to nothing", &|w| w.append(b"store/data/c.i", 9, b"x").unwrap());
    refused("append at 0", &|w| w.append(b"store/data/a.i", 0, b"x").unwrap());
    refused("create what exists", &|w| w.create(b"store/data/a.i", b"x").unwrap());
    refused("create over a directory", &|w| w.create(b"store/data/dir.i", b"x").unwrap());
    refused("create in a file", &|w| w.create(b"store/data/a.i/b.i", b"x").unwrap());
    refused("replace another length", &|w| w.replace(b"store/data/a.i", Some(1), b"x").unwrap());
    refused("remove nothing", &|w| w.remove(b"store/phaseroots", 3).unwrap());
    let mut writer = ChangeWriter::new(Cursor::new(Vec::new())).unwrap();
    writer.create(b"store/data/x.i", b"x").unwrap();
    writer.create(b"store/data/x.i/y.i", b"y").unwrap();
    let bytes = writer.finish().unwrap().0.into_inner();
    let change = ChangeRef::parse(&bytes).unwrap();
    assert!(DigestUpdate::of_change(dir.path(), &mut nodes, &change).is_err());
    assert!(DigestUpdate::of_new(&change).is_err());
    // Empty is as good as absent, for a file that is created and for one that grows.
    let mut writer = ChangeWriter::new(Cursor::new(Vec::new())).unwrap();
    writer.create(b"store/fncache", b"data/a.i\n").unwrap();
    writer.append(b"store/obsstore", 0, b"\x01").unwrap();
    let bytes = writer.finish().unwrap().0.into_inner();
    let change = ChangeRef::parse(&bytes).unwrap();
    let update = DigestUpdate::of_change(dir.path(), &mut nodes, &change).unwrap();
    apply(dir.path(), &change, ApplyMode::Normal).unwrap();
    assert_eq!(update.digest(), digest_of_store(dir.path()).unwrap());
}

#[test]
fn a_damaged_node_is_an_error() {
    let dir = empty_store();
    for number in 0..40 {
        put(dir.path(), &format!("store/data/{number}.i"), b"x");
    }
    let (_, nodes) = nodes_of(dir.path());
    let mut writer = ChangeWriter::new(Cursor::new(Vec::new())).unwrap();
    (0..40).for_each(|number| writer.append(format!("store/data/{number}.i").as_bytes(), 1, b"y").unwrap());
    let bytes = writer.finish().unwrap().0.into_inner();
    let change = ChangeRef::parse(&bytes).unwrap();
    for key in nodes.keys() {
        let mut cut = nodes.clone();
        cut.get_mut(key).unwrap().pop();
        assert!(DigestUpdate::of_change(dir.path(), &mut cut, &change).is_err(), "{key:x?}");
    }
}

/// Counts what an update asks for.
struct Counting(Nodes, usize);

impl DigestNodes for Counting {
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, DigestError> {
        self.1 += 1;
        DigestNodes::get(&mut self.0, key)
    }

    fn put(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), DigestError> {
        DigestNodes::put(&mut self.0, key, value)
    }
}

#[test]
fn a_change_of_a_hundred_thousand_files_costs_what_it_touches() {
    let files = 100_000;
    let mut writer = ChangeWriter::new(Cursor::new(Vec::new())).unwrap();
    for number in 0..files {
        writer.create(format!("store/data/{}/{number}.i", number % 97).as_bytes(), &[number as u8; 10]).unwrap();
    }
    let bytes = writer.finish().unwrap().0.into_inner();
    let all = DigestUpdate::of_new(&ChangeRef::parse(&bytes).unwrap()).unwrap();
    let mut nodes = Counting(Nodes::new(), 0);
    all.keep(&mut nodes).unwrap();

    let dir = empty_store();
    for number in [5, 77_777] {
        put(dir.path(), &format!("store/data/{}/{number}.i", number % 97), &[number as u8; 10]);
    }
    let mut writer = ChangeWriter::new(Cursor::new(Vec::new())).unwrap();
    writer.append(b"store/data/5/5.i", 10, b"more").unwrap();
    writer.append(format!("store/data/{}/77777.i", 77_777 % 97).as_bytes(), 10, b"more").unwrap();
    writer.create(b"store/data/new.i", b"new").unwrap();
    let bytes = writer.finish().unwrap().0.into_inner();
    let change = ChangeRef::parse(&bytes).unwrap();
    let update = DigestUpdate::of_change(dir.path(), &mut nodes, &change).unwrap();
    // Per file its peaks and the branches above it: 16^4 is less than the files, 16^6 far more.
    assert!(nodes.1 <= 3 * 7, "{} nodes read", nodes.1);
    assert!(update.writes.len() <= 3 * 8, "{} nodes written", update.writes.len());
    assert_ne!(update.digest(), all.digest());
}

/// One step in the life of a generated store.
#[derive(Debug, Clone)]
enum Step {
    Grow(usize, usize),
    Replace(usize, usize),
    Remove(usize),
}

const PATHS: [&str; 9] = [
    "store/data/undo.backup.x.i",
    "store/data/a.i",
    "store/data/a.d",
    "store/00changelog.i",
    "store/fncache",
    "store/data/dir/b.i",
    "bookmarks",
    "store/phaseroots",
    "store/dh/long/hash.d",
];

fn steps() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let len = prop::sample::select(vec![0usize, 1, 100, 65_535, 65_536, 65_537, 200_000]);
    let step = prop_oneof![
        4 => (0..PATHS.len(), len.clone()).prop_map(|(path, len)| Step::Grow(path, len)),
        2 => (0..PATHS.len(), len).prop_map(|(path, len)| Step::Replace(path, len)),
        1 => (0..PATHS.len()).prop_map(Step::Remove),
    ];
    prop::collection::vec(prop::collection::vec(step, 1..5), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// However a store came about, digest and nodes are those of its files.
    #[test]
    fn incremental_equals_recomputed(changes in steps()) {
        let dir = empty_store();
        let (_, mut nodes) = nodes_of(dir.path());
        for (round, steps) in changes.iter().enumerate() {
            let mut writer = ChangeWriter::new(Cursor::new(Vec::new())).unwrap();
            let mut touched = std::collections::HashSet::new();
            for step in steps {
                let (Step::Grow(path, _) | Step::Replace(path, _) | Step::Remove(path)) = *step;
                if !touched.insert(path) {
                    continue;
                }
                let name = PATHS[path].as_bytes();
                let old = fs::metadata(dir.path().join(PATHS[path])).ok().map(|meta| meta.len());
                let fill = |len: usize| -> Vec<u8> { (0..len).map(|at| (at / 7 + round) as u8).collect() };
                match (step, old) {
                    (Step::Grow(_, len), None) => writer.create(name, &fill(*len)).unwrap(),
                    (Step::Grow(_, len), Some(old)) => writer.append(name, old, &fill(*len)).unwrap(),
                    (Step::Replace(_, len), old) => writer.replace(name, old, &fill(*len)).unwrap(),
                    (Step::Remove(_), Some(old)) => writer.remove(name, old).unwrap(),
                    (Step::Remove(_), None) => {}
                }
            }
            let bytes = writer.finish().unwrap().0.into_inner();
            let change = ChangeRef::parse(&bytes).unwrap();
            let update = DigestUpdate::of_change(dir.path(), &mut nodes, &change).unwrap();
            apply(dir.path(), &change, ApplyMode::Normal).unwrap();
            update.keep(&mut nodes).unwrap();
            let (digest, recomputed) = nodes_of(dir.path());
            prop_assert_eq!(update.digest(), digest);
            prop_assert_eq!(&nodes, &recomputed);
            // Read again from disk, what was touched gives the same.
            let again = DigestUpdate::of_files(dir.path(), &mut nodes, change.operations().map(|operation| operation.path())).unwrap();
            prop_assert_eq!(again.digest(), digest);
        }
    }
}

#[test]
fn what_is_kept_of_each_file_is_read_back_and_makes_the_same_digest() {
    let dir = empty_store();
    for number in 0..300u32 {
        put(dir.path(), &format!("store/data/f{number}.i"), &vec![number as u8; number as usize * 700]);
    }
    let (digest, mut nodes) = nodes_of(dir.path());
    let kept = KeptFiles::read(&mut nodes).unwrap();
    let paths = state_files(dir.path()).unwrap();
    assert_eq!((kept.len(), kept.digest()), (paths.len(), digest));
    let mut files = Vec::new();
    for path in &paths {
        let mut hasher = FileHasher::new(path);
        fs::read(dir.path().join(std::str::from_utf8(path).unwrap()))
            .unwrap()
            .chunks(1000)
            .for_each(|c| hasher.update(c));
        let file = hasher.finish();
        assert_eq!(kept.get(path), Some(file));
        files.push((path.as_slice(), file.hash));
    }
    assert_eq!(digest_of_files(files.iter().copied()).unwrap(), digest);
    assert!(digest_of_files(files.iter().chain(&files[..1]).copied()).is_err());
    assert_eq!(kept.get(b"store/data/none.i"), None);
    let node = nodes.keys().find(|key| key.starts_with(&[b'n', 1])).unwrap().clone();
    nodes.remove(&node);
    assert!(KeptFiles::read(&mut nodes).is_err());
}

#[test]
fn growth_is_what_the_files_have_more() {
    let dir = empty_store();
    put(dir.path(), "store/a.i", &[1; 100]);
    put(dir.path(), "store/b.i", &[1; 50]);
    let update = DigestUpdate::of_store(dir.path()).unwrap();
    assert_eq!(update.growth(), 150);
    let mut nodes = Nodes::new();
    update.keep(&mut nodes).unwrap();
    let mut writer = Writer::new(Cursor::new(Vec::new())).unwrap();
    writer.append(b"store/a.i", 100, &[2; 30]).unwrap();
    writer.remove(b"store/b.i", 50).unwrap();
    let change = writer.finish().unwrap().0.into_inner();
    let later = DigestUpdate::of_change(dir.path(), &mut nodes, &ChangeRef::parse(&change).unwrap()).unwrap();
    assert_eq!(later.growth(), -20);
    assert_eq!(update.then(later).growth(), 130);
}

#[test]
fn damage_in_the_end_of_a_file_that_grows_is_named_and_gets_into_no_digest() {
    let dir = empty_store();
    let content: Vec<u8> = (0..200_000u32).map(|n| (n / 7) as u8).collect();
    put(dir.path(), "store/data/a.i", &content);
    put(dir.path(), "store/data/b.i", &content);
    let (_, mut nodes) = nodes_of(dir.path());
    let mut writer = Writer::new(Cursor::new(Vec::new())).unwrap();
    for path in [b"store/data/a.i", b"store/data/b.i"] {
        writer.append(path, content.len() as u64, b"more").unwrap();
    }
    let change = writer.finish().unwrap().0.into_inner();
    let change = ChangeRef::parse(&change).unwrap();
    assert!(DigestUpdate::of_change(dir.path(), &mut nodes, &change).is_ok());
    let mut damaged = content.clone();
    damaged[199_000] ^= 1;
    put(dir.path(), "store/data/b.i", &damaged);
    let error = DigestUpdate::of_change(dir.path(), &mut nodes, &change).unwrap_err().to_string();
    assert!(error.contains("store/data/b.i") && error.contains("damaged"), "{error}");
}
