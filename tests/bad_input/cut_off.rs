//! Row S19: whoever asks goes away in the middle. It is wholly done or wholly undone, on every server.

use crate::support::fleet::{Fleet, HGFLEET};
use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::Duration;

#[test]
fn creating_and_deleting_is_whole_or_not_at_all_when_its_client_dies() {
    let fleet = Fleet::start();
    let cut = |arguments: &[&str], after: Duration| {
        let mut command = Command::new(HGFLEET);
        command.args(arguments).arg("--config").arg(fleet.data().join("hgfleet.toml"));
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
        std::thread::sleep(after);
        child.kill().expect("ours");
        child.wait().expect("ended");
    };
    for step in 0..12u64 {
        cut(&["repo", "create", &format!("cut/r{step}")], Duration::from_millis(step * 2));
        fleet.hgfleet(&["repo", "create", &format!("whole/r{step}")]).ok();
        cut(&["repo", "delete", &format!("whole/r{step}")], Duration::from_millis(step * 2));
    }
    fleet.hgfleet(&["repo", "create", "last"]).ok();
    fleet.assert_one_store("last");
    let listed = fleet.hgfleet(&["repo", "list"]).ok().out;
    let listed: BTreeSet<&str> = listed.lines().filter_map(|line| line.split_whitespace().next()).collect();
    for (group, step) in ["cut", "whole"].iter().flat_map(|group| (0..12).map(move |step| (group, step))) {
        let name = format!("{group}/r{step}");
        for copy in fleet.copies(&name) {
            assert_eq!(copy.join(".hg").exists(), listed.contains(name.as_str()), "{}", copy.display());
        }
        if listed.contains(name.as_str()) {
            fleet.assert_one_store(&name);
        }
    }
}
