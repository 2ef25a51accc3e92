//! Group 8: records that are not as they were written. Rows R1 and R2 down to every bit and every length are in
//! `crates/hgfleet-log/src/record/tests.rs`; here, what a fleet does that meets one.

use crate::support::fleet::Fleet;
use crate::support::run::run;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Flips one bit in the record of this sequence; in the last one for 0. Python has SQLite with it, as `hg` has Python.
fn flip(log: &Path, sequence: u64) {
    let script = "
import sqlite3, sys
log = sqlite3.connect(sys.argv[1])
def flip(record):
    record = bytearray(record)
    record[90] ^= 1
    return bytes(record)
log.create_function('flip', 1, flip)
which = int(sys.argv[2]) or log.execute('SELECT max(sequence) FROM records').fetchone()[0]
log.execute('UPDATE records SET record = flip(record) WHERE sequence = ?', (which,))
assert log.total_changes == 1
log.commit()
";
    run(Command::new("python3").args(["-c", script]).arg(log).arg(sequence.to_string())).ok();
}

fn out(fleet: &Fleet, server: &str, reason: &str) -> bool {
    let status = fleet.status();
    let servers = status["servers"].as_array().cloned().unwrap_or_default();
    let entry = servers.iter().find(|entry| entry["name"] == server).cloned().unwrap_or_default();
    entry["state"] == "out" && entry["reason"].as_str().is_some_and(|found| found.contains(reason))
}

#[test]
fn a_damaged_record_stops_who_needs_it_and_nobody_else() {
    let mut fleet = Fleet::start();
    fleet.hgfleet(&["repo", "create", "team/first"]).ok();
    let log = fleet.data().join("log/log.sqlite");
    {
        let work = fleet.init("work");
        for n in 0..3 {
            work.commit("a", format!("{n}\n"), "changed");
            work.push("team/first").ok();
        }
    }
    fleet.assert_one_store("team/first");
    let mirror = fleet.data().join("mirror-2");
    fleet.down();
    // R1: a mirror with a new disk needs all of the log, and one bit of a record in the middle is another.
    fs::remove_dir_all(&mirror).unwrap();
    flip(&log, 3);
    fleet.begin(&[]);
    fleet.wait_until("the mirror says which record is damaged", |fleet| out(fleet, "mirror-2", "record 3 in the log"));
    {
        let work = fleet.working_copy("work");
        work.commit("a", "more\n", "more");
        let said = work.push("team/first").ok();
        assert!(said.out.contains("stored as "), "{said:?}");
    }
    for _ in 0..3 {
        fleet.hg(&["identify", &fleet.https_url("team/first")]).ok();
    }
    // Whole again, it goes on by itself.
    fleet.down();
    flip(&log, 3);
    fleet.up(&[]);
    fleet.assert_one_store("team/first");
    // In order, so that the last view names no mirror.
    fleet.down();

    // The last record: the master does not begin an epoch on what it can't read, and mirrors go on serving.
    flip(&log, 0);
    let before = fleet.log().len();
    fleet.begin(&[]);
    fleet.wait_until("the master says what is damaged", |fleet| {
        fleet.log()[before..].contains("in the log can't be used")
    });
    fleet.wait_until("mirrors serve", |fleet| fleet.hg(&["identify", &fleet.https_url("team/first")]).status == 0);
    let refused = fleet.working_copy("work").push("team/first");
    assert_ne!(refused.status, 0, "{refused:?}");
    fleet.down();
    flip(&log, 0);
    fleet.up(&[]);
    let work = fleet.working_copy("work");
    work.commit("a", "last\n", "last");
    work.push("team/first").ok();
    fleet.assert_one_store("team/first");
}
