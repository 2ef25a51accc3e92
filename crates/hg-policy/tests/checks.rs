//! Rows N1 to N5, N7 and B22 of the bad input among them: each check over histories that stock Mercurial made: what it takes, what it refuses, and in which words.

use std::path::{Path, PathBuf};
use std::process::Command;

use hg_policy::{Checks, PolicyRules, Pusher};
use hg_store::observe::{Judgement, observe_stored};
use hg_store::{Repository, Revision};

/// What checks ask of manifests they ask in both formats.
const TREES: [&str; 2] = ["experimental.treemanifest=0", "experimental.treemanifest=1"];

/// A repository in a folder of its own.
struct Work {
    folder: tempfile::TempDir,
}

impl Work {
    /// `None`, said so, where there is no `hg`.
    fn new() -> Option<Work> {
        Work::with(TREES[0])
    }

    /// The same, made with this setting.
    fn with(config: &str) -> Option<Work> {
        let folder = tempfile::tempdir().expect("a folder");
        let work = Work { folder };
        if Command::new("hg").arg("--version").output().is_ok_and(|output| output.status.success()) {
            work.hg(&["init", "--config", config]);
            return Some(work);
        }
        eprintln!("no `hg` on PATH: no history to check");
        None
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn hg(&self, arguments: &[&str]) -> String {
        let output = Command::new("hg")
            .env("HGRCPATH", "/dev/null")
            .env("HGPLAIN", "1")
            .env("HGENCODING", "UTF-8")
            .args(["--config", "ui.username=Some One <some@example.com>", "--config", "ui.merge=:local"])
            .args(arguments)
            .current_dir(self.folder.path())
            .output()
            .expect("hg starts");
        assert!(output.status.success(), "hg {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    fn write(&self, file: &str, content: &str) {
        let path = self.path(file);
        std::fs::create_dir_all(path.parent().expect("in a folder")).expect("made");
        std::fs::write(path, content).expect("written");
    }

    /// Writes a file and commits everything; the changeset's number.
    fn commit(&self, file: &str, content: &str, message: &str) -> u32 {
        self.write(file, content);
        self.commit_all(&["-m", message])
    }

    fn commit_all(&self, arguments: &[&str]) -> u32 {
        self.hg(&[&["commit", "-q", "-A"], arguments].concat());
        self.hg(&["log", "-r", ".", "-T", "{rev}"]).parse().expect("a number")
    }

    /// What a rule makes of these changesets, pushed by somebody of the group `staff`.
    fn judge(&self, rule: &str, changesets: &[u32]) -> Judgement {
        judge(self.folder.path(), rule, changesets)
    }
}

fn judge(root: &Path, rule: &str, changesets: &[u32]) -> Judgement {
    let rules = PolicyRules::parse(&format!("[[rule]]\nrepositories = [\"r\"]\n{rule}\n")).expect(rule);
    let (_, rule) = rules.rule_for("r");
    let pusher =
        Pusher { repository: "r".into(), account: "some@example.com".into(), groups: vec!["staff".to_owned()] };
    let mut checks = Checks::new(rule, pusher).expect("checks");
    let repository = Repository::open(root).expect("opened");
    let snapshot = repository.snapshot(repository.current_state().expect("read")).expect("read");
    let changesets: Vec<Revision> =
        changesets.iter().map(|number| snapshot.changelog().revision(*number).expect("there")).collect();
    observe_stored(&snapshot, &changesets, &[], &mut checks).expect("told")
}

/// Rows of a table: a rule, what is pushed, and a part of the refusal; nothing where it is taken.
#[track_caller]
fn table(work: &Work, rows: &[(&str, &[u32], &str)]) {
    for (rule, changesets, expected) in rows {
        let told = work.judge(rule, changesets).refusal.unwrap_or_default();
        let as_expected = if expected.is_empty() { told.is_empty() } else { told.contains(expected) };
        assert!(as_expected, "{rule} {changesets:?}: {expected:?} is expected, told is {told:?}");
        assert!(told.is_empty() || told.starts_with("refused: ") && told.contains(", on r. "), "{told}");
    }
}

#[test]
fn messages_authors_and_sizes() {
    let Some(work) = Work::new() else { return };
    let good = work.commit("a", "1", "Bug 1: good\n\nSigned-off-by: Some One <some@example.com>");
    let bad = work.commit("a", "2", "whatever\n\nSigned-off-by: Another <a@example.com>");
    let pardon = work.commit("a", "3", "IGNORE, please");
    work.write("b", "1234567890");
    let odd = work.commit_all(&["-m", "Bug 2", "-u", "name only"]);
    let hex = work.hg(&["log", "-r", "1", "-T", "{node}"]);
    let pattern = "messages = { pattern = '^Bug \\d+', remedy = 'Begin with Bug 123', override = 'IGNORE' }";
    let forbidden = format!("changesets = {{ forbidden = [\"{hex}\"] }}");
    let what = format!("a commit message is not as it must be (changeset {}, \"whatever\"), on r. Begin", &hex[..12]);
    let rows: [(&str, &[u32], &str); 20] = [
        ("", &[good, bad, pardon, odd], ""),
        (pattern, &[good], ""),
        (pattern, &[good, bad], &what),
        (pattern, &[good, bad, pardon, odd], ""),
        ("messages = { forbidden = 'whatever' }", &[bad], "not as it must be"),
        ("references = { bug = '(?i)bug \\d+' }", &[good, bad], "refers to no bug"),
        ("references = { sign_off = true }", &[good], ""),
        ("references = { sign_off = true }", &[bad], "is not signed off"),
        ("authors = { form = true }", &[good, bad], ""),
        ("authors = { form = true }", &[odd], ", by name only), on r. Set ui.username"),
        ("authors = { pattern = '@example\\.com>$' }", &[odd], "an author is none that may be"),
        ("files = { bytes_max = 10 }", &[odd], ""),
        ("files = { bytes_max = 9 }", &[odd], "file b, 10 bytes"),
        ("files = { forbidden = [\"**/b\"] }", &[odd], "a file that must not come here"),
        ("limits = { changesets_max = 1 }", &[good, bad], "the push has 2 changesets and 1 are allowed"),
        ("limits = { files_max = 1 }", &[good, bad], "the push has 2 file revisions and 1 are allowed"),
        ("limits = { bytes_max = 10 }", &[pardon, odd], "the push has 11 bytes of files and 10 are allowed"),
        ("limits = { changeset_files_max = 0 }", &[odd], "more than 0 files in one changeset"),
        (&forbidden, &[good], ""),
        (&forbidden, &[good, bad], "a changeset that must not come here"),
    ];
    table(&work, &rows);
    assert_eq!(work.judge(pattern, &[good, bad, pardon]).remarks.len(), 1);
}

#[test]
fn branches_roots_and_merges() {
    let Some(work) = Work::new() else { return };
    let root = work.commit("a", "1", "root");
    let first = work.commit("a", "2", "first");
    work.hg(&["update", "-q", "0"]);
    let second = work.commit("b", "1", "second head");
    work.hg(&["merge", "-q", "1"]);
    let merge = work.commit_all(&["-m", "merge"]);
    work.hg(&["branch", "-q", "stable"]);
    let stable = work.commit("c", "1", "on a branch");
    let closed = work.commit_all(&["--close-branch", "-m", "closed"]);
    work.hg(&["update", "-q", "3"]);
    let third = work.commit("d", "1", "on default, past the branch");
    work.hg(&["update", "-q", "null"]);
    let unrelated = work.commit("e", "1", "another root");
    let hex = work.hg(&["log", "-r", &unrelated.to_string(), "-T", "{node}"]);
    let allowed = format!("roots = {{ new = false, allowed = [\"{hex}\"] }}");
    let one = "branches = { one_head = true }";
    table(
        &work,
        &[
            (one, &[root, first], ""),
            (one, &[second], "branch default, heads "),
            (one, &[second, merge], ""),
            (one, &[stable], ""),
            (one, &[stable, closed, third], ""),
            (one, &[third, unrelated], "only one open head is allowed on a branch"),
            ("branches = { new = false }", &[root, first], ""),
            ("branches = { new = false }", &[stable], "new branches are not taken (branch stable, changeset "),
            (
                "branches = { several = false }",
                &[stable, third],
                "several branches in one push (2 times), on r. Push one",
            ),
            ("branches = { several = false }", &[stable, closed], ""),
            ("roots = { new = false }", &[root, first], ""),
            ("roots = { new = false }", &[unrelated], "unrelated history: a root of its own"),
            (&allowed, &[unrelated], ""),
            ("changesets = { merges = false }", &[second, merge], "merges are not taken"),
            ("changesets = { merges = false }", &[second], ""),
            ("limits = { heads_max = 1 }", &[first, second], "the push has 2 new heads and 1 are allowed"),
        ],
    );
}

#[test]
fn names_links_and_subrepositories() {
    for trees in TREES {
        names_links_and_subrepositories_with(trees);
    }
}

fn names_links_and_subrepositories_with(trees: &str) {
    let Some(work) = Work::with(trees) else { return };
    let readme = work.commit("README", "1", "root");
    work.hg(&["move", "-q", "README", "x"]);
    work.hg(&["move", "-q", "x", "Readme"]);
    let renamed = work.commit_all(&["-m", "renamed"]);
    work.commit("docs/stra\u{df}e", "1", "sharp s");
    let sharp = work.commit("docs/STRASSE", "1", "its twin");
    work.commit("caf\u{e9}", "1", "composed");
    let form = work.commit("cafe\u{301}", "1", "decomposed");
    let folder = work.commit("README/file", "1", "a folder");
    let device = work.commit("dir/nul.txt", "1", "a device");
    std::os::unix::fs::symlink("a/b\nc", work.path("link")).expect("linked");
    let link = work.commit_all(&["-m", "a link"]);
    let collisions = "case = { collisions = false }";
    table(
        &work,
        &[
            ("case = { renames = false }", &[readme, renamed], "file README to Readme), on r."),
            ("", &[readme, renamed, sharp, form], ""),
            (collisions, &[readme, renamed], ""),
            (collisions, &[sharp], "files docs/STRASSE and docs/stra\u{df}e"),
            (collisions, &[form], "files cafe\\u{301} and caf\u{e9}"),
            (collisions, &[folder], "files README/file and Readme"),
            ("", &[device], "file dir/nul.txt: Windows takes it for a device), on r. Rename it"),
            ("names = { windows = false }", &[device], ""),
            ("", &[link], "a symbolic link holds what is no path"),
            ("names = { dangerous = false }", &[link], ""),
            ("files = { symlinks = false }", &[link], "symbolic links are not taken"),
        ],
    );
}

#[test]
fn protected_paths_and_merges_that_undo() {
    for trees in TREES {
        protected_paths_and_merges_that_undo_with(trees);
    }
}

fn protected_paths_and_merges_that_undo_with(trees: &str) {
    let Some(work) = Work::with(trees) else { return };
    work.commit("release/a", "1", "root");
    let changed = work.commit("release/a", "2", "changed");
    work.hg(&["update", "-q", "0"]);
    let feature = work.commit("other", "1", "feature");
    work.hg(&["merge", "-q", "1"]);
    let fair = work.commit_all(&["-m", "takes the change over"]);
    work.hg(&["update", "-q", "-C", "2"]);
    work.hg(&["merge", "-q", "1"]);
    work.hg(&["revert", "-q", "--no-backup", "-r", "0", "release/a"]);
    let undoing = work.commit_all(&["-m", "undoes the change"]);
    work.hg(&["update", "-q", "-C", "1"]);
    work.hg(&["remove", "-q", "release/a"]);
    let removed = work.commit_all(&["-m", "removed, UNPROTECT"]);
    let by = |groups: &str| {
        format!("protected = [{{ paths = [\"release/**\"], groups = [{groups}], override = \"UNPROTECT\" }}]")
    };
    let (others, staff, account) = (by("\"release\""), by("\"staff\""), by("\"some@example.com\""));
    let plain = others.replace("UNPROTECT", "");
    let told = "a protected file is changed (changeset ";
    table(
        &work,
        &[
            (&others, &[changed], told),
            (&staff, &[changed], ""),
            (&account, &[changed], ""),
            (&others, &[feature, fair], ""),
            (&others, &[feature, undoing], told),
            (&others, &[removed], ""),
            (&plain, &[removed], "Ask a member of release to push it"),
        ],
    );
}

#[test]
fn a_tree_is_open_or_says_why_not() {
    let Some(work) = Work::new() else { return };
    let plain = work.commit("a", "1", "more");
    let pardon = work.commit("a", "2", "repair, CLOSED TREE");
    let approved = work.commit("a", "3", "more, a=somebody");
    let status = work.path(".hg/tree");
    let tree = format!("tree = {{ file = \"{}\" }}", status.display());
    let trusting = tree.replace(" }", ", unknown = \"take\" }");
    let strict = tree.replace(" }", ", override = \"\" }");
    table(
        &work,
        &[(&tree, &[plain], "nobody knows whether the tree is open, on r. Push again"), (&trusting, &[plain], "")],
    );
    let closed = "the tree is closed: the build is broken, on r. Push again when it is open";
    std::fs::write(&status, "closed the build is broken\n").expect("written");
    table(
        &work,
        &[
            (&tree, &[plain], closed),
            (&tree, &[plain, pardon], ""),
            (&tree, &[pardon, approved], closed),
            (&strict, &[pardon], closed),
            (&tree, &[], ""),
        ],
    );
    std::fs::write(&status, "approval").expect("written");
    table(&work, &[(&tree, &[plain], "Say who approved it"), (&tree, &[plain, approved], ""), (&tree, &[pardon], "")]);
    std::fs::write(&status, "open\n").expect("written");
    table(&work, &[(&tree, &[plain], "")]);
}
