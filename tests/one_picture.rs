//! What readers see through the balancer moves forward as one.

use crate::support::fleet::Fleet;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

/// The heads that one request over HTTPS is answered with, and who answered.
fn heads(fleet: &Fleet, name: &str) -> String {
    let url = format!("{}?cmd=heads", fleet.https_url(name));
    crate::support::run::run(fleet.curl().arg("-f").arg(url)).ok().out.trim().to_owned()
}

#[test]
fn a_client_that_alternates_between_mirrors_never_sees_history_go_back() {
    let fleet = Fleet::start();
    fleet.hgfleet(&["repo", "create", "moving"]).ok();
    let work = fleet.init("work");
    work.commit("a", "0\n", "0");
    work.push("moving").ok();
    let done = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut seen = Vec::new();
                    while !done.load(Ordering::Relaxed) {
                        seen.push(heads(&fleet, "moving"));
                    }
                    seen
                })
            })
            .collect();
        for n in 1..12 {
            work.commit("a", format!("{n}\n"), &n.to_string());
            work.push("moving").ok();
            // Its author's next read has it, whichever mirror answers.
            let tip = work.hg_here(&["log", "-r", "tip", "-T", "{node}"]).ok().out;
            for _ in 0..4 {
                assert_eq!(heads(&fleet, "moving"), tip);
            }
        }
        done.store(true, Ordering::Relaxed);
        readers.into_iter().map(|reader| reader.join().expect("reads")).collect::<Vec<_>>()
    });
    let order: Vec<String> =
        work.hg_here(&["log", "-r", "all()", "-T", "{node}\n"]).ok().out.lines().map(str::to_owned).collect();
    for seen in seen {
        let positions: Vec<usize> = seen
            .iter()
            .map(|node| order.iter().position(|known| known == node).expect("a changeset of ours"))
            .collect();
        assert!(positions.is_sorted(), "history went back: {positions:?}");
    }
    fleet.assert_one_store("moving");
}

#[test]
fn a_dead_mirror_is_not_waited_for_and_comes_back_with_all_it_missed() {
    let fleet = Fleet::start();
    fleet.hgfleet(&["repo", "create", "steady"]).ok();
    let work = fleet.init("work");
    work.commit("a", "0\n", "0");
    work.push("steady").ok();
    let pid = fleet.server("mirror-1")["pid"].to_string();
    crate::support::run::run(Command::new("kill").args(["-STOP", &pid])).ok();
    work.commit("a", "1\n", "1");
    let said = work.push("steady").ok();
    assert!(said.out.contains("remote: stored as "), "{said:#?}");
    // Out of service after five seconds; from then on nothing waits for it.
    fleet.wait_until("pushes are visible on the other mirror alone", |fleet| {
        work.commit("a", format!("{:?}", std::time::Instant::now()), "more");
        fleet.working_copy("work").push("steady").ok().out.contains("remote: visible on 1 of 1 mirrors")
    });
    let tip = work.hg_here(&["log", "-r", "tip", "-T", "{node}"]).ok().out;
    for _ in 0..4 {
        assert_eq!(heads(&fleet, "steady"), tip);
    }
    crate::support::run::run(Command::new("kill").args(["-CONT", &pid])).ok();
    fleet.wait_until("it is back in service", |fleet| fleet.server("mirror-1")["state"] == "in-service");
    fleet.assert_one_store("steady");
}

#[test]
fn mirrors_go_on_serving_without_master_and_log() {
    let mut fleet = Fleet::start();
    fleet.hgfleet(&["repo", "create", "alone"]).ok();
    let work = fleet.init("work");
    work.commit("a", "0\n", "0");
    work.push("alone").ok();
    let tip = work.hg_here(&["log", "-r", "tip", "-T", "{node}"]).ok().out;
    let pid = fleet.server("master")["pid"].to_string();
    crate::support::run::run(Command::new("kill").args(["-STOP", &pid])).ok();
    std::thread::sleep(std::time::Duration::from_secs(6));
    assert_eq!(heads(&fleet, "alone"), tip);
    crate::support::run::run(Command::new("kill").args(["-CONT", &pid])).ok();
    work.commit("a", "1\n", "1");
    fleet.wait_until("pushes work again", |_| work.push("alone").status <= 0);
    fleet.down();
}
