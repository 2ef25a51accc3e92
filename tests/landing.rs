//! A service that pushes what somebody else asked for.

use crate::support::clients::{WorkingCopy, ssh_options};
use crate::support::fleet::Fleet;
use crate::support::run::{Said, run};
use std::process::Command;

const LANDING: &str = "landing@example.com";

/// Pushes with a key, and with who asked for it in the environment.
fn push_for(fleet: &Fleet, work: &WorkingCopy<'_>, key: &str, requester: &str) -> Said {
    let key = fleet.path("home/.ssh").join(key);
    let variable = format!("-oSetEnv=AUTOLAND_REQUEST_USER={requester}");
    let ssh = format!("ui.ssh=ssh {} {variable} -i {}", ssh_options().join(" "), key.display());
    work.hg(&["push", "--config", &ssh, &fleet.ssh_url("team/first")])
}

/// Who made the log's last record, and where it came from.
fn last(fleet: &Fleet) -> (String, String) {
    let said = fleet.hgfleet(&["log", "list", "--limit", "1", "--json"]).ok().out;
    let record: serde_json::Value = serde_json::from_str(said.trim()).expect("a record");
    let text = |key: &str| record[key].as_str().expect("a text").to_owned();
    (text("who"), text("source"))
}

#[test]
fn a_push_is_recorded_for_who_asked_and_by_whom_it_was_made() {
    let fleet = Fleet::start_with(&[], &format!("[session]\nlanding_accounts = [\"{LANDING}\"]"));
    let key = fleet.path("home/.ssh/landing");
    run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key)).ok();
    let public = key.with_extension("pub");
    fleet.hgfleet(&["account", "add", LANDING, "--key", public.to_str().expect("UTF-8")]).ok();
    fleet.hgfleet(&["repo", "create", "team/first"]).ok();
    let work = fleet.init("work");

    work.commit("file", "1\n", "first");
    push_for(&fleet, &work, "landing", "jane@example.com").ok();
    let (who, source) = last(&fleet);
    assert_eq!(who, "jane@example.com");
    assert!(source.starts_with("ssh:") && source.ends_with(&format!(" by {LANDING}")), "{source}");
    fleet.wait_until("the session's line has both", |fleet| {
        let log = fleet.log();
        log.lines()
            .any(|line| line.contains("session ended") && line.contains(LANDING) && line.contains("jane@example.com"))
    });

    work.commit("file", "2\n", "second");
    let refused = push_for(&fleet, &work, "landing", "jane");
    assert_eq!(refused.status, 255, "{refused:#?}");
    assert!(format!("{}{}", refused.out, refused.err).contains("as who asked for this push"), "{refused:#?}");
    assert_eq!(last(&fleet), (who, source), "nothing was stored");

    // Whoever else names somebody is recorded as who they are.
    push_for(&fleet, &work, "id_ed25519", "jane@example.com").ok();
    let (who, source) = last(&fleet);
    assert_eq!((who.as_str(), source.contains(" by ")), ("user@localhost", false));
    work.commit("file", "3\n", "third");
    run(work
        .command(&["push", "--config"])
        .arg(format!("ui.ssh=ssh {} -i {}", ssh_options().join(" "), key.display()))
        .arg(fleet.ssh_url("team/first")))
    .ok();
    assert_eq!(last(&fleet).0, LANDING, "it pushes for itself where nobody is named");
}
