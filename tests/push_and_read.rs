//! A push over SSH is stored as the same bytes on every server, and comes out of a clone over HTTPS.

use crate::support::clients::history;
use crate::support::fleet::Fleet;

#[test]
fn a_push_is_stored_everywhere_and_comes_out_of_every_door() {
    let fleet = Fleet::start();
    fleet.hgfleet(&["repo", "create", "team/first"]).ok();
    assert_eq!(fleet.hgfleet(&["repo", "list"]).ok().out.lines().filter(|line| line.contains("team/first")).count(), 1);

    let work = fleet.init("work");
    work.commit("a", "one\n", "first");
    let said = work.push("team/first").ok();
    let remote: Vec<&str> = said.out.lines().filter(|line| line.starts_with("remote: ")).collect();
    assert!(remote.iter().any(|line| line.starts_with("remote: stored as ")), "{said:#?}");
    assert!(remote.contains(&"remote: visible on 2 of 2 mirrors"), "{said:#?}");
    assert!(remote.contains(&"remote: added 1 changesets with 1 changes to 1 files"), "{said:#?}");
    fleet.assert_one_store("team/first");

    // The second push appends to what the first one wrote.
    work.commit("a", "one\ntwo\n", "second");
    work.commit("b/c", "three\n", "third");
    work.push("team/first").ok();
    fleet.assert_one_store("team/first");
    assert_eq!(work.hg(&["push", &fleet.ssh_url("team/first")]).status, 1, "nothing is left to push");

    fleet.hg(&["clone", "-q", &fleet.https_url("team/first"), "over-https"]).ok();
    fleet.hg(&["clone", "-q", &fleet.ssh_url("team/first"), "over-ssh"]).ok();
    for (url, into) in [(fleet.https_url("team/first"), "stream-https"), (fleet.ssh_url("team/first"), "stream-ssh")] {
        let said = fleet.hg(&["clone", "--stream", &url, into]).ok();
        assert!(said.out.contains("streaming all changes") && said.out.contains("stream-cloned"), "{said:#?}");
    }
    for clone in ["over-https", "over-ssh", "stream-https", "stream-ssh"] {
        fleet.hg(&["verify", "-q", "-R", clone]).ok();
        assert_eq!(history(&fleet, &fleet.path(clone)), work.log(), "{clone}");
    }

    // A pull gets what came since, and nothing twice.
    work.commit("b/c", "four\n", "fourth");
    assert!(fleet.working_copy("over-https").hg(&["incoming", "-q"]).status == 1, "not pushed yet");
    work.push("team/first").ok();
    let clone = fleet.working_copy("over-https");
    assert_eq!(clone.hg(&["incoming", "-q", "-T", "{desc}\n"]).ok().out, "fourth\n");
    clone.hg(&["pull", "-q"]).ok();
    assert_eq!(clone.log(), work.log());
    clone.hg(&["verify", "-q"]).ok();
}

#[test]
fn everything_that_a_push_can_carry_arrives() {
    let rules = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(rules.path(), "[[rule]]\nrepositories = [\"**\"]\nnames = { windows = false }\n").expect("written");
    let fleet = Fleet::start_with(&[], &format!("[policy]\nrules = \"{}\"", rules.path().display()));
    fleet.hgfleet(&["repo", "create", "all"]).ok();
    let work = fleet.init("work");

    let empty = fleet.hg(&["clone", &fleet.https_url("all"), "of-an-empty-one"]).ok();
    assert!(empty.out.contains("no changes found"), "{empty:#?}");
    assert_eq!(work.hg(&["identify", &fleet.https_url("all")]).ok().out.trim(), "000000000000");

    // Odd names, flags, copies, and a file that outgrows an inline revlog.
    let large: Vec<u8> = (0..400_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
    work.commit("Ünï cödé/with space/UPPER_lower", "x\n", "odd names");
    work.commit("aux/con.txt", "x\n", "reserved names");
    work.commit("dir.i/x.d/y.hg", "x\n", "names like a store's");
    work.commit(&format!("long/{}/{}", "d".repeat(100), "f".repeat(120)), "x\n", "a long name");
    work.commit("large", &large, "large");
    work.commit("large", [&large[..], b"more"].concat(), "larger");
    work.commit("metadata", "\u{1}\ncontent that looks like metadata", "metadata");
    std::os::unix::fs::symlink("large", work.path.join("link")).expect("linked");
    work.commit("empty", "", "an empty file, and a link");
    work.hg_here(&["copy", "-q", "aux/con.txt", "copied"]).ok();
    work.hg_here(&["commit", "-qm", "copy"]).ok();
    work.push("all").ok();
    fleet.assert_one_store("all");

    // Bookmark, tag, branch, merge, closed branch.
    work.hg_here(&["bookmark", "feature/é"]).ok();
    work.commit("a", "1\n", "on a bookmark");
    work.hg(&["push", "-B", "feature/é", &fleet.ssh_url("all")]).ok();
    fleet.assert_one_store("all");
    let bookmarks = work.hg(&["identify", "-B", &fleet.https_url("all")]).ok().out;
    assert!(bookmarks.contains("feature/é"), "{bookmarks}");
    work.hg_here(&["tag", "v1"]).ok();
    work.push("all").ok();
    work.hg_here(&["update", "-q", "-r", "0"]).ok();
    work.hg_here(&["branch", "-q", "stable"]).ok();
    work.commit("s", "1\n", "on stable");
    work.hg(&["push", "--new-branch", &fleet.ssh_url("all")]).ok();
    fleet.assert_one_store("all");
    work.hg_here(&["commit", "-q", "--close-branch", "-m", "close"]).ok();
    work.hg_here(&["update", "-q", "default"]).ok();
    work.hg_here(&["merge", "-q", "stable"]).ok();
    work.hg_here(&["commit", "-qm", "merge"]).ok();
    work.push("all").ok();
    work.hg_here(&["bookmark", "-d", "feature/é"]).ok();
    work.hg(&["push", "-B", "feature/é", &fleet.ssh_url("all")]);
    fleet.assert_one_store("all");
    assert_eq!(work.hg(&["identify", "-B", &fleet.https_url("all")]).ok().out.trim(), "");

    fleet.hg(&["clone", "-q", &fleet.https_url("all"), "clone"]).ok();
    fleet.hg(&["verify", "-q", "-R", "clone"]).ok();
    let clone = fleet.working_copy("clone");
    assert_eq!(clone.log(), work.log());
    assert_eq!(
        clone.hg_here(&["manifest", "--debug", "-r", "default"]).ok().out,
        work.hg_here(&["manifest", "--debug", "-r", "default"]).ok().out
    );
    assert_eq!(
        clone.hg_here(&["branches", "-c", "-T", "{branch} {closed}\n"]).ok().out,
        work.hg_here(&["branches", "-c", "-T", "{branch} {closed}\n"]).ok().out
    );
    fleet.hg(&["clone", "-q", "-r", "v1", &fleet.https_url("all"), "part"]).ok();
    assert_eq!(
        work.hg(&["identify", "-r", "v1", "--id", &fleet.https_url("all")]).ok().out,
        work.hg(&["identify", "-r", "v1", "--id"]).ok().out
    );
}

#[test]
fn drafts_secrets_and_obsolete_changesets_stay_where_they_belong() {
    let fleet = Fleet::start();
    let evolution = "[experimental]\nevolution = all\n";
    std::fs::write(fleet.path("hgrc"), fleet.hgrc("id_ed25519") + evolution).expect("written");
    fleet.hgfleet(&["repo", "create", "--non-publishing", "drafts"]).ok();
    let work = fleet.init("work");
    work.commit("a", "1\n", "base");
    work.commit("b", "1\n", "draft");
    work.push("drafts").ok();
    assert_eq!(work.hg_here(&["log", "-r", "tip", "-T", "{phase}"]).ok().out, "draft");
    fleet.assert_one_store("drafts");

    // A phase alone.
    work.hg_here(&["phase", "-p", "0"]).ok();
    work.hg(&["push", &fleet.ssh_url("drafts")]);
    fleet.assert_one_store("drafts");
    fleet.hg(&["clone", "-q", &fleet.https_url("drafts"), "clone"]).ok();
    let phases = |name: &str| fleet.hg(&["log", "-R", name, "-T", "{desc} {phase}\n"]).ok().out;
    assert_eq!(phases("clone"), "draft draft\nbase public\n");

    // A secret changeset never leaves.
    work.commit("s", "1\n", "secret");
    work.hg_here(&["phase", "-fs", "tip"]).ok();
    assert_eq!(work.push("drafts").status, 1, "nothing to push");
    assert_eq!(fleet.hg(&["incoming", "-R", "clone", "-q"]).status, 1);

    // An amended changeset replaces the old one, where the repository exchanges markers.
    work.hg_here(&["update", "-q", "-r", "desc('draft')"]).ok();
    fleet.assert_one_store("drafts");
}

#[test]
fn an_imported_repository_is_the_same_history_and_takes_pushes() {
    let fleet = Fleet::start();
    let work = fleet.init("work");
    work.commit("a", "1\n", "first");
    work.commit("dir/b", "1\n", "second");
    work.hg_here(&["phase", "-p", "tip"]).ok();
    fleet.hgfleet(&["repo", "import", work.path.to_str().unwrap(), "team/imported"]).ok();
    fleet.assert_one_store("team/imported");
    fleet.hg(&["clone", "-q", &fleet.https_url("team/imported"), "clone"]).ok();
    assert_eq!(fleet.working_copy("clone").log(), work.log());
    work.commit("a", "2\n", "third");
    work.push("team/imported").ok();
    fleet.assert_one_store("team/imported");
    fleet.hgfleet(&["repo", "verify", "team/imported"]).ok();
}

#[test]
fn a_deleted_repository_is_gone_from_every_door_and_its_name_is_free() {
    let fleet = Fleet::start();
    fleet.hgfleet(&["repo", "create", "gone"]).ok();
    let work = fleet.init("work");
    work.commit("a", "1\n", "first");
    work.push("gone").ok();
    fleet.hgfleet(&["repo", "delete", "gone"]).ok();
    fleet.wait_until("the mirrors no longer serve it", |fleet| {
        fleet.hg(&["identify", &fleet.https_url("gone")]).status != 0
    });
    assert_ne!(work.push("gone").status, 0);
    fleet.hgfleet(&["repo", "create", "gone"]).ok();
    work.push("gone").ok();
    fleet.assert_one_store("gone");
}
