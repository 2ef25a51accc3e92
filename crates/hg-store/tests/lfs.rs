//! Pushes of pointers to LFS objects, beside the same bundles taken by stock Mercurial, and what is refused of them.

mod support;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use hg_store::lfs::LfsOid;
use hg_store::observe::{
    Judgement, ObservedChangeset, ObservedEntry, ObservedFile, ObservedManifest, ObservedPush, Observer, observe_stored,
};
use hg_store::prepare::{Incoming, Preparation, PrepareError, PrepareLimits};
use hg_store::{Node, Repository, Revision};
use support::history::{History, Pieces, hunk};
use support::{empty_repository, has_hg, hg, prepare, push};

const EXTERNAL: u16 = 0x2000;

fn settings(folder: &Path, track: &str) -> String {
    let folder = folder.display();
    format!("[extensions]\nlfs =\n[lfs]\ntrack = {track}\nusercache = {folder}/cache\nurl = file://{folder}/remote\n")
}

fn repository(folder: &Path, name: &str) -> PathBuf {
    let path = support::init(folder, name, &[]);
    fs::write(path.join(".hg/hgrc"), settings(folder, "size('>1kB')")).expect("written");
    path
}

fn requires(repository: &Path) -> String {
    fs::read_to_string(repository.join(".hg/store/requires")).expect("there")
}

fn copy_objects(from: &Path, to: &Path) {
    let (from, to) = (from.join(".hg/store/lfs/objects"), to.join(".hg/store/lfs/objects"));
    for folder in fs::read_dir(from).expect("there").map(|entry| entry.expect("readable")) {
        let to = to.join(folder.file_name());
        fs::create_dir_all(&to).expect("made");
        for object in fs::read_dir(folder.path()).expect("there").map(|entry| entry.expect("readable")) {
            fs::copy(object.path(), to.join(object.file_name())).expect("copied");
        }
    }
}

#[test]
fn pointers_come_out_as_stock_has_them() {
    if !has_hg() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let source = repository(folder.path(), "source");
    let write = |name: &str, content: &str| fs::write(source.join(name), content).expect("written");
    let commit = |message: &str| hg(&source, &["commit", "-qAm", message, "-d", "1700000000 0"]);
    for step in 0..4 {
        write("large", &format!("{step} ").repeat(5_000));
        write("marked", &format!("\x01\n{step} ").repeat(5_000));
        // It is a pointer in every other revision.
        write("sometimes", &format!("{step} ").repeat(if step % 2 == 0 { 100 } else { 5_000 }));
        commit(&step.to_string());
    }
    hg(&source, &["rename", "large", "moved"]);
    commit("renamed");
    hg(&source, &["update", "-q", "-r", "1"]);
    write("sometimes", &"other ".repeat(90));
    commit("a small one on a pointer");
    let bundle = folder.path().join("all.hg");
    let bundle = bundle.to_str().expect("UTF-8");
    hg(&source, &["bundle", "-q", "-a", "-t", "none-v2;cg.version=03", bundle]);

    let ours = repository(folder.path(), "ours");
    // Without its objects no pointer is taken.
    let refused = prepare(&ours, Path::new(bundle)).expect_err("refused");
    let text = refused.to_string();
    assert!(refused.is_refusal() && text.contains("LFS object ") && text.contains("lfs.url"), "{text}");
    copy_objects(&source, &ours);
    push(&ours, Path::new(bundle));
    let stock = repository(folder.path(), "stock");
    hg(&stock, &["unbundle", "-q", bundle]);
    for repository in [&ours, &stock] {
        hg(repository, &["phase", "-q", "-p", "-r", "all()"]);
        hg(repository, &["verify", "-q"]);
    }
    assert_eq!(requires(&ours), requires(&stock));
    assert!(requires(&ours).lines().any(|name| name == "lfs"));
    for log in ["large", "marked", "sometimes", "moved"] {
        let index = |repository: &Path| hg(repository, &["debugindex", "--debug", log]);
        assert_eq!(index(&ours), index(&stock), "{log}");
        let file = |repository: &Path| fs::read(repository.join(format!(".hg/store/data/{log}.i"))).expect("there");
        assert_eq!(file(&ours), file(&stock), "{log}");
    }
    // Those who open it again read it as the first time.
    let (again, prepared) = prepare(&ours, Path::new(bundle)).expect("taken");
    assert!(prepared.is_none() && again.added.is_empty());
}

/// Pushes to an empty repository one file, whose revision says that it is a pointer.
struct Case {
    /// What the name is the hash of.
    text: Vec<u8>,
    pointer: String,
    flags: u16,
    hgrc: &'static str,
}

const CONTENT: &[u8] = b"content of an object\n";

fn pointer(more: &str) -> String {
    let oid = LfsOid::of(CONTENT);
    format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {}\n{more}", CONTENT.len())
}

impl Case {
    fn good() -> Case {
        Case { text: CONTENT.to_vec(), pointer: pointer(""), flags: EXTERNAL, hgrc: "[extensions]\nlfs =\n" }
    }

    fn push(&self) -> Result<String, String> {
        let folder = tempfile::tempdir().expect("a folder");
        empty_repository(folder.path());
        fs::write(folder.path().join(".hg/hgrc"), self.hgrc).expect("written");
        let object = folder.path().join(".hg").join(String::from_utf8(LfsOid::of(CONTENT).path()).expect("ASCII"));
        fs::create_dir_all(object.parent().expect("a folder")).expect("made");
        fs::write(object, CONTENT).expect("written");
        let mut history = History::default();
        history.commit(&[(b"file", &self.text, "")]);
        let pieces: VecDeque<Incoming> = history.pieces().into_iter().map(|piece| self.pointed(piece)).collect();
        let opened = Repository::open(folder.path()).expect("opened");
        let snapshot = opened.snapshot(opened.current_state().expect("read")).expect("opened");
        let spool = tempfile::tempfile().expect("a spool");
        let mut preparation = Preparation::new(&snapshot, spool, PrepareLimits::default()).expect("begun");
        let added = preparation.add_changegroup(&mut Pieces(pieces)).map_err(|error| {
            assert!(error.is_refusal(), "{error:?}");
            error.to_string()
        });
        added.map(|_| {
            let prepared = preparation.finish().expect("finished").expect("something");
            support::apply_prepared(folder.path(), &prepared);
            let opened = Repository::open(folder.path()).expect("opened");
            let snapshot = opened.snapshot(opened.current_state().expect("read")).expect("opened");
            assert_eq!(hg_store::verify(&snapshot).expect("read").problems, Vec::<String>::new());
            requires(folder.path())
        })
    }

    /// The file's revision with the pointer in place of its text.
    fn pointed(&self, piece: Incoming) -> Incoming {
        let name = Node::of(&Node::NULL, &Node::NULL, &self.text);
        match piece {
            Incoming::Revision(mut revision) if revision.node == name => {
                revision.flags = self.flags;
                revision.delta = hunk(0, 0, self.pointer.as_bytes());
                Incoming::Revision(revision)
            }
            other => other,
        }
    }
}

/// How many bytes a file has, and what is seen of them.
type Seen = (u64, Vec<u8>);

/// Notes of each file what a policy looks at.
#[derive(Clone, Default)]
struct Files(Rc<RefCell<Vec<Seen>>>);

impl Observer for Files {
    fn changeset(&mut self, _: &ObservedChangeset<'_>) {}

    fn entry(&mut self, _: &ObservedEntry<'_>) {}

    fn manifest(&mut self, _: Revision, _: &mut ObservedManifest<'_>) -> Result<(), PrepareError> {
        Ok(())
    }

    fn file(&mut self, file: &ObservedFile<'_>) {
        self.0.borrow_mut().push((file.content_bytes(), file.content().to_vec()));
    }

    fn judge(&mut self, _: &ObservedPush<'_>) -> Result<Judgement, PrepareError> {
        Ok(Judgement::default())
    }
}

#[test]
fn policies_see_what_an_object_holds_and_not_its_pointer() {
    if !has_hg() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let source = repository(folder.path(), "source");
    let (long, short) = (vec![b'x'; 3 << 20], vec![b'y'; 2_000]);
    fs::write(source.join("long"), &long).expect("written");
    fs::write(source.join("short"), &short).expect("written");
    hg(&source, &["commit", "-qAm", "both"]);
    let bundle = folder.path().join("all.hg");
    hg(&source, &["bundle", "-q", "-a", "-t", "none-v2;cg.version=03", bundle.to_str().expect("UTF-8")]);
    let ours = repository(folder.path(), "ours");
    copy_objects(&source, &ours);

    let opened = Repository::open(&ours).expect("opened");
    let snapshot = opened.snapshot(opened.current_state().expect("read")).expect("opened");
    let (pushed, stored) = (Files::default(), Files::default());
    let mut preparation = support::preparation(&snapshot);
    preparation.observe(Box::new(pushed.clone()));
    let file = BufReader::new(fs::File::open(&bundle).expect("there"));
    preparation.add_changegroup(&mut support::bundle::open(file).expect("a bundle")).expect("taken");
    support::apply_prepared(&ours, &preparation.finish().expect("finished").expect("something"));
    let opened = Repository::open(&ours).expect("opened");
    let snapshot = opened.snapshot(opened.current_state().expect("read")).expect("opened");
    observe_stored(&snapshot, &[snapshot.changelog().tip().expect("one")], &[], &mut stored.clone()).expect("read");
    let expected = [(long.len() as u64, long[..1 << 20].to_vec()), (short.len() as u64, short)];
    assert!(*pushed.0.borrow() == expected && *stored.0.borrow() == expected);
}

#[test]
fn a_pointer_is_taken_only_where_all_of_it_is_right() {
    let requires = Case::good().push().expect("taken");
    assert!(requires.lines().any(|name| name == "lfs"), "{requires}");
    let copied = format!("x-hg-copy a\nx-hg-copyrev {}\n", "0".repeat(40));
    let text = format!("\x01\ncopy: a\ncopyrev: {}\n\x01\n", "0".repeat(40));
    let text = [text.as_bytes(), CONTENT].concat();
    Case { text, pointer: pointer(&copied), ..Case::good() }.push().expect("taken");

    let other = "1".repeat(64);
    let odd = [&b"\x01\ncopy: a\ncopyrev: xyz\n\x01\n"[..], CONTENT].concat();
    for (case, why) in [
        (Case { hgrc: "", ..Case::good() }, "this repository takes none, file file revision"),
        (Case { flags: 0x8000, ..Case::good() }, "flags 0x8000"),
        (Case { flags: EXTERNAL | 1, ..Case::good() }, "flags 0x2001"),
        (Case { text: b"another text\n".to_vec(), ..Case::good() }, "does not match its hash"),
        (Case { pointer: pointer("x-hg-copy a\n"), ..Case::good() }, "does not match its hash"),
        (Case { pointer: pointer("size 5\n"), ..Case::good() }, "malformed LFS pointer"),
        (Case { pointer: pointer("\n"), ..Case::good() }, "malformed LFS pointer"),
        (Case { pointer: "content of an object\n".to_owned(), ..Case::good() }, "malformed LFS pointer"),
        (Case { pointer: pointer("").replace("size 21", "size 20"), ..Case::good() }, "is not stored"),
        (Case { pointer: pointer("").replace(&LfsOid::of(CONTENT).to_string(), &other), ..Case::good() }, &other),
        (
            Case { text: odd, pointer: pointer("x-hg-copy a\nx-hg-copyrev xyz\n"), ..Case::good() },
            "copyrev that is no hash",
        ),
    ] {
        let told = case.push().expect_err(why);
        assert!(told.contains(why), "{told}");
    }
}
