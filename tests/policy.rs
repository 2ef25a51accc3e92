//! The checks of what a push brings, as those feel them who push.

use crate::support::fleet::Fleet;
use crate::support::run::Said;
use std::path::PathBuf;

/// A fleet with a file of rules, and one repository for each name.
struct World {
    _folder: tempfile::TempDir,
    rules: PathBuf,
    fleet: Fleet,
}

impl World {
    fn start(rules: &str, repositories: &[&str]) -> World {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("policy.toml");
        std::fs::write(&path, rules).expect("written");
        let fleet = Fleet::start_with(&[], &format!("[policy]\nrules = \"{}\"", path.display()));
        for name in repositories {
            fleet.hgfleet(&["repo", "create", name]).ok();
        }
        World { _folder: folder, rules: path, fleet }
    }
}

/// Everything that the client read of a push that was refused.
#[track_caller]
fn refused(said: Said) -> String {
    assert_eq!(said.status, 255, "{said:#?}");
    let told = format!("{}{}", said.out, said.err);
    assert!(told.contains("abort: push failed on remote"), "{told}");
    told
}

#[test]
fn a_push_that_breaks_a_rule_is_refused_whole() {
    let rule = "repositories = [\"strict\"]\n\
        messages = { pattern = '(?i)^bug \\d+', remedy = 'Begin with \"Bug 123\"', override = \"IGNORE BAD COMMIT MESSAGES\" }\n\
        files = { bytes_max = 1000, forbidden = [\"secret/**\"], symlinks = false }\n\
        branches = { one_head = true, new = false }\n\
        case = { renames = false, collisions = false }\n\
        bookmarks = { allowed = false }\n";
    let protected = "protected = [{ paths = [\"release/**\"], groups = [\"release\"] }]\n";
    let strict = format!("[[rule]]\n{rule}{protected}");
    let world = World::start(&strict, &["plain", "strict"]);
    let (fleet, write) = (&world.fleet, |text: &str| std::fs::write(&world.rules, text).expect("written"));

    // Without a rule of its own a repository takes what hurts no client.
    let plain = fleet.init("plain");
    plain.commit("sub/.hgtags", "", "no tags yet");
    plain.push("plain").ok();
    let path = "sub/.hg::$INDEX_ALLOCATION/hgrc";
    plain.commit(path, "x\n", "a name");
    let told = refused(plain.push("plain"));
    let of = plain.hg(&["log", "-r", ".", "-T", "{short(node)}"]).ok().out;
    let line = format!(
        "remote: refused: a file's name can't be checked out safely (changeset {of}, file {path}: a part that some file system takes for .hg), on plain. Rename it"
    );
    assert!(told.contains(&line), "N1: {told}");
    let kept = line.replace("remote: ", "  ");
    let status = fleet.ssh("status plain").ok().out;
    assert!(status.contains("last refused push: by ") && status.contains(&kept), "{status}");

    // All that is wrong is told at once, and nothing is stored.
    let work = fleet.init("work");
    work.commit("README", "1\n", "Bug 1: first");
    work.push("strict").ok();
    work.commit("readme", "1\n", "oops");
    work.commit("secret/key", "x".repeat(1001), "oops again");
    work.hg(&["bookmark", "mine"]).ok();
    let told = refused(work.hg(&["push", "-B", "mine", &fleet.ssh_url("strict")]));
    for line in [
        "remote: refused: a commit message is not as it must be (2 times), on strict. Begin with \"Bug 123\".",
        "remote: refused: a file has more than 1000 bytes (changeset ",
        "remote: refused: a file that must not come here (changeset ",
        "remote: refused: two names are one on Windows or macOS (changeset ",
        "files readme and README",
        "remote: refused: bookmarks are disabled (bookmark mine), on strict",
        "remote: transaction abort!",
    ] {
        assert!(told.contains(line), "{line}: {told}");
    }
    assert!(!told.contains("stored as"), "{told}");
    let status = fleet.ssh("status strict").ok().out;
    for line in ["  refused: a commit message is not as it must be (2 times)", "  refused: bookmarks are disabled"] {
        assert!(status.contains(line), "{line}: {status}");
    }
    let tip = work.hg(&["identify", "--id", &fleet.https_url("strict")]).ok().out;
    assert_eq!(tip.trim(), work.hg(&["log", "-r", "0", "-T", "{short(node)}"]).ok().out, "nothing was stored");
    work.hg(&["bookmark", "-d", "mine"]).ok();
    work.hg(&["--config", "extensions.strip=", "strip", "-q", "--no-backup", "-r", "1"]).ok();

    // An override pardons what it is for, and what came before it.
    work.commit("b", "1\n", "oops");
    work.commit("b", "2\n", "fine: IGNORE BAD COMMIT MESSAGES");
    let told = work.push("strict").ok();
    assert!(format!("{told:?}").contains("remote: commit messages are not looked at up to changeset"), "{told:#?}");

    // Groups come from the directory, as it is now; so do the rules, from their file, and a broken one changes nothing.
    work.commit("release/notes", "1\n", "Bug 3: notes");
    write("[[rule]]\nrepositories = 1\n");
    let told = refused(work.push("strict"));
    let line = "refused: a protected file is changed (changeset ";
    assert!(told.contains(line) && told.contains("Ask a member of release to push it"), "{told}");
    let mail = fleet.hgfleet(&["account", "list"]).ok().out.split('\t').next().expect("an account").to_owned();
    write(&strict.replace("[\"release\"]", &format!("[\"release\", \"{mail}\"]")));
    work.push("strict").ok();

    // A tree that is closed, and a push that goes on.
    let status = fleet.path("tree");
    std::fs::write(&status, "closed the build is broken\n").expect("written");
    write(&format!("[[rule]]\nrepositories = [\"**\"]\ntree = {{ file = \"{}\" }}\n", status.display()));
    work.commit("b", "3\n", "repair, CLOSED TREE");
    let told = work.push("strict").ok();
    let line = "remote: the tree is closed: the build is broken; the push goes on by \"CLOSED TREE\"";
    assert!(told.out.contains(line) || told.err.contains(line), "{told:#?}");
    fleet.assert_one_store("strict");
}
