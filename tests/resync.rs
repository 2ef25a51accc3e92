//! Damage on any server is found and healed from a good copy, and nothing else stops for it.

use crate::support::fleet::Fleet;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Reads everything again all the time.
fn scrub_at_once(fleet: &mut Fleet) {
    fleet.down();
    let path = fleet.data().join("hgfleet.toml");
    let text = std::fs::read_to_string(&path).expect("a configuration");
    let text = text.replace("every_seconds = 72000", "every_seconds = 1");
    assert!(text.contains("every_seconds = 1 "), "{text}");
    std::fs::write(&path, text).expect("written");
    fleet.up(&[]);
}

fn flip_a_bit(path: &Path, at: u64) {
    let file = std::fs::File::options().read(true).write(true).open(path).expect("a file of a store");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("read");
    file.write_all_at(&[byte[0] ^ 16], at).expect("flipped");
}

#[test]
fn what_is_damaged_or_altered_on_any_server_is_found_and_healed() {
    let mut fleet = Fleet::start();
    scrub_at_once(&mut fleet);
    for name in ["a", "b"] {
        fleet.hgfleet(&["repo", "create", name]).ok();
        let work = fleet.init(name);
        work.commit("file", vec![b'x'; 3000], "first");
        work.push(name).ok();
        fleet.assert_one_store(name);
    }
    for server in ["master", "mirror-1"] {
        fleet.wait_until("the size of the stores is known", |fleet| {
            fleet.server(server)["disk"]["store_bytes"].as_u64() > Some(500)
        });
    }
    // A disk's mistake is healed without hands, on the master as on a mirror.
    for server in ["master", "mirror-2"] {
        flip_a_bit(&fleet.data().join(server).join("repos/a/.hg/store/data/file.i"), 66);
        let before = fleet.log().len();
        fleet.wait_until("the damage is found and healed", |fleet| {
            fleet.log()[before..].contains("a copy is in service")
        });
        let work = fleet.working_copy("a");
        work.commit("file", server, server);
        work.push("a").ok();
        fleet.assert_one_store("a");
    }
    // Somebody's commit in the master's store may be their only copy: it waits for an operator's word.
    let store = fleet.data().join("master/repos/b");
    let path = store.to_str().expect("UTF-8");
    // The master's scrub runs all the time here, and would heal half a commit away.
    fleet.signal("master", "STOP");
    fleet.hg(&["-R", path, "commit", "--config", "ui.allowemptycommit=1", "-q", "-m", "mine"]).ok();
    fleet.signal("master", "CONT");
    let work = fleet.working_copy("b");
    work.commit("file", "more", "second");
    let refused = work.push("b");
    assert!(
        refused.status != 0 && format!("{}{}", refused.out, refused.err).contains("altered behind the fleet's back"),
        "{refused:#?}"
    );
    fleet.wait_until("status says what to do", |fleet| {
        fleet.server("master")["reason"].as_str().is_some_and(|reason| reason.contains("hgfleet repo resync b"))
    });
    fleet.hg(&["clone", "-q", &fleet.https_url("b"), "clone-b"]).ok();
    assert_eq!(fleet.hgfleet(&["repo", "resync", "b", "--server", "nobody"]).status, 1);
    let said = fleet.hgfleet(&["repo", "resync", "b"]).ok();
    assert!(said.out.contains("master: b was copied from mirror-"), "{said:#?}");
    assert_eq!(std::fs::read_dir(fleet.data().join("master/altered")).expect("kept").count(), 1);
    work.push("b").ok();
    fleet.assert_one_store("b");
    assert_eq!(fleet.hgfleet(&["repo", "resync", "b"]).status, 1, "nothing is in quarantine");
    let said = fleet.hgfleet(&["repo", "resync", "b", "--server", "mirror-1"]).ok();
    assert!(said.out.contains("mirror-1: b was copied from"), "{said:#?}");
    let said = fleet.hgfleet(&["repo", "verify", "--all"]).ok();
    assert_eq!(said.out.matches("mirror-2\tat ").count(), 2, "{said:#?}");
}

#[test]
fn a_folder_of_repositories_is_imported_and_an_import_that_broke_off_goes_on() {
    let fleet = Fleet::start();
    std::fs::create_dir_all(fleet.path("old/team")).expect("made");
    for name in ["one", "team/two", "team/three", "bad"] {
        let work = fleet.init(&format!("old/{name}"));
        work.commit("file", name, "first");
    }
    flip_a_bit(&fleet.path("old/bad/.hg/store/data/file.i"), 66);
    fleet.hgfleet(&["repo", "import", fleet.path("old/one").to_str().expect("UTF-8"), "site/one"]).ok();
    let folder = fleet.path("old");
    let folder = folder.to_str().expect("UTF-8");
    let said = fleet.hgfleet(&["repo", "import", folder, "site"]);
    assert_eq!(said.status, 1, "{said:#?}");
    assert!(said.out.contains("imported 2, 1 were there already, 1 failed"), "{said:#?}");
    assert!(said.err.contains("site/bad was not imported"), "{said:#?}");
    std::fs::remove_dir_all(fleet.path("old/bad")).expect("removed");
    let said = fleet.hgfleet(&["repo", "import", folder, "site"]).ok();
    assert!(said.out.contains("imported 0, 3 were there already, 0 failed"), "{said:#?}");
    for name in ["one", "team/two", "team/three"] {
        fleet.assert_one_store(&format!("site/{name}"));
    }
    assert_eq!(fleet.hgfleet(&["repo", "import", fleet.path("home").to_str().expect("UTF-8")]).status, 1);
}
