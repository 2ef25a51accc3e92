//! The log is printed for people and programs, trimmed below what its servers need, and a server that comes later takes copies.

use crate::support::fleet::Fleet;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

const SERVERS: [&str; 4] = ["master", "standby-1", "mirror-1", "mirror-2"];

fn json(line: &str) -> serde_json::Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

#[test]
fn the_log_is_printed_and_trimmed_and_a_server_that_comes_later_takes_copies() {
    let sections = "[log]\nretain_records = 2\ntrim_every_seconds = 1\n[master]\nlease_ms = 2000";
    let mut fleet = Fleet::start_with(&["standby-1"], sections);
    for name in ["one", "two", "gone"] {
        fleet.hgfleet(&["repo", "create", name]).ok();
    }
    let work = fleet.init("one");
    work.commit("file", "first\n", "first");
    work.hg_here(&["bookmark", "mine"]).ok();
    work.hg(&["push", "-q", "-B", "mine", &fleet.ssh_url("one")]).ok();
    let node = work.hg_here(&["log", "-r", "tip", "-T", "{node}"]).ok().out;

    let listed = fleet.hgfleet(&["log", "list", "--json", "--limit", "1"]).ok().out;
    let pushed = json(&listed);
    assert_eq!(listed.lines().count(), 1, "{listed}");
    assert_eq!(
        (&pushed["kind"], &pushed["repository"], &pushed["changesets"][0]),
        (&"alter".into(), &"one".into(), &node.as_str().into()),
        "{pushed}"
    );
    assert_eq!(pushed["bookmarks"][0]["after"], node, "{pushed}");
    let sequence = pushed["sequence"].to_string();
    let shown = fleet.hgfleet(&["log", "show", &sequence]).ok().out;
    assert!(shown.contains(&format!("changeset   {node}")), "{shown}");
    let listed = fleet.hgfleet(&["log", "list", "--from", &sequence]).ok().out;
    assert!(listed.starts_with(&format!("{sequence}  epoch 1  ")) && listed.contains("  alter  one  "), "{listed}");
    let beyond = fleet.hgfleet(&["log", "show", "9999"]);
    assert!(beyond.status == 1 && beyond.err.contains("there is no record 9999: the log ends at"), "{beyond:#?}");

    let mut tail = Command::new(env!("CARGO_BIN_EXE_hgfleet"))
        .args(["log", "tail", "--json", "--config"])
        .arg(fleet.data().join("hgfleet.toml"))
        .stdout(Stdio::piped())
        .spawn()
        .expect("tail starts");
    let mut lines = BufReader::new(tail.stdout.take().expect("piped")).lines();
    let two = fleet.init("two");
    two.commit("file", "x", "x");
    two.push("two").ok();
    let mut next = || json(&lines.next().expect("goes on").expect("UTF-8"));
    let came =
        std::iter::from_fn(|| Some(next())).find(|record| record["repository"] == "two" && record["kind"] == "alter");
    assert_eq!(came.expect("came")["changesets"].as_array().map(Vec::len), Some(1));
    tail.kill().expect("ours");
    tail.wait().expect("ours");

    // Whoever is away holds nothing up here for long: the log keeps two records.
    fleet.hgfleet(&["repo", "delete", "gone"]).ok();
    for at in 0..3 {
        work.commit("file", format!("{at}\n"), "more");
        work.push("one").ok();
    }
    fleet.wait_until("the log is trimmed", |fleet| {
        let first = fleet.hgfleet(&["log", "list", "--from", "1"]);
        first.status == 1 && first.err.contains("was trimmed; the log begins at")
    });
    for server in ["standby-1", "mirror-2"] {
        fleet.down();
        std::fs::remove_dir_all(fleet.data().join(server)).expect("a server's folder");
        fleet.up(&[]);
        fleet.wait_until_whole(&SERVERS);
        fleet.wait_until("all repositories were copied", |fleet| fleet.server(server)["reason"] == "");
        for name in ["one", "two"] {
            fleet.assert_one_store(name);
        }
        let work = fleet.working_copy("one");
        work.commit("file", server, server);
        work.push("one").ok();
        fleet.assert_one_store("one");
    }
    fleet.hgfleet(&["failover", "--to", "standby-1"]).ok();
    for name in ["one", "two"] {
        let work = fleet.working_copy(name);
        work.commit("file", "from the new master", "last");
        work.push(name).ok();
        fleet.assert_one_store(name);
    }
}
