//! Damaged stores: each is refused with an error that names the file, or left out, and nothing panics.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::*;

/// Writes revlogs by hand: full texts, stored raw.
pub(crate) struct Entries(Vec<[u8; 64]>, Vec<Vec<u8>>, usize);

impl Entries {
    pub(crate) fn new() -> Entries {
        Entries(Vec::new(), Vec::new(), 0)
    }

    fn add(&mut self, parent: Option<u32>, link: u32, text: &[u8]) -> Node {
        self.add_merge([parent, None], link, text)
    }

    pub(crate) fn add_merge(&mut self, parents: [Option<u32>; 2], link: u32, text: &[u8]) -> Node {
        let own = self.0.len() as u32;
        let name = |at: u32| Node::from_bytes(&self.0[at as usize][32..52]).expect("20 bytes");
        let [first_node, second_node] = parents.map(|at| at.map_or(Node::NULL, name));
        let node = Node::of(&first_node, &second_node, text);
        let chunk = if text.is_empty() { Vec::new() } else { [b"u", text].concat() };
        let offset = self.2;
        self.2 += chunk.len();
        let mut entry = [0; 64];
        entry[..8].copy_from_slice(&((offset as u64) << 16).to_be_bytes());
        let [first, second] = parents.map(|at| at.map_or(-1, |at| at as i32));
        let words = [chunk.len() as i32, text.len() as i32, own as i32, link as i32, first, second];
        for (at, word) in words.into_iter().enumerate() {
            entry[8 + at * 4..12 + at * 4].copy_from_slice(&word.to_be_bytes());
        }
        entry[32..52].copy_from_slice(node.as_bytes());
        self.0.push(entry);
        self.1.push(chunk);
        node
    }

    fn header(entries: &[[u8; 64]], header: u32) -> Vec<[u8; 64]> {
        let mut entries = entries.to_vec();
        entries[0][..4].copy_from_slice(&header.to_be_bytes());
        entries
    }

    fn inline(&self) -> Vec<u8> {
        let entries = Self::header(&self.0, 0x0003_0001);
        entries.iter().zip(&self.1).flat_map(|(entry, chunk)| [entry.as_slice(), chunk].concat()).collect()
    }

    pub(crate) fn split(&self) -> (Vec<u8>, Vec<u8>) {
        (Self::header(&self.0, 0x0002_0001).concat(), self.1.concat())
    }
}

/// A repository of three changesets, or more, that change one file; every seventh is on a branch of its own.
pub(crate) struct Sample {
    folder: tempfile::TempDir,
    changesets: Vec<Node>,
    seed: &'static str,
}

impl Sample {
    fn new() -> Sample {
        Sample::of(3)
    }

    pub(crate) fn of(changesets: u32) -> Sample {
        Sample::seeded(changesets, "user")
    }

    pub(crate) fn seeded(changesets: u32, seed: &'static str) -> Sample {
        let mut sample = Sample { folder: tempfile::tempdir().expect("a folder"), changesets: Vec::new(), seed };
        for (path, content) in Repository::create_files(StoreFormat::Current, None) {
            sample.write(std::str::from_utf8(&path).expect("a plain name"), &content);
        }
        sample.grow_to(changesets);
        sample
    }

    /// Writes all files anew; what was there stays as it was.
    pub(crate) fn grow_to(&mut self, count: u32) {
        let (mut changelog, mut manifest, mut file) = (Entries::new(), Entries::new(), Entries::new());
        self.changesets.clear();
        for number in 0..count {
            let parent = number.checked_sub(1);
            let file_node = file.add(parent, number, format!("content {number}\n").as_bytes());
            let manifest_node = manifest.add(parent, number, format!("a\0{file_node}\n").as_bytes());
            let branch = if number % 7 == 6 { format!(" branch:b{number}") } else { String::new() };
            let text = format!("{manifest_node}\n{}\n{number} 0{branch}\na\n\nchange {number}", self.seed);
            self.changesets.push(changelog.add(parent, number, text.as_bytes()));
        }
        let (index, data) = changelog.split();
        self.write("store/00changelog.i", &index);
        self.write("store/00changelog.d", &data);
        let (index, data) = manifest.split();
        self.write("store/00manifest.i", &index);
        self.write("store/00manifest.d", &data);
        self.write("store/data/a.i", &file.inline());
        self.write("store/fncache", b"data/a.i\n");
    }

    pub(crate) fn root(&self) -> &Path {
        self.folder.path()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(".hg").join(name)
    }

    fn write(&self, name: &str, content: &[u8]) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).expect("made");
        std::fs::write(path, content).expect("written");
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut content = std::fs::read(self.path(name)).expect("read");
        change(&mut content);
        self.write(name, &content);
    }

    pub(crate) fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let repository = Repository::open(self.folder.path())?;
        repository.snapshot(repository.current_state()?)
    }

    /// What is wrong, at opening or when everything is looked at; empty when nothing is.
    fn damage(&self) -> String {
        let report = self.snapshot().and_then(|snapshot| verify(&snapshot));
        match report {
            Ok(report) => report.problems.join("\n"),
            Err(error) => {
                assert!(error.is_corruption() || error.is_unsupported(), "{error}");
                error.to_string()
            }
        }
    }
}

#[test]
fn the_sample_is_whole() {
    let sample = Sample::new();
    assert_eq!(sample.damage(), "");
    let snapshot = sample.snapshot().expect("opened");
    let tip = snapshot.changelog().tip().expect("one");
    assert_eq!(snapshot.served().expect("read").heads(), [tip]);
    assert_eq!(snapshot.changelog().node(tip), sample.changesets[2]);
    let log = snapshot.filelog(b"a").expect("read").expect("there");
    assert_eq!(log.text(log.tip().expect("one")).expect("rebuilt"), b"content 2\n");
    assert_eq!(lookup::lookup(&snapshot, b"default").expect("read"), lookup::Lookup::Found(tip));
}

#[test]
fn every_flipped_byte_is_found_or_without_effect() {
    let sample = Sample::new();
    for name in
        ["store/00changelog.i", "store/00manifest.i", "store/data/a.i", "store/00changelog.d", "store/00manifest.d"]
    {
        let whole = std::fs::read(sample.path(name)).expect("read");
        for at in 0..whole.len() {
            let bit = if at % 2 == 0 { 0 } else { 7 };
            sample.change(name, |content| content[at] ^= 1 << bit);
            let damage = sample.damage();
            // The last 12 bytes of an entry mean nothing, and any of the three changesets may have brought a file's
            // revision; a header without generaldelta means the same here.
            let unused = match name {
                "store/data/a.i" => matches!(at % (64 + 11), 20..24 | 52..64),
                _ => name.ends_with(".i") && at % 64 >= 52,
            };
            assert!(unused || !damage.is_empty() || at == 1, "{name}: byte {at}, bit {bit}");
            sample.write(name, &whole);
        }
    }
    assert_eq!(sample.damage(), "");
}

#[test]
fn every_cut_is_found() {
    let sample = Sample::new();
    for name in [
        "store/00changelog.i",
        "store/00manifest.i",
        "store/data/a.i",
        "store/00changelog.d",
        "store/00manifest.d",
        "store/fncache",
    ] {
        let whole = std::fs::read(sample.path(name)).expect("read");
        for length in 0..whole.len() {
            // A changelog that ends behind a whole entry is a shorter one, and then `.d` is too long for the index.
            sample.write(name, &whole[..length]);
            let whole_entries = name == "store/00changelog.i" && length % 64 == 0;
            assert!(!sample.damage().is_empty() || whole_entries, "{name}: {length} bytes");
        }
        sample.write(name, &whole);
    }
    assert_eq!(sample.damage(), "");
}

#[test]
fn zeros_behind_the_end_are_refused() {
    for name in ["store/00changelog.i", "store/00manifest.i", "store/data/a.i"] {
        let sample = Sample::new();
        sample.change(name, |content| content.extend([0; 640]));
        assert!(sample.damage().contains(name), "{name}");
    }
}

#[test]
fn data_missing_or_longer() {
    let sample = Sample::new();
    std::fs::remove_file(sample.path("store/00manifest.d")).expect("removed");
    assert!(sample.damage().contains("00manifest.d is damaged: missing"));
}

#[test]
fn a_base_above_or_a_cycle_is_refused() {
    for (base, own) in [(2_i32, 1_usize), (1, 0), (-1, 1), (i32::MAX, 2), (i32::MIN, 2)] {
        let sample = Sample::new();
        sample.change("store/00manifest.i", |content| {
            content[own * 64 + 16..own * 64 + 20].copy_from_slice(&base.to_be_bytes());
        });
        assert!(sample.damage().contains("delta against"), "{base} of {own}");
    }
}

#[test]
fn unknown_versions_bits_and_flags_are_refused_by_name() {
    for (header, words) in
        [(0x0002_0002_u32, "revlog version 2"), (0x0006_0001, "revlog feature"), (0x0002_dead, "version")]
    {
        let sample = Sample::new();
        sample.change("store/00manifest.i", |content| content[..4].copy_from_slice(&header.to_be_bytes()));
        assert!(sample.damage().contains(words), "{header:#x}");
    }
    let sample = Sample::new();
    sample.change("store/00manifest.i", |content| content[64 + 6] = 0x10);
    assert!(sample.damage().contains("unknown flags 0x1000"));
}

#[test]
fn small_files() {
    for (name, content, words) in [
        ("store/phaseroots", "9 zzz\n", "phaseroots is damaged"),
        ("store/obsstore", "\x09", "version 9"),
        ("store/obsstore", "\x01\0\0\0", "obsstore is damaged"),
        ("store/fncache", "data/a.i\ndata/a.i\n", "listed twice"),
        ("store/fncache", "data/../a.i\n", "no path of a tracked file"),
        ("store/fncache", "", "fncache lacks data/a.i"),
        ("hgrc", "garbage\n", "hgrc is damaged: line 1"),
        ("requires", "share-safe\nnarrowhg-experimental\n", "'narrowhg-experimental'"),
        ("requires", "", "without requirement"),
        ("store/requires", "revlogv2\n", "'revlogv2'"),
    ] {
        let sample = Sample::new();
        sample.write(name, content.as_bytes());
        assert!(sample.damage().contains(words), "{name}: {}", sample.damage());
    }
    let sample = Sample::new();
    std::fs::remove_file(sample.path("store/requires")).expect("removed");
    assert!(sample.damage().contains("requires is damaged: missing"));
}

#[test]
fn bookmarks_on_unknown_changesets_are_dropped() {
    let sample = Sample::new();
    let (known, unknown) = (sample.changesets[1], Node::new([7; 20]));
    sample.write("bookmarks", format!("{unknown} a\n{known} b\r\n{known} \nzz\n\n{known} b c\n").as_bytes());
    let snapshot = sample.snapshot().expect("opened");
    let names: Vec<&[u8]> = snapshot.bookmarks().expect("read").iter().map(|(name, _)| name).collect();
    assert_eq!(names, [b"b".as_slice(), b"b c"]);
}

#[test]
fn links_and_folders_in_place_of_files_are_refused() {
    for name in ["store/data/a.i", "store/00manifest.d", "store/00changelog.i", "store/phaseroots"] {
        let sample = Sample::new();
        let path = sample.path(name);
        let _ = std::fs::remove_file(&path);
        symlink("/etc/passwd", &path).expect("linked");
        assert!(sample.damage().contains("a symbolic link"), "{name}");
        std::fs::remove_file(&path).expect("removed");
        std::fs::create_dir(&path).expect("made");
        assert!(sample.damage().contains("not a regular file"), "{name}");
    }
    let sample = Sample::new();
    std::fs::rename(sample.path("store"), sample.path("elsewhere")).expect("renamed");
    symlink("elsewhere", sample.path("store")).expect("linked");
    assert!(sample.damage().contains("store is damaged"), "{}", sample.damage());
}

#[test]
fn what_is_no_file_is_refused_and_not_waited_for() {
    for name in ["store/data/a.i", "store/00changelog.i", "store/fncache", "hgrc"] {
        let sample = Sample::new();
        let path = sample.path(name);
        let _ = std::fs::remove_file(&path);
        // Whoever opens a pipe to read it waits for one who writes.
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0)
            .expect("made");
        assert!(sample.damage().contains("not a regular file"), "{name}: {}", sample.damage());
    }
}

/// Rows F5 and F15: whatever they hold, and however new they say that they are.
#[test]
fn caches_of_mercurial_say_nothing() {
    let sample = Sample::of(20);
    let told = |sample: &Sample| {
        let snapshot = sample.snapshot().expect("opened");
        let tags = snapshot.tags().expect("read");
        let nodes = sample.changesets.iter().map(|node| snapshot.changelog().revision_of(node)).collect::<Vec<_>>();
        (snapshot.served().expect("read").heads().to_vec(), snapshot.branchmap().expect("read").clone(), tags, nodes)
    };
    let before = told(&sample);
    let tip = sample.changesets[19];
    for content in [format!("{tip} 19\n{} o other\n", Node::new([7; 20])), String::new(), "\0".repeat(4096)] {
        for name in
            ["branch2-served", "branch3-exp-served", "tags2-served", "hgtagsfnodes1", "rbc-revs-v2", "rbc-names-v2"]
        {
            sample.write(&format!("cache/{name}"), content.as_bytes());
        }
        sample.write("store/00changelog.n", content.as_bytes());
        sample.write("store/00changelog-0123456789abcdef.nd", content.as_bytes());
        assert_eq!(told(&sample), before);
        assert_eq!(sample.damage(), "");
    }
}

#[test]
fn what_follows_the_snapshot_is_not_seen() {
    let sample = Sample::new();
    let snapshot = sample.snapshot().expect("opened");
    let mut state = snapshot.state().clone();
    let two = |extent: RevlogExtent, log: &Revlog| RevlogExtent {
        revisions: 2,
        index_bytes: 128,
        data_bytes: extent.data_bytes - u64::from(log.chunk_bytes(log.tip().expect("one"))),
    };
    state.changelog = two(state.changelog, snapshot.changelog());
    state.manifest = two(state.manifest, snapshot.manifest());
    let older = snapshot.repository().snapshot(state.clone()).expect("opened");
    assert_eq!(older.changelog().len(), 2);
    assert_eq!(older.filelog(b"a").expect("read").map(|log| log.len()), Some(2));
    assert!(verify(&older).expect("verified").is_clean());
    // A writer that is at work tells by its journal how long the files were before.
    sample.write("store/journal", b"data/a.i\x0077\n00changelog.i\x00128\n");
    assert_eq!(snapshot.repository().current_state().expect("read"), state);
    // A state that isn't one of this store.
    state.changelog.data_bytes += 1;
    assert!(snapshot.repository().snapshot(state).is_err_and(|error| error.is_corruption()));
}
