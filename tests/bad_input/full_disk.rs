//! Rows E1 and R13: full disks, real ones (small file systems in memory, in a mount namespace of the fleet's own).

use crate::support::fleet::Fleet;
use crate::support::run::Said;
use std::fs;
use std::io::Write;
use std::path::Path;

/// Fills a disk but for this many bytes.
fn fill(folder: &Path, left: u64) {
    let mut ballast = fs::File::create(folder.join("ballast")).expect("made");
    let chunk = [0; 64 << 10];
    while ballast.write_all(&chunk).is_ok() {}
    let bytes = ballast.metadata().expect("there").len();
    ballast.set_len(bytes.saturating_sub(left)).expect("shortened");
}

fn empty(folder: &Path) {
    fs::remove_file(folder.join("ballast")).expect("removed");
}

fn words(said: &Said) -> String {
    format!("{}{}", said.out, said.err)
}

#[test]
fn a_full_disk_is_named_loses_nothing_and_passes() {
    let disks = [("mirror-1", 40), ("master", 160), ("log", 64)];
    let Some(fleet) = Fleet::start_on_small_disks(&disks) else { return };
    let disk = |name: &str| fleet.data().join(name);
    for name in ["a", "b"] {
        fleet.hgfleet(&["repo", "create", name]).ok();
    }
    let work = fleet.init("work");
    work.commit("f", "1\n", "first");
    work.push("a").ok();
    work.push("b").ok();
    fleet.assert_one_store("a");
    let noise = |seed: u64, bytes: u64| -> Vec<u8> {
        (1..bytes / 8)
            .flat_map(|n| (n ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29).to_le_bytes())
            .collect()
    };
    let reads = |what: &str| {
        for _ in 0..2 {
            let seen = fleet.hg(&["identify", &fleet.https_url("a")]);
            assert_eq!(seen.status, 0, "{what}: {seen:?}");
        }
        let seen = fleet.hg(&["identify", &fleet.ssh_url("a")]);
        assert_eq!(seen.status, 0, "{what}: {seen:?}");
    };

    // A mirror's.
    fill(&disk("mirror-1"), 64 << 10);
    work.commit("large", noise(1, 3 << 20), "large");
    let said = work.push("a").ok();
    assert!(words(&said).contains("remote: stored as "), "{said:?}");
    fleet.wait_until("the mirror says why it is out", |fleet| {
        let entry = fleet.server("mirror-1");
        entry["state"] == "out" && entry["reason"].as_str().is_some_and(|reason| reason.contains("No space left"))
    });
    reads("with a full mirror");
    work.commit("f", "2\n", "second");
    let said = work.push("a").ok();
    assert!(words(&said).contains("visible on 1 of 1 mirrors"), "{said:?}");
    empty(&disk("mirror-1"));
    fleet.wait_until("the mirror is back by itself", |fleet| fleet.server("mirror-1")["state"] == "in-service");
    fleet.assert_one_store("a");
    fleet.assert_one_store("b");

    // The master's: refused before the append.
    let end = fleet.status()["log"]["sequence"].clone();
    fill(&disk("master"), 2 << 20);
    work.commit("f", "3\n", "third");
    let said = work.push("a");
    assert_eq!(said.status, 255, "{said:?}");
    assert!(words(&said).contains("remote: refused: the server's disk is full ("), "{said:?}");
    assert_eq!(fleet.status()["log"]["sequence"], end);
    reads("with a full master");
    empty(&disk("master"));
    work.push("a").ok();

    // The log's: what is stored becomes visible still, further changes are refused.
    fill(&disk("log"), 18 << 20);
    work.commit("large", noise(2, 3 << 20), "large again");
    let said = work.push("a");
    assert_eq!(said.status, 255, "{said:?}");
    assert!(words(&said).contains("remote: refused: the log's disk is full: "), "{said:?}");
    reads("with a full log");
    empty(&disk("log"));
    let said = work.push("a").ok();
    assert!(words(&said).contains("visible on 2 of 2 mirrors"), "{said:?}");
    fleet.assert_one_store("a");
    assert!(!fleet.log().contains("panicked"), "{}", fleet.log());
}
