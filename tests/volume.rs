//! Master and standby share a volume: one folder that both processes, or both machines of a test, see.
//!
//! What a folder of one machine can't show about NFS: a dead host's kernel that writes its pages later, names and lengths that
//! a client remembers for a while, locks that outlive their host, a volume that goes away. What stands for those: the unit tests
//! of `hgfleet-replica` (a state that is older than the data, an owner that writes during the copy, a lock of another
//! host), and `docs/decisions/2026-11-26-shared-volume.md`, which says what is relied on.

use crate::support::clients::Clients;
use crate::support::fleet::{Fleet, trees_of, wake};
use crate::support::machines::{MACHINES, Machines};
use crate::support::run::run;
use crate::support::store;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const SERVERS: [&str; 5] = ["master", "standby-1", "mirror-1", "mirror-2", "balancer"];

fn holder(fleet: &Fleet) -> String {
    fleet.status()["lease"]["holder"].as_str().unwrap_or_default().to_owned()
}

fn role(fleet: &Fleet, server: &str) -> String {
    fleet.server(server)["role"].as_str().unwrap_or_default().to_owned()
}

/// The newest tree.
fn newest(fleet: &Fleet) -> u64 {
    *fleet.trees().last().expect("a tree")
}

/// The server that is master where the given one is not.
fn other(server: &str) -> &'static str {
    if server == "master" { "standby-1" } else { "master" }
}

/// Stops the master in the middle of applying a push, which is in the log by then. Returns its name and process, and the client.
fn stop_in_the_middle_of_an_apply(fleet: &Fleet, work: &str, name: &str) -> (String, u64, Child) {
    loop {
        let (first, pid, mut push) = stop_in_an_apply(fleet, work, name);
        // Another of its threads may have been in the middle of writing to the log; then it would be ended, and never go on.
        let locks = std::fs::read_to_string("/proc/locks").expect("readable");
        let writing = format!(" {pid} ");
        let is_its_write = |line: &str| line.contains(&writing) && line.ends_with(" 120 120");
        if !locks.lines().any(is_its_write) {
            return (first, pid, push);
        }
        wake(pid);
        push.wait().expect("it ends");
    }
}

fn stop_in_an_apply(fleet: &Fleet, work: &str, name: &str) -> (String, u64, Child) {
    let first = holder(fleet);
    let pid = fleet.server(&first)["pid"].as_u64().expect("a process");
    let step = fleet.path("stop-at").join(format!("{first}.apply.middle"));
    std::fs::write(&step, "STOP").expect("armed");
    let work = fleet.working_copy(work);
    let what = format!("{pid} at {:?}\n", Instant::now());
    work.commit("a", format!("before {first} stopped, {what}"), "stopped");
    work.commit("new/file", what, "stopped");
    let mut push = work.command(&["push", &fleet.ssh_url(name)]);
    // It ends when the master's process does, or has gone on.
    let push = push.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("pushes");
    fleet.wait_until("the master stops in an apply", |_| !step.exists());
    (first, pid, push)
}

#[test]
fn what_a_master_leaves_in_the_volume_is_taken_over_and_what_it_writes_after_it_woke_up_harms_nothing() {
    let fleet = Fleet::start_on_a_volume(&["standby-1"], |_| "lease_ms = 5000\nkeep_trees_seconds = 3\n".to_owned());
    for name in ["busy", "team/idle"] {
        fleet.hgfleet(&["repo", "create", name]).ok();
        let work = fleet.init(name.rsplit('/').next().expect("a name"));
        work.commit("a", format!("{name}\n"), "first");
        work.push(name).ok();
        fleet.assert_one_store(name);
    }
    let busy = fleet.working_copy("busy");
    let first = newest(&fleet);
    for server in ["master", "standby-1"] {
        assert!(!fleet.data().join(server).join("repos").exists(), "{server} has stores of its own");
    }

    // Killed: the standby takes over what lies there, without copying it; a push copies what it is for.
    fleet.signal_supervisor("STOP");
    let dead = holder(&fleet);
    let heir = other(&dead);
    fleet.signal(&dead, "KILL");
    let killed = Instant::now();
    fleet.wait_until("the standby is master", |fleet| holder(fleet) == heir);
    busy.commit("a", "two\n", "after the master died");
    busy.push("busy").ok();
    println!("killed: a push was accepted after {:?}", killed.elapsed());
    let second = newest(&fleet);
    assert!(second > first);
    assert!(fleet.in_tree(second, "busy").exists() && !fleet.in_tree(second, "team/idle").exists());
    fleet.hg(&["clone", "-q", &fleet.ssh_url("team/idle"), "idle-clone"]).ok();
    assert_eq!(fleet.working_copy("idle-clone").log(), fleet.working_copy("idle").log());
    let reason = fleet.server(heir)["reason"].clone();
    assert_eq!(reason, format!("shared volume, tree e{second}; repositories in older ones: 1"));
    fleet.signal_supervisor("CONT");
    fleet.wait_until("the old master is standby", |fleet| role(fleet, &dead) == "standby");
    fleet.wait_until_whole(&SERVERS);
    ["busy", "team/idle"].iter().for_each(|name| fleet.assert_one_store(name));
    // What was copied goes from the older tree once its writer is known to have ended, what was not stays.
    fleet.wait_until("the old copy is gone", |fleet| !fleet.in_tree(first, "busy").exists());
    assert!(fleet.in_tree(first, "team/idle").exists());

    // Stopped in the middle of an apply; it goes on when the next one is at work, in its own tree.
    let (stopped, pid, mut push) = stop_in_the_middle_of_an_apply(&fleet, "busy", "busy");
    fleet.wait_until("the other is master", |fleet| holder(fleet) == other(&stopped));
    fleet.hg(&["clone", "-q", &fleet.ssh_url("busy"), "clone"]).ok();
    let clone = fleet.working_copy("clone");
    assert!(clone.log().contains("stopped"), "what the log has is there");
    clone.commit("a", "three\n", "on the new master");
    clone.push("busy").ok();
    let third = newest(&fleet);
    assert!(third > second);
    let torn = store::files(&fleet.in_tree(second, "busy").join(".hg"));
    std::thread::sleep(Duration::from_secs(4));
    assert!(fleet.in_tree(second, "busy").exists(), "removed while its writer may wake up");
    wake(pid);
    fleet.wait_until("the old one is standby", |fleet| role(fleet, &stopped) == "standby");
    push.wait().expect("it ends");
    let late = fleet.in_tree(second, "busy").join(".hg");
    assert!(!late.exists() || store::files(&late) != torn, "it wrote nothing more, so this test shows nothing");
    clone.commit("a", "four\n", "after it woke up");
    clone.push("busy").ok();
    fleet.wait_until_whole(&SERVERS);
    ["busy", "team/idle"].iter().for_each(|name| fleet.assert_one_store(name));

    // A master that only restarts goes on in its tree.
    let before = fleet.status()["lease"]["epoch"].as_u64();
    let restarted = holder(&fleet);
    let standby = fleet.signal(other(&restarted), "STOP");
    fleet.signal(&restarted, "KILL");
    fleet.wait_until("it is master again", |fleet| fleet.status()["lease"]["epoch"].as_u64() > before);
    wake(standby);
    assert_eq!(holder(&fleet), restarted);
    clone.commit("a", "five\n", "after a restart");
    fleet.wait_until("pushes go through", |_| [0, 1].contains(&clone.push("busy").status));
    fleet.assert_one_store("busy");
    assert_eq!(newest(&fleet), third);

    // Deleted in the volume's newest tree, imported there.
    fleet.hgfleet(&["repo", "delete", "team/idle"]).ok();
    fleet.hgfleet(&["repo", "import", fleet.path("idle").to_str().expect("UTF-8"), "team/idle"]).ok();
    fleet.assert_one_store("team/idle");
    assert!(fleet.in_tree(third, "team/idle").exists());
    fleet.wait_until("trees that nothing lies in go", |fleet| fleet.trees() == [third]);
}

#[test]
fn without_a_fence_that_succeeds_no_epoch_is_taken_and_with_one_the_tree_is_gone_on_in() {
    // What it is asked to fence off it writes down, and kills, once it may.
    let script = |folder: &Path| {
        let at = |name: &str| folder.join(name).display().to_string();
        format!("echo $0 >> {}; test -e {} && kill -9 $(cat {})", at("fenced"), at("allowed"), at("pid"))
    };
    let fleet = Fleet::start_on_a_volume(&["standby-1"], |folder| {
        format!("lease_ms = 3000\nfence_command = [\"sh\", \"-c\", \"{}\"]\n", script(folder))
    });
    fleet.hgfleet(&["repo", "create", "one"]).ok();
    let work = fleet.init("one");
    work.commit("a", "one\n", "first");
    work.push("one").ok();
    fleet.signal_supervisor("STOP");
    let (_, pid, mut push) = stop_in_the_middle_of_an_apply(&fleet, "one", "one");
    std::fs::write(fleet.path("pid"), pid.to_string()).expect("written");
    fleet.wait_until("the standby says why it waits", |fleet| {
        let reason = fleet.server("standby-1")["reason"].as_str().unwrap_or_default().to_owned();
        reason.contains("the epoch of master has lapsed and is not taken: fence_command sh -c")
    });
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(fleet.status()["lease"]["epoch"], 1);
    assert!(fleet.log().contains("failed: exit status: 1"));

    std::fs::write(fleet.path("allowed"), "").expect("written");
    fleet.wait_until("the standby is master", |fleet| holder(fleet) == "standby-1");
    std::fs::remove_file(fleet.path("allowed")).expect("removed");
    push.wait().expect("it ends");
    assert_eq!(fleet.trees(), [1], "the tree is gone on in");
    work.commit("a", "two\n", "on the new master");
    work.push("one").ok();
    let fenced = || std::fs::read_to_string(fleet.path("fenced")).expect("readable");
    assert!(fenced().lines().all(|line| line == "master"), "{}", fenced());
    fleet.signal_supervisor("CONT");
    fleet.wait_until("the old master is standby", |fleet| role(fleet, "master") == "standby");
    fleet.wait_until_whole(&SERVERS);
    fleet.assert_one_store("one");

    // A hand-over fences nobody off.
    let before = fenced();
    fleet.hgfleet(&["failover"]).ok();
    assert_eq!(fenced(), before);
    work.commit("a", "three\n", "after the hand-over");
    work.push("one").ok();
    fleet.wait_until_whole(&SERVERS);
    fleet.assert_one_store("one");
    assert_eq!(fleet.trees(), [1, 3]);
}

/// Machines in networks of their own, of which two can be master: all that these share is the log and the folder.
#[test]
fn a_master_that_is_cut_off_and_lives_on_is_followed_from_the_volume() {
    let shared = tempfile::Builder::new().prefix("hgfleet-test-").tempdir().expect("a folder");
    let volume = shared.path();
    let on_the_volume = |config: String| {
        let section = format!("[master]\nvolume = '{}'\nappend_wait_ms = 3000\n", volume.display());
        config.replace("[master]\n", &section).replace("lease_seconds = 15", "lease_seconds = 6")
    };
    let Some(machines) = Machines::as_the_guide_says(on_the_volume, &[]) else { return };
    machines.wait_until_whole();
    machines.hgfleet("m1", &["repo", "create", "one"]).ok();
    let [first, second] = &machines.doors[..] else { panic!("two doors") };
    let work = first.init("work");
    let push_by = |door: &Clients| {
        let mut push = door.hg_command(&["push", &door.ssh_url("one")]);
        run(push.current_dir(&work.path))
    };
    let commit = |content: &str| work.commit("file", content, content);
    commit("before");
    push_by(first).ok();

    // The master lives, and does not hear of the other's epoch.
    machines.network.isolate("m1", &MACHINES);
    commit("while the first machine is cut off");
    machines.wait_until("the other machine takes pushes", |_| [0, 1].contains(&push_by(second).status));
    assert_eq!(machines.master("m2"), "standby-1");
    machines.network.join_all();
    machines.wait_until_whole();
    commit("whole again");
    push_by(first).ok();

    // Now the second machine is gone.
    machines.kill(&machines.services_of("m2"));
    commit("alone");
    machines.wait_until("the first machine takes pushes", |_| [0, 1].contains(&push_by(first).status));
    let newest = trees_of(volume).last().map(|tree| volume.join(format!("e{tree}/repos/one"))).expect("a tree");
    let mirror = machines.path("m1/hgfleet/mirror-1/repos/one");
    machines.wait_until("the mirror has shown all", |machines| {
        let status = machines.status("m1");
        let servers = status["servers"].as_array().map_or(&[][..], Vec::as_slice);
        let end = &status["log"]["sequence"];
        !end.is_null() && servers.iter().any(|server| server["name"] == "mirror-1" && &server["position"] == end)
    });
    store::assert_equal(&newest.join(".hg"), &mirror.join(".hg"));
    let said = work.hg(&["outgoing", "-q", mirror.to_str().expect("UTF-8")]);
    assert_eq!(said.status, 1, "all that was pushed is there: {said:#?}");
    for store in [newest, mirror] {
        first.hg(&["-R", store.to_str().expect("UTF-8"), "verify", "-q"]).ok();
    }
}
