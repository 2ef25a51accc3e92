//! What an observer is told of a push.

mod support;

use std::cell::RefCell;
use std::fs;
use std::rc::Rc;

use hg_store::observe::{
    Judgement, ObservedChangeset, ObservedEntry, ObservedFile, ObservedManifest, ObservedPush, Observer, observe_stored,
};
use hg_store::prepare::PrepareError;
use hg_store::{Node, Repository, Revision};
use support::history::{History, Pieces, hunk, revision};
use support::{empty_repository, has_hg, hg, init, preparation};

/// Writes down what it is told.
#[derive(Clone, Default)]
struct Recorder(Rc<RefCell<Vec<String>>>);

impl Recorder {
    fn say(&self, line: String) {
        self.0.borrow_mut().push(line);
    }

    /// What was told, in an order of its own.
    fn lines(&self) -> Vec<String> {
        let mut lines = self.0.borrow().clone();
        lines.sort();
        lines
    }
}

impl Observer for Recorder {
    fn changeset(&mut self, new: &ObservedChangeset<'_>) {
        self.say(format!("changeset {} {} {:?} {:?}", new.revision, new.node, new.parents, new.content.files));
    }

    fn entry(&mut self, entry: &ObservedEntry<'_>) {
        let path = entry.path.escape_ascii();
        self.say(format!("entry {} {path} {:?} now {:?}", entry.changeset, entry.parents, entry.now));
    }

    fn manifest(&mut self, changeset: Revision, manifest: &mut ObservedManifest<'_>) -> Result<(), PrepareError> {
        let above = manifest.at_common_ancestors(b"shared")?;
        let mut names = Vec::new();
        manifest.each_name(&mut |_| true, &mut |name| names.push(name.escape_ascii().to_string()))?;
        // Folders are told where they have manifests of their own.
        let all = names.clone();
        names.retain(|name| !all.iter().any(|other| other.starts_with(&format!("{name}/"))));
        names.sort();
        self.say(format!("manifest {changeset} {names:?} {above:?}"));
        Ok(())
    }

    fn file(&mut self, file: &ObservedFile<'_>) {
        let path = file.path.escape_ascii();
        self.say(format!("file {} {path} {} {}", file.changeset, file.node, file.content().len()));
    }

    fn judge(&mut self, push: &ObservedPush<'_>) -> Result<Judgement, PrepareError> {
        self.say(format!("judge {}", push.before.changelog().len()));
        Ok(Judgement::default())
    }
}

#[test]
fn a_push_and_what_is_stored_of_it_are_told_alike() {
    if !has_hg() {
        return;
    }
    let flat = told_of_a_push(&[], "none-v2");
    let trees = told_of_a_push(&["experimental.treemanifest=1"], "none-v3");
    for (flat, trees) in flat.iter().zip(&trees) {
        assert_eq!(flat, trees);
    }
    assert_eq!(flat.len(), trees.len());
}

/// What a history in a repository with these settings is told as, without names of changesets.
fn told_of_a_push(config: &[&str], kind: &str) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let source = init(folder.path(), "source", config);
    let write = |path: &str, text: &str| {
        let path = source.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, text).expect("written");
    };
    let commit = |message: &str| drop(hg(&source, &["commit", "-qA", "-m", message]));
    for number in 0..40 {
        write(&format!("d{}/f{number}", number % 7), "1\n");
    }
    write("shared", "1\n");
    commit("first");
    for number in 0..12 {
        hg(&source, &["update", "-q", "-r", if number % 3 == 0 { "0" } else { "tip" }]);
        write(&format!("d{}/f{number}", number % 7), &format!("{number}\n"));
        write(&format!("new{number}"), "x\n");
        if number == 4 {
            write("shared", "2\n");
        }
        commit("more");
    }
    hg(&source, &["move", "-q", "new10", "moved"]);
    hg(&source, &["remove", "-q", "d3/f3", "d5"]);
    write("d5", "a file that was a folder\n");
    write("d5-", "x\n");
    commit("moved");
    hg(&source, &["remove", "-q", "new11"]);
    write("new11/a/b", "a folder that was a file\n");
    commit("a folder");
    hg(&source, &["merge", "-q", "-r", "4", "--tool", ":local"]);
    commit("merged");
    hg(&source, &["branch", "-q", "other"]);
    commit("a branch, its manifest that of its parent");
    hg(&source, &["commit", "-q", "--close-branch", "-m", "closed"]);

    let bundle = folder.path().join("all.hg");
    hg(&source, &["bundle", "-q", "-a", "-t", kind, bundle.to_str().expect("UTF-8")]);
    let target = init(folder.path(), "target", config);
    let repository = Repository::open(&target).expect("opened");
    let snapshot = repository.snapshot(repository.current_state().expect("read")).expect("read");
    let pushed = Recorder::default();
    let mut preparation = preparation(&snapshot);
    preparation.observe(Box::new(pushed.clone()));
    let mut incoming = support::bundle::open(fs::File::open(&bundle).expect("there")).expect("a bundle");
    preparation.add_changegroup(&mut incoming).expect("taken");
    preparation.judge().expect("judged");

    let repository = Repository::open(&source).expect("opened");
    let snapshot = repository.snapshot(repository.current_state().expect("read")).expect("read");
    let stored = Recorder::default();
    let all: Vec<Revision> = snapshot.changelog().revisions().collect();
    observe_stored(&snapshot, &all, &[], &mut stored.clone()).expect("told");
    assert_eq!(pushed.lines(), stored.lines());

    // The last few alone: what was before them is not told.
    let last = Recorder::default();
    observe_stored(&snapshot, &all[13..], &[], &mut last.clone()).expect("told");
    let lines = last.lines();
    assert!(lines.contains(&"judge 13".to_owned()), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("entry 13 moved [None] now Some")), "{lines:?}");
    assert!(
        lines.iter().any(|line| line.starts_with("entry 13 new10 [Some") && line.ends_with("now None")),
        "{lines:?}"
    );
    assert!(!lines.iter().any(|line| line.contains(" d3/f4 ")), "{lines:?}");
    let lines = pushed.lines().into_iter().filter(|line| !line.starts_with("changeset "));
    lines.collect()
}

/// What a push of a history is told as.
fn told(history: &History) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a folder");
    empty_repository(folder.path());
    let repository = Repository::open(folder.path()).expect("opened");
    let snapshot = repository.snapshot(repository.current_state().expect("read")).expect("read");
    let recorder = Recorder::default();
    let mut preparation = preparation(&snapshot);
    preparation.observe(Box::new(recorder.clone()));
    preparation.add_changegroup(&mut Pieces(history.pieces())).expect("taken");
    recorder.lines()
}

#[test]
fn a_changeset_that_names_an_old_manifest_is_told_as_what_it_undoes() {
    let mut history = History::default();
    history.commit(&[(b"a", b"1", "")]).commit(&[(b"a", b"2", "")]);
    // No manifest comes with it, and it lists no file.
    let [first, second] = [0, 1].map(|at: usize| history.changesets[at].node);
    let text = [&history.manifests[0].node.to_hex()[..], b"\nsomeone\n1700000000 0\n\nnothing to see"].concat();
    history.changesets.push(revision(&text, second, Node::NULL, None));
    assert_ne!(first, second);
    let lines = told(&history);
    let undone = |line: &&String| line.starts_with("entry 2 a [Some(");
    assert_eq!(lines.iter().filter(undone).count(), 1, "{lines:#?}");
}

#[test]
fn a_delta_to_another_manifest_hides_nothing() {
    let mut history = History::default();
    history.commit(&[(b"a", b"1", ""), (b"b", b"1", "")]).commit(&[(b"a", b"2", "")]);
    // The third takes the change of `a` back; its delta is to the first manifest, which has `a` as it is then, so that only `b` differs.
    let old = history.tree[&b"a"[..]];
    let first = history.manifests[0].clone();
    history.tree.insert(b"a".to_vec(), (history.files[0].1[0].node, old.1));
    history.commit(&[(b"b", b"2", "")]);
    let whole = |manifest: &hg_store::prepare::IncomingRevision| manifest.delta[12..].to_vec();
    let (base, text) = (whole(&first), whole(&history.manifests[2]));
    let at = base.iter().zip(&text).take_while(|(a, b)| a == b).count();
    history.manifests[2].base = first.node;
    history.manifests[2].delta = hunk(at, base.len(), &text[at..]);
    let lines = told(&history);
    for path in ["a", "b"] {
        let told = |line: &&String| line.starts_with(&format!("entry 2 {path} [Some("));
        assert_eq!(lines.iter().filter(told).count(), 1, "{path}: {lines:#?}");
    }
}
