//! A master that dies, is stopped, or is asked to hand over is followed by a standby, and nothing is lost.

use crate::support::clients::WorkingCopy;
use crate::support::fleet::{Fleet, wake};
use crate::support::steps::TAKEOVER_STEPS;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Short, so that the tests are.
const LEASE: &str = "[master]\nlease_ms = 2000";

fn holder(fleet: &Fleet) -> String {
    fleet.status()["lease"]["holder"].as_str().unwrap_or_default().to_owned()
}

fn epoch(fleet: &Fleet) -> u64 {
    fleet.status()["lease"]["epoch"].as_u64().unwrap_or_default()
}

fn role(fleet: &Fleet, server: &str) -> String {
    fleet.server(server)["role"].as_str().unwrap_or_default().to_owned()
}

/// One push, as its developer sees it.
struct Tried {
    begun: Instant,
    ended: Instant,
    status: i32,
    said: String,
}

/// Commits and pushes until it is told to stop. Whatever was not stored goes with the next push.
///
/// Panics where a push brings more than what was not acknowledged before: then an acknowledged one was lost.
fn push_on(work: &WorkingCopy<'_>, name: &str, done: &AtomicBool) -> Vec<Tried> {
    static WRITTEN: AtomicU64 = AtomicU64::new(0);
    let mut all = Vec::new();
    let mut open = 0;
    while !done.load(Ordering::Relaxed) {
        // Never what the file has already, which `hg` would not commit.
        let written = WRITTEN.fetch_add(1, Ordering::Relaxed).to_string();
        work.commit("a", format!("{written}\n"), &written);
        open += 1;
        let begun = Instant::now();
        let said = work.push(name);
        if said.out.contains("remote: stored as ") {
            let added = said.out.split("remote: added ").nth(1).and_then(|rest| rest.split(' ').next());
            if let Some(added) = added.and_then(|count| count.parse::<usize>().ok()) {
                assert!(added <= open, "{added} changesets went over, {open} were open: {said:#?}");
            }
            open = 0;
        }
        let said_all = format!("{}{}", said.out, said.err);
        all.push(Tried { begun, ended: Instant::now(), status: said.status, said: said_all });
    }
    all
}

/// Lets two developers push while `act` goes on, and for a moment more; returns what it returned and all pushes.
fn while_pushing<T>(fleet: &Fleet, repositories: &[&str; 2], act: impl FnOnce() -> T) -> (T, Vec<Tried>) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let done = &done;
        let pushers = repositories.map(|name| scope.spawn(move || push_on(&fleet.working_copy(name), name, done)));
        std::thread::sleep(Duration::from_millis(800));
        let acted = act();
        std::thread::sleep(Duration::from_millis(1500));
        done.store(true, Ordering::Relaxed);
        (acted, pushers.into_iter().flat_map(|pusher| pusher.join().expect("pushes")).collect())
    })
}

/// When the first push that began after `since` was accepted, from there.
fn first_accepted(pushes: &[Tried], since: Instant) -> Duration {
    let after = pushes.iter().filter(|push| push.begun >= since && push.status == 0);
    after.map(|push| push.ended).min().expect("a push was accepted") - since
}

#[test]
fn a_master_that_dies_stops_or_hands_over_is_followed_and_loses_nothing() {
    let fleet = Fleet::start_with(&["standby-1", "standby-2"], LEASE);
    let servers = ["master", "standby-1", "standby-2", "mirror-1", "mirror-2", "balancer"];
    let repositories = ["one", "two"];
    assert_eq!((holder(&fleet).as_str(), epoch(&fleet)), ("master", 1), "[master] is first in a fresh fleet");
    for name in repositories {
        fleet.hgfleet(&["repo", "create", name]).ok();
        let work = fleet.init(name);
        work.commit("a", "first\n", "first");
        work.push(name).ok();
    }

    // Killed while pushes go on, and not started again: of two that try, one wins.
    fleet.signal_supervisor("STOP");
    let (killed, pushes) = while_pushing(&fleet, &repositories, || {
        let killed = Instant::now();
        fleet.signal("master", "KILL");
        fleet.wait_until("a standby is master", |fleet| holder(fleet).starts_with("standby-"));
        killed
    });
    println!("killed: first push accepted after {:?}", first_accepted(&pushes, killed));
    let won = holder(&fleet);
    let lost = if won == "standby-1" { "standby-2" } else { "standby-1" };
    assert_eq!((role(&fleet, &won), role(&fleet, lost)), ("master".to_owned(), "standby".to_owned()));

    // It comes back as standby, with nothing to take back.
    fleet.signal_supervisor("CONT");
    fleet.wait_until("the old master is standby", |fleet| role(fleet, "master") == "standby");
    fleet.wait_until_whole(&servers);
    // How many epochs it took is the machine's affair: one that is too busy for a sign of life within the lease is followed.
    let begun = epoch(&fleet);
    assert!(begun >= 2);
    let won = holder(&fleet);
    assert_ne!(won, "master");
    repositories.iter().for_each(|name| fleet.assert_one_store(name));

    // Handed over while pushes go on: no client sees an error.
    let (said, pushes) = while_pushing(&fleet, &repositories, || fleet.hgfleet(&["failover", "--to", "master"]).ok());
    print!("handed over: {}", said.out);
    assert!(said.out.starts_with("master is master now, epoch "), "{said:#?}");
    for push in &pushes {
        assert_eq!(push.status, 0, "a client saw the hand-over: {}", push.said);
    }
    println!("longest push: {:?}", pushes.iter().map(|push| push.ended - push.begun).max());
    fleet.wait_until("the one before is standby", |fleet| role(fleet, &won) == "standby");

    // Stopped for longer than the lease, then on its feet again: it finds its epoch ended, and is standby.
    fleet.wait_until_whole(&servers);
    let (stopped, pushes) = while_pushing(&fleet, &repositories, || {
        let stopped = Instant::now();
        let pid = fleet.signal("master", "STOP");
        fleet.wait_until("a standby is master", |fleet| holder(fleet).starts_with("standby-"));
        std::thread::sleep(Duration::from_secs(1));
        wake(pid);
        stopped
    });
    println!("stopped: first push accepted after {:?}", first_accepted(&pushes, stopped));
    fleet.wait_until("the old master is standby", |fleet| role(fleet, "master") == "standby");
    fleet.wait_until_whole(&servers);
    assert!(epoch(&fleet) >= begun + 2);
    for name in repositories {
        let work = fleet.working_copy(name);
        assert!([0, 1].contains(&work.push(name).status));
        fleet.assert_one_store(name);
        fleet.hg(&["clone", "-q", &fleet.https_url(name), &format!("{name}-clone")]).ok();
        assert_eq!(fleet.working_copy(&format!("{name}-clone")).log(), work.log());
    }
}

#[test]
fn without_a_standby_that_is_ready_nothing_is_handed_over() {
    let fleet = Fleet::start_with(&["standby-1"], LEASE);
    assert!(fleet.hgfleet(&["failover", "--to", "nobody"]).refused().err.contains("no standby is called nobody"));
    assert!(fleet.hgfleet(&["failover", "--to", "master"]).refused().err.contains("master is master already"));
    fleet.signal_supervisor("STOP");
    let pid = fleet.signal("standby-1", "STOP");
    // It was in service a moment ago; it does not take what it is given, and the master takes it back.
    let said = fleet.hgfleet(&["failover"]).refused();
    assert!(said.err.contains("was not handed over to standby-1") || said.err.contains("no standby"), "{said:#?}");
    fleet.hgfleet(&["repo", "create", "still"]).ok();
    wake(pid);
    fleet.signal_supervisor("CONT");
    assert_eq!(holder(&fleet), "master");
    fleet.wait_until("it has the record too", |fleet| {
        let status = fleet.status();
        fleet.server("standby-1")["position"] == status["log"]["sequence"]
    });
    assert_eq!(epoch(&fleet), 1);
}

/// Where the master dies in a push; its name stands before what it applies.
const PUSH_STEPS: [&str; 4] = ["master.before-append", "master.appended", "NAME.apply.middle", "master.applied"];

#[test]
fn a_master_that_dies_at_a_step_of_a_push_or_of_its_takeover_is_followed_with_everything() {
    let mut fleet = Fleet::start_with(&["standby-1"], "[master]\nlease_ms = 1000");
    fleet.down();
    let steps = fleet.path("stop-at");
    std::fs::create_dir(&steps).expect("made");
    fleet.up(&[("HGFLEET_STOP_AT", steps.to_str().expect("UTF-8"))]);
    let servers = ["master", "standby-1", "mirror-1", "mirror-2", "balancer"];
    fleet.hgfleet(&["repo", "create", "robust"]).ok();
    let work = fleet.init("work");
    let other = |name: &str| if name == "master" { "standby-1" } else { "master" };
    for step in PUSH_STEPS {
        fleet.wait_until_whole(&servers);
        let (first, before) = (holder(&fleet), epoch(&fleet));
        let step = step.replace("NAME", &first);
        work.commit("a", &step, &step);
        work.commit(&format!("files/{step}"), &step, &step);
        std::fs::write(steps.join(&step), "KILL").expect("armed");
        fleet.signal_supervisor("STOP");
        let said = work.push("robust");
        assert!(!steps.join(&step).exists(), "{step} was never reached: {said:#?}");
        fleet.wait_until("the standby is master", |fleet| holder(fleet) == other(&first));
        assert!(epoch(&fleet) > before, "{step}");
        let again = work.push("robust");
        let stored = said.out.contains("remote: stored as ");
        assert!([0, 1].contains(&again.status) && (!stored || again.status == 1), "{step}: {said:#?}, then {again:#?}");
        fleet.signal_supervisor("CONT");
        fleet.wait_until("the old one is standby", |fleet| role(fleet, &first) == "standby");
        fleet.assert_one_store("robust");
    }
    // Stopped within a transaction, the log's lock in its hand: it is ended, so that the other can append.
    fleet.wait_until_whole(&servers);
    let first = holder(&fleet);
    fleet.signal_supervisor("STOP");
    std::fs::write(steps.join("log.written"), "STOP").expect("armed");
    work.commit("a", "stopped with the lock", "stopped with the lock");
    work.push("robust");
    fleet.wait_until("the standby is master", |fleet| holder(fleet) == other(&first));
    fleet.signal_supervisor("CONT");
    fleet.wait_until("the old one is standby", |fleet| role(fleet, &first) == "standby");
    fleet.wait_until_whole(&servers);
    fleet.assert_one_store("robust");
    for step in TAKEOVER_STEPS {
        fleet.wait_until_whole(&servers);
        let first = holder(&fleet);
        let step = format!("{}.takeover.{step}", other(&first));
        work.commit("a", &step, &step);
        work.push("robust").ok();
        std::fs::write(steps.join(&step), "KILL").expect("armed");
        fleet.signal_supervisor("STOP");
        fleet.signal(&first, "KILL");
        fleet.wait_until("the one that takes over dies", |_| !steps.join(&step).exists());
        fleet.signal_supervisor("CONT");
        work.commit("a", format!("after {step}"), &step);
        fleet.wait_until("pushes go through", |_| [0, 1].contains(&work.push("robust").status));
        fleet.wait_until_whole(&servers);
        fleet.assert_one_store("robust");
    }
}
