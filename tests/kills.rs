//! Killed at any step, everything is well again at the next start, and nothing that was acknowledged is lost.

use crate::support::fleet::Fleet;
use crate::support::run::run;
use crate::support::steps::{MASTER_STEPS, MIRROR_STEPS, SESSION_STEPS};
use std::process::Command;

/// All of a fleet without a standby.
const SERVERS: [&str; 4] = ["master", "mirror-1", "mirror-2", "balancer"];

#[test]
fn killed_servers_come_back_by_themselves() {
    let fleet = Fleet::start();
    fleet.hgfleet(&["repo", "create", "robust"]).ok();
    let work = fleet.init("work");
    for (n, server) in ["master", "mirror-1", "balancer", "mirror-2", "master"].iter().enumerate() {
        work.commit("a", format!("{n}\n"), &n.to_string());
        work.push("robust").ok();
        let pid = fleet.server(server)["pid"].clone();
        run(Command::new("kill").args(["-KILL", &pid.to_string()])).ok();
        fleet.wait_until("it was started again", |fleet| {
            let entry = fleet.server(server);
            entry["pid"] != pid && entry["state"] == "in-service"
        });
        fleet.wait_until_whole(&SERVERS);
    }
    work.commit("a", "last\n", "last");
    work.push("robust").ok();
    fleet.assert_one_store("robust");
    fleet.hg(&["clone", "-q", &fleet.https_url("robust"), "clone"]).ok();
    assert_eq!(fleet.working_copy("clone").log(), work.log());
}

#[test]
fn a_process_that_dies_at_any_step_of_a_push_loses_nothing() {
    let mut fleet = Fleet::start();
    fleet.down();
    let steps = fleet.path("stop-at");
    std::fs::create_dir(&steps).expect("made");
    fleet.up(&[("HGFLEET_STOP_AT", steps.to_str().expect("UTF-8"))]);
    fleet.hgfleet(&["repo", "create", "robust"]).ok();
    let work = fleet.init("work");
    work.commit("a", "0\n", "0");
    work.push("robust").ok();
    for step in SESSION_STEPS.iter().chain(&MASTER_STEPS).chain(&MIRROR_STEPS) {
        work.commit("a", step, step);
        work.commit(&format!("files/{step}"), step, step);
        std::fs::write(steps.join(step), "KILL").expect("armed");
        let said = work.push("robust");
        assert!(!steps.join(step).exists(), "{step} was never reached: {said:#?}");
        let stored = said.out.contains("remote: stored as ");
        fleet.wait_until_whole(&SERVERS);
        if stored {
            // What the client was told is so: nothing is left to push.
            assert_eq!(work.push("robust").status, 1, "{step}: stored, and then not there; first it said {said:#?}");
        } else {
            fleet.wait_until("the push goes through", |_| [0, 1].contains(&work.push("robust").status));
        }
        fleet.assert_one_store("robust");
    }
    fleet.hg(&["clone", "-q", &fleet.https_url("robust"), "clone"]).ok();
    assert_eq!(fleet.working_copy("clone").log(), work.log());
}

#[test]
fn a_fleet_that_is_killed_whole_starts_again_with_everything() {
    let mut fleet = Fleet::start();
    fleet.hgfleet(&["repo", "create", "robust"]).ok();
    fleet.init("work");
    for n in 0..3 {
        let work = fleet.working_copy("work");
        work.commit("a", format!("{n}\n"), &n.to_string());
        work.push("robust").ok();
        fleet.kill();
        fleet.up(&[]);
        fleet.assert_one_store("robust");
    }
    fleet.hg(&["clone", "-q", &fleet.https_url("robust"), "clone"]).ok();
    assert_eq!(fleet.working_copy("clone").log(), fleet.working_copy("work").log());
}
