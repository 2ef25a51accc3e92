//! Killed at any step, everything is well again at the next start, and nothing that was acknowledged is lost.

use crate::support::fleet::Fleet;
use crate::support::run::run;
use std::process::Command;

fn kill(fleet: &Fleet, server: &str) {
    let pid = fleet.server(server)["pid"].to_string();
    run(Command::new("kill").args(["-KILL", &pid])).ok();
    fleet.wait_until("it was started again", |fleet| {
        let entry = fleet.server(server);
        entry["pid"].to_string() != pid && entry["state"] == "in-service"
    });
}

#[test]
fn killed_servers_come_back_by_themselves() {
    let fleet = Fleet::start();
    fleet.hgfleet(&["repo", "create", "robust"]).ok();
    let work = fleet.init("work");
    for (n, server) in ["master", "mirror-1", "balancer", "mirror-2", "master"].iter().enumerate() {
        work.commit("a", format!("{n}\n"), &n.to_string());
        work.push("robust").ok();
        kill(&fleet, server);
    }
    work.commit("a", "last\n", "last");
    work.push("robust").ok();
    fleet.assert_one_store("robust");
    fleet.hg(&["clone", "-q", &fleet.https_url("robust"), "clone"]).ok();
    assert_eq!(fleet.working_copy("clone").log(), work.log());
}

#[test]
fn a_fleet_that_is_killed_whole_starts_again_with_everything() {
    let mut fleet = Fleet::start();
    fleet.hgfleet(&["repo", "create", "robust"]).ok();
    let work_path = fleet.init("work").path;
    let acknowledged = |fleet: &Fleet, n: u32| {
        let work = fleet.working_copy("work");
        work.commit("a", format!("{n}\n"), &n.to_string());
        work.push("robust").ok();
    };
    for n in 0..3 {
        acknowledged(&fleet, n);
        fleet.kill();
        fleet.up(&[]);
        fleet.assert_one_store("robust");
    }
    fleet.hg(&["clone", "-q", &fleet.https_url("robust"), "clone"]).ok();
    assert_eq!(fleet.working_copy("clone").log(), fleet.working_copy("work").log());
    drop(work_path);
}
