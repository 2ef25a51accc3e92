//! The same fleet with its log in a NATS server.

use crate::support::clients::history;
use crate::support::fleet::Fleet;
use crate::support::nats::Server;

#[test]
fn a_fleet_whose_log_is_in_jetstream_stores_a_push_everywhere_and_outlives_its_log() {
    let mut server = Server::alone("");
    let section = format!("[log]\nbackend = \"jetstream\"\nservers = [\"{}\"]\nreplicas = 1\n", server.url());
    let mut fleet = Fleet::start_with(&[], &section);
    assert_eq!(fleet.status()["log"]["sequence"], 1, "the epoch record: JetStream begins at 1");
    assert_eq!(fleet.status()["lease"]["holder"], "master");
    fleet.hgfleet(&["repo", "create", "team/first"]).ok();
    let work = fleet.init("work");
    work.commit("a", "one\n", "first");
    let said = work.push("team/first").ok();
    assert!(said.out.contains("remote: stored as 3\n"), "{said:#?}");
    assert!(said.out.contains("remote: visible on 2 of 2 mirrors"), "{said:#?}");
    fleet.assert_one_store("team/first");
    fleet.hg(&["clone", "-q", &fleet.https_url("team/first"), "over-https"]).ok();
    assert_eq!(history(&fleet, &fleet.path("over-https")), work.log());
    assert_eq!(fleet.status()["visible_position"], 3);

    // More than one message holds.
    work.commit("large", noise(3_000_000), "large");
    work.push("team/first").ok();
    fleet.assert_one_store("team/first");

    // Without the log nothing is pushed, and what is there is read.
    server.kill();
    work.commit("a", "two\n", "while the log is away");
    let said = work.push("team/first");
    assert_ne!(said.status, 0, "{said:#?}");
    fleet.hg(&["clone", "-q", &fleet.https_url("team/first"), "without-log"]).ok();
    server.start_again();
    fleet.wait_until("a push goes through again", |_| work.push("team/first").status == 0);
    fleet.assert_one_store("team/first");
    fleet.hg(&["pull", "-q", "-R", "without-log"]).ok();
    assert_eq!(history(&fleet, &fleet.path("without-log")), work.log());

    // A start finds in the log what was there before.
    fleet.kill();
    fleet.up(&[]);
    let work = fleet.working_copy("work");
    work.commit("a", "three\n", "after the restart");
    work.push("team/first").ok();
    fleet.assert_one_store("team/first");
}

/// So many digits that no compression makes much shorter.
fn noise(length: usize) -> String {
    let mut state = 1u64;
    let mut text = String::with_capacity(length + 16);
    while text.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push_str(&format!("{:016x}\n", state ^ (state >> 29)));
    }
    text
}
