//! Mirrors that are taken out and come back, and requests that name the record that they want to see.

use crate::support::fleet::Fleet;
use crate::support::run::{Said, run};
use std::process::Command;
use std::time::Duration;

/// Asks for a repository's heads through the balancer, with more arguments for curl; says body and status.
fn heads(fleet: &Fleet, query: &str, more: &[&str]) -> Said {
    let url = format!("{}?cmd=heads{query}", fleet.https_url("named"));
    run(fleet.curl().args(["-w", "%{http_code}"]).args(more).arg(url)).ok()
}

fn stored(said: &Said) -> u64 {
    let number = said.out.split("remote: stored as ").nth(1).and_then(|rest| rest.lines().next());
    number.and_then(|number| number.trim().parse().ok()).unwrap_or_else(|| panic!("not stored: {said:#?}"))
}

#[test]
fn a_request_that_names_a_record_is_answered_with_it_or_told_that_it_is_not_there() {
    let fleet = Fleet::start();
    fleet.hgfleet(&["repo", "create", "named"]).ok();
    let work = fleet.init("work");
    let tip = || work.hg_here(&["log", "-r", "tip", "-T", "{node}"]).ok().out;
    work.commit("a", "0\n", "0");
    let first = stored(&work.push("named").ok());
    let header = format!("X-Hgfleet-Sequence: {first}");
    assert_eq!(heads(&fleet, "", &["-H", &header]).out, format!("{}\n200", tip()));
    assert_eq!(heads(&fleet, &format!("&hgfleet-sequence={first}"), &[]).out, format!("{}\n200", tip()));
    assert!(fleet.hgfleet(&["wait", &first.to_string()]).ok().out.contains("is visible"));

    // A mirror's own door does the same.
    let socket = fleet.data().join("run/mirror-1.sock");
    let direct = |sequence: u64| {
        let header = format!("X-Hgfleet-Sequence: {sequence}");
        let mut curl = Command::new("curl");
        curl.args(["-s", "-w", "%{http_code}", "-H", &header, "-H", "X-Hgfleet-Timeout: 0.3", "--unix-socket"]);
        run(curl.arg(&socket).arg("http://localhost/named?cmd=heads")).ok().out
    };
    assert_eq!(direct(first), format!("{}\n200", tip()));
    assert!(direct(first + 100).ends_with("\n503"));

    // Not there yet: one clear line within the time limit, and never an older answer.
    let later = format!("X-Hgfleet-Sequence: {}", first + 100);
    let said = heads(&fleet, "", &["-H", &later, "-H", "X-Hgfleet-Timeout: 0.3"]);
    let expected = format!("record {} is not visible yet, the fleet shows {first}", first + 100);
    assert!(said.out.starts_with(&expected) && said.out.ends_with("\n503"), "{said:#?}");
    let said = fleet.hgfleet(&["wait", &(first + 100).to_string(), "--timeout", "1"]).refused();
    assert!(said.err.contains("is not visible after 1 s"), "{said:#?}");
    assert!(heads(&fleet, "&hgfleet-sequence=soon", &[]).out.ends_with("\n400"));

    // Asked for before it was pushed, it is waited for.
    work.commit("a", "1\n", "1");
    let next = format!("X-Hgfleet-Sequence: {}", first + 1);
    let answer = std::thread::scope(|scope| {
        let asked = scope.spawn(|| heads(&fleet, "", &["-H", &next]));
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(stored(&work.push("named").ok()), first + 1);
        asked.join().expect("answered")
    });
    assert_eq!(answer.out, format!("{}\n200", tip()));
}

#[test]
fn a_drained_mirror_stays_out_over_a_restart_until_it_is_let_in_again() {
    let fleet = Fleet::start();
    fleet.hgfleet(&["repo", "create", "named"]).ok();
    let work = fleet.init("work");
    work.commit("a", "0\n", "0");
    work.push("named").ok();
    assert!(fleet.hgfleet(&["drain", "mirror-9"]).refused().err.contains("no mirror called mirror-9"));
    fleet.hgfleet(&["drain", "mirror-1"]).ok();
    let is_drained = |fleet: &Fleet| {
        let server = fleet.server("mirror-1");
        server["state"] == "draining"
            && server["reason"].as_str().is_some_and(|reason| reason.contains("drained by command"))
    };
    fleet.wait_until("status shows that it is drained", is_drained);
    assert!(fleet.hgfleet(&["drain", "mirror-2"]).refused().err.contains("last mirror in service"));
    work.commit("a", "1\n", "1");
    assert!(work.push("named").ok().out.contains("remote: visible on 1 of 1 mirrors"));

    let pid = fleet.signal("mirror-1", "KILL");
    fleet.wait_until("it is started again, and still out", |fleet| {
        fleet.server("mirror-1")["pid"] != pid && is_drained(fleet)
    });
    work.commit("a", "2\n", "2");
    assert!(work.push("named").ok().out.contains("remote: visible on 1 of 1 mirrors"));

    fleet.hgfleet(&["undrain", "mirror-1"]).ok();
    fleet.wait_until("it is back", |fleet| fleet.server("mirror-1")["state"] == "in-service");
    work.commit("a", "3\n", "3");
    assert!(work.push("named").ok().out.contains("remote: visible on 2 of 2 mirrors"));
    fleet.assert_one_store("named");
}
