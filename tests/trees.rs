//! Repositories with tree manifests: pushed to, pulled from, kept by a fleet.

use crate::support::beside_stock::{clients, compare_with};
use crate::support::bundle::{bundle, changegroup_bytes, changegroup_with_trees, part};
use crate::support::clients::history;
use crate::support::fleet::Fleet;
use crate::support::store;
use crate::support::tree_history::TreeHistory;
use crate::support::wire_client::WireClient;
use std::cell::RefCell;
use std::fs;

const TREES: &[&str] = &["experimental.treemanifest=1"];

#[test]
fn pushes_of_folders_are_what_they_are_with_stock() {
    let sizes = RefCell::new(Vec::new());
    compare_with(TREES, "", |world| {
        world.clone("a");
        for file in ["top", "dir/one", "dir/deeper/two", "dir/deeper/three"] {
            fs::create_dir_all(world.path("a").join("dir/deeper")).expect("makes folders");
            fs::write(world.path("a").join(file), file).expect("writes");
        }
        world.commit("a", "Odd.i/name \u{e4}/~1", "first");
        world.hg("a", &["push"]);
        world.hg("a", &["push"]);
        world.hg("a", &["rename", "-q", "a/dir/deeper", "a/moved"]);
        world.hg("a", &["remove", "-q", "a/top"]);
        world.commit("a", "top/is/a/folder", "renamed");
        world.hg("a", &["update", "-q", "0"]);
        world.commit("a", "dir/one", "other head");
        world.hg("a", &["push", "-f"]);
        world.hg("a", &["merge", "-q"]);
        world.hg("a", &["commit", "-m", "merged", "-d", "0 0"]);
        world.hg("a", &["push"]);
        world.clone("b");
        world.hg("b", &["manifest", "--debug"]);
        world.hg("b", &["verify", "-q"]);
        sizes.borrow_mut().push(world.store_bytes());
    });
    for pair in sizes.borrow().chunks_exact(2) {
        assert!(pair[1] <= pair[0] + pair[0] / 100 + 2048, "the store has {} bytes, stock's {}", pair[1], pair[0]);
    }
}

#[test]
fn a_history_that_is_older_than_its_trees_is_pushed_as_to_stock() {
    compare_with(TREES, "", |world| {
        let flat = world.path("flat").display().to_string();
        world.on_server(&["--config", "experimental.treemanifest=0", "init", &flat]).ok();
        for (file, message) in [("top", "one"), ("dir/a", "two"), ("dir/sub/b", "three"), ("dir/a", "four")] {
            world.commit("flat", file, message);
        }
        world.clone("a");
        world.hg("a", &["pull", "-q", "-u", &flat]).ok();
        world.commit("a", "dir/sub/b", "in trees");
        world.commit("flat", "other/c", "still flat");
        world.hg("a", &["pull", "-q", &flat]).ok();
        world.hg("a", &["merge", "-q"]).ok();
        world.hg("a", &["commit", "-m", "both", "-d", "0 0"]).ok();
        world.hg("a", &["push"]).ok();
        world.commit("a", "dir/a", "later");
        world.hg("a", &["push"]).ok();
        world.clone("b");
        world.hg("b", &["manifest", "--debug", "-r", "1"]);
        world.hg("b", &["verify", "-q"]).ok();
    });
}

#[test]
fn a_fleet_takes_pushes_and_gives_them_out() {
    let rules = tempfile::NamedTempFile::new().expect("a file");
    let text = "[[rule]]\nrepositories = [\"**\"]\nfiles = { forbidden = [\"secret/**\"] }\n";
    fs::write(rules.path(), text).expect("written");
    let fleet = Fleet::start_with(&[], &format!("[policy]\nrules = \"{}\"", rules.path().display()));
    let trees = ["--config", TREES[0]];
    fleet.hg(&[&trees[..], &["init", "empty"]].concat()).ok();
    fleet.hgfleet(&["repo", "import", fleet.path("empty").to_str().expect("UTF-8"), "trees"]).ok();
    fleet.hgfleet(&["repo", "create", "flat"]).ok();

    fleet.hg(&[&trees[..], &["clone", "-q", &fleet.ssh_url("trees"), "work"]].concat()).ok();
    let work = fleet.working_copy("work");
    for (file, message) in [("dir/sub/a", "first"), ("dir/sub/b", "second"), ("other/c", "third")] {
        work.commit(file, message, message);
    }
    let said = work.push("trees").ok();
    assert!(said.out.contains("remote: added 3 changesets with 3 changes to 3 files"), "{said:#?}");
    fleet.assert_one_store("trees");
    for (number, client) in clients().iter().enumerate() {
        let fleet = fleet.with_hg(client);
        let work = fleet.working_copy("work");
        work.hg_here(&["rename", "-q", "dir", &format!("moved-{number}")]).ok();
        work.commit("dir/sub/a", number.to_string(), "moved");
        work.push("trees").ok();
    }
    fleet.assert_one_store("trees");
    for (clone, option, url) in [
        ("pulled", "--pull", fleet.https_url("trees")),
        ("pulled-over-ssh", "--pull", fleet.ssh_url("trees")),
        ("streamed", "--stream", fleet.https_url("trees")),
    ] {
        fleet.hg(&["clone", "-q", "-U", option, &url, clone]).ok();
        assert_eq!(history(&fleet, &fleet.path(clone)), work.log());
        fleet.hg(&["verify", "-q", "-R", clone]).ok();
    }
    fleet.hgfleet(&["repo", "verify", "trees"]).ok();

    let refused = |from: &str, to: &str, expected: &str| {
        let said = fleet.working_copy(from).hg(&["push", "-f", &fleet.ssh_url(to)]);
        let told = said.out.clone() + &said.err;
        assert!(said.status != 0 && told.contains(expected), "{said:#?}");
    };
    let tree_words = "refused: bundle contains tree manifests, but the repository does not use tree manifests, ";
    refused("work", "flat", tree_words);
    let flat = fleet.init("flat-work");
    flat.commit("dir/a", "1", "first");
    refused("flat-work", "trees", "refused: bundle contains flat manifests, but the repository uses tree manifests, ");
    work.commit("secret/key/file", "1", "a secret");
    refused("work", "trees", "secret/key/file");
    fleet.assert_one_store("trees");

    fleet.hg(&[&trees[..], &["init", "another"]].concat()).ok();
    fleet.hgfleet(&["repo", "import", fleet.path("another").to_str().expect("UTF-8"), "another"]).ok();
    bad_pushes_are_refused_by_name(&fleet, "another");
}

/// Each in its form on the wire; what is wrong with their content has more rows in `hg-store/tests/tree_refusals.rs`.
fn bad_pushes_are_refused_by_name(fleet: &Fleet, name: &str) {
    let mut good = TreeHistory::default();
    good.commit(&[(b"a", b"1\n"), (b"d/e/c", b"1\n")]);
    let forged = |change: fn(&mut TreeHistory)| {
        let mut history = good.clone();
        change(&mut history);
        bundle(&[changegroup_with_trees(history.pieces())])
    };
    let whole = changegroup_bytes(good.pieces(), true);
    // The end of the list of folders is missing: the first file is taken for one.
    let at = whole.windows(9).position(|bytes| bytes == b"\0\0\0\0\0\0\0\x05a").expect("the first file");
    let without_end = [&whole[..at], &whole[at + 4..]].concat();
    let of_trees =
        |payload: &[u8]| bundle(&[part("CHANGEGROUP", &[("VERSION", "03"), ("TREEMANIFEST", "1")], payload)]);
    let rows = [
        (of_trees(&whole[..whole.len() - 4]), "refused: stream ended unexpectedly"),
        (of_trees(&whole[..at]), "refused: stream ended unexpectedly"),
        (of_trees(&without_end), "name of a folder ends without a slash, manifests of folder a. "),
        (forged(|push| drop(push.trees.remove(&b"d/e/"[..]))), " is missing, manifests of folder d/e/. "),
        (forged(|push| push.trees.retain(|_, _| false)), " is missing, manifests of folder d/. "),
        (
            forged(|push| {
                let group = push.trees[&b"d/e/"[..]].clone();
                push.trees.insert(b"d/../e/".to_vec(), group);
            }),
            "name has a part that is `.` or `..`, manifests of folder d/../e/. ",
        ),
        (
            forged(|push| push.trees.get_mut(&b"d/"[..]).expect("there")[0].p1 = push.manifests[0].node),
            "unknown parent ",
        ),
        (bundle(&[part("CHANGEGROUP", &[("VERSION", "03")], &whole)]), "refused: bundle contains flat manifests, "),
    ];
    let files = || store::files(&fleet.copies(name)[0].join(".hg"));
    let before = files();
    let mut client = WireClient::begin(fleet, "id_ed25519", name);
    for (bytes, expected) in &rows {
        let said = client.push(expected, bytes, expected);
        assert!(said.len() < 2_000, "{said}");
        assert!(files() == before, "{expected}: the store has changed");
    }
    client.push("a good push", &bundle(&[changegroup_with_trees(good.pieces())]), "stored as");
    fleet.assert_one_store(name);
}
