//! Mirrors as processes of their own, the real log, the real balancer, and a master that does as it is told.

mod catch_up;
mod copies;
mod master;
mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use master::Master;
use support::{Front, Mirror, Work, digest, hg, hg_ok, text};

/// Not a test: how this program becomes a mirror, see [`Mirror::start`].
#[test]
fn a_mirror_process() {
    support::be_a_mirror();
}

fn data() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

/// Waits until a server's copy is as the master's.
fn wait_for_copy(data: &Path, server: &str, name: &str) {
    let expected = digest(data, "master", name);
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let there = data.join(server).join("repos").join(name).join(".hg").exists();
        if there && digest(data, server, name) == expected {
            return;
        }
        assert!(Instant::now() < deadline, "{server} has another {name} than the master");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn stock_hg_clones_and_pulls_through_the_front_door() {
    let folder = data();
    let data = folder.path();
    let master = Master::start(data);
    let _mirrors = [Mirror::start("mirror-1", data), Mirror::start("mirror-2", data)];
    master.admit(&["mirror-1", "mirror-2"]);
    let front = Front::start(data);
    let mut work = Work::new(data.join("work"));
    work.commit();
    let tip = work.commit();
    master.show(master.take("team/first", &work.path));
    let clone = data.join("clone");
    let trust = front.trust();
    hg_ok(&["clone", "-q", "--config", &trust, &front.url("team/first"), text(&clone)]);
    assert_eq!(hg_ok(&["-R", text(&clone), "log", "-r", "tip", "-T", "{node}"]), tip);
    hg_ok(&["-R", text(&clone), "verify", "-q"]);
    let next = work.commit();
    master.show(master.take("team/first", &work.path));
    hg_ok(&["-R", text(&clone), "pull", "-q", "--config", &trust]);
    assert_eq!(hg_ok(&["-R", text(&clone), "log", "-r", "tip", "-T", "{node}"]), next);
    for server in ["mirror-1", "mirror-2"] {
        wait_for_copy(data, server, "team/first");
        hg_ok(&["-R", text(&data.join(server).join("repos/team/first")), "verify", "-q"]);
    }
    let page = front.ask("/");
    assert_eq!(page.status(), 200);
    assert!(page.body().contains("team/first"), "{page:?}");
    hg_ok(&["-R", text(&clone), "update", "-q"]);
    std::fs::write(clone.join("mine"), "mine\n").expect("written");
    hg_ok(&["-R", text(&clone), "commit", "-A", "-q", "-m", "mine"]);
    let pushed = hg(&["-R", text(&clone), "push", "--config", &trust]);
    assert!(!pushed.status.success());
    let said = [pushed.stdout, pushed.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(said.contains("ssh://hg@localhost:2222/team/first"), "{said}");
    let missing = hg(&["clone", "-q", "--config", &trust, &front.url("team/other"), text(&data.join("none"))]);
    let said = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(!missing.status.success() && said.contains("404"), "{said}");
    master.show(master.delete("team/first"));
    for _ in 0..4 {
        assert_eq!(front.ask("/team/first").status(), 404);
    }
}

#[test]
fn what_is_staged_is_not_shown_before_it_is_visible() {
    let folder = data();
    let data = folder.path();
    let master = Master::start(data);
    let mirror = Mirror::start("mirror-1", data);
    master.admit(&["mirror-1"]);
    let mut work = Work::new(data.join("work"));
    let first = work.commit();
    master.show(master.take("a", &work.path));
    let second = work.commit();
    let staged = master.take("a", &work.path);
    master.staged(staged);
    let heads = mirror.ask("/a?cmd=heads", None);
    assert_eq!(heads.body().trim(), first, "{heads:?}");
    assert_eq!(heads.position(), staged.get() - 1);
    assert_eq!(heads.header("x-hgfleet-membership"), None, "{heads:?}");
    // Whoever may tag says that it is visible: the mirror has it, so it shows it.
    let heads = mirror.ask("/a?cmd=heads", Some(staged.get()));
    assert_eq!((heads.body().trim(), heads.position()), (second.as_str(), staged.get()));
    let heads = mirror.ask("/a?cmd=heads", None);
    assert_eq!(heads.body().trim(), second, "and never goes back");
    let ahead = mirror.ask("/a?cmd=heads", Some(staged.get() + 1));
    assert_eq!((ahead.status(), ahead.header("x-hgfleet-retry")), (503, Some("behind")));
}

#[test]
fn killed_at_each_step_a_mirror_has_everything_again() {
    let folder = data();
    let data = folder.path();
    let master = Master::start(data);
    let mut mirror = Mirror::start("mirror-1", data);
    master.admit(&["mirror-1"]);
    let mut work = Work::new(data.join("work"));
    work.commit();
    master.show(master.take("a", &work.path));
    let steps = ["staging", "staged", "apply.intent", "apply.begun", "apply.middle", "apply.done"];
    for step in steps {
        let tip = work.commit();
        std::fs::write(data.join("stop-mirror-1").join(format!("mirror-1.{step}")), "").expect("a step");
        let sequence = master.take("a", &work.path);
        let shows = step.starts_with("apply");
        if shows {
            // Nobody is told any more, since it dies of it.
            std::thread::scope(|scope| {
                let told = scope.spawn(|| master.show(sequence));
                mirror.wait_for_death();
                mirror = Mirror::start("mirror-1", data);
                told.join().expect("told, in its second life");
            });
        } else {
            mirror.wait_for_death();
            mirror = Mirror::start("mirror-1", data);
            master.show(sequence);
        }
        let heads = mirror.ask("/a?cmd=heads", Some(sequence.get()));
        assert_eq!((heads.status(), heads.body().trim()), (200, tip.as_str()), "{step}");
        wait_for_copy(data, "mirror-1", "a");
        hg_ok(&["-R", text(&data.join("mirror-1/repos/a")), "verify", "-q"]);
    }
}

#[test]
fn with_log_and_master_gone_a_mirror_answers_also_after_a_restart() {
    let folder = data();
    let data = folder.path();
    let master = Master::start(data);
    let mut mirror = Mirror::start("mirror-1", data);
    master.admit(&["mirror-1"]);
    let front = Front::start(data);
    let mut work = Work::new(data.join("work"));
    let tip = work.commit();
    let shown = master.take("a", &work.path);
    master.show(shown);
    assert_eq!(front.ask("/a?cmd=heads").body().trim(), tip);
    // Staged and visible, but the mirror dies before it is applied; then everything else goes.
    let next = work.commit();
    let sequence = master.take("a", &work.path);
    master.staged(sequence);
    std::fs::write(data.join("stop-mirror-1/mirror-1.apply.begun"), "").expect("a step");
    std::thread::scope(|scope| {
        scope.spawn(|| mirror.ask("/a?cmd=heads", Some(sequence.get())));
        std::thread::sleep(Duration::from_millis(100));
    });
    mirror.wait_for_death();
    drop(master);
    std::fs::remove_dir_all(data.join("log")).expect("removed");
    std::fs::remove_file(data.join("run/master/mirrors.sock")).expect("removed");
    let mirror = Mirror::start("mirror-1", data);
    let heads = mirror.ask("/a?cmd=heads", Some(sequence.get()));
    assert_eq!((heads.status(), heads.body().trim()), (200, next.as_str()), "{heads:?}");
    assert_eq!(heads.header("x-hgfleet-membership"), Some("lapsed"));
    let untagged = mirror.ask("/a?cmd=heads", None);
    assert_eq!(untagged.position(), sequence.get(), "not below what it has shown");
    let through = front.ask("/a?cmd=heads");
    assert_eq!((through.status(), through.body().trim()), (200, next.as_str()), "{through:?}");
}

#[test]
fn a_mirror_whose_renewals_are_not_answered_says_so() {
    let folder = data();
    let data = folder.path();
    let master = Master::start(data);
    let mirror = Mirror::start("mirror-1", data);
    master.admit(&["mirror-1"]);
    let deadline = Instant::now() + Duration::from_secs(5);
    while mirror.ask("/", None).header("x-hgfleet-membership").is_some() {
        assert!(Instant::now() < deadline, "it does not come into service");
    }
    master.fall_silent();
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(mirror.ask("/", None).header("x-hgfleet-membership"), None, "an answer is good for 3 s");
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(mirror.ask("/", None).header("x-hgfleet-membership"), Some("lapsed"));
}

#[test]
fn a_client_that_alternates_never_sees_history_go_back() {
    let folder = data();
    let data = folder.path();
    let master = Master::start(data);
    let one = Mirror::start("mirror-1", data);
    let two = Mirror::start("mirror-2", data);
    master.admit(&["mirror-1", "mirror-2"]);
    let front = Front::start(data);
    let mut work = Work::new(data.join("work"));
    let mut nodes = vec![work.commit()];
    master.show(master.take("a", &work.path));
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut seen, mut reads) = (Vec::new(), 0);
            while !done.load(std::sync::atomic::Ordering::SeqCst) {
                let heads = front.ask("/a?cmd=heads");
                assert_eq!(heads.status(), 200, "{heads:?}");
                seen.push(heads.body().trim().to_owned());
                seen.dedup();
                reads += 1;
            }
            (seen, reads)
        });
        for round in 0..12 {
            nodes.push(work.commit());
            let sequence = master.take("a", &work.path);
            match round {
                // One is stopped in the middle of things, and dropped.
                4 => {
                    two.signal("STOP");
                    master.admit(&["mirror-1"]);
                }
                8 => two.signal("CONT"),
                9 => {
                    master.staged_by("mirror-2", sequence);
                    master.admit(&["mirror-1", "mirror-2"]);
                }
                _ => {}
            }
            master.show(sequence);
            // Once all were told, every door has it.
            assert_eq!(front.ask("/a?cmd=heads").body().trim(), *nodes.last().expect("a node"));
        }
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        let (seen, reads) = reader.join().expect("a reader");
        let places: Vec<_> = seen.iter().map(|node| nodes.iter().position(|n| n == node)).collect();
        assert!(places.iter().all(Option::is_some), "{seen:?}");
        assert!(places.is_sorted(), "history went back: {places:?}");
        assert!(reads > 50, "{reads} reads");
        println!("{reads} reads, {} states", seen.len());
    });
    drop(one);
}

#[test]
fn a_repository_that_was_altered_behind_the_fleets_back_is_alone_in_quarantine_until_it_is_healed() {
    let folder = data();
    let data = folder.path();
    let master = Master::start(data);
    let mirrors = [Mirror::start("mirror-1", data), Mirror::start("mirror-2", data)];
    master.admit(&["mirror-1", "mirror-2"]);
    let front = Front::start(data);
    let (mut a, mut b) = (Work::new(data.join("work-a")), Work::new(data.join("work-b")));
    a.commit();
    b.commit();
    master.take("a", &a.path);
    master.show(master.take("b", &b.path));
    wait_for_copy(data, "mirror-1", "a");
    let changelog = data.join("mirror-1/repos/a/.hg/store/00changelog.i");
    let mut bytes = std::fs::read(&changelog).expect("read");
    // Inside what was there: a longer file would be healed by the record that is applied over its end.
    bytes[40] ^= 1;
    std::fs::write(&changelog, bytes).expect("altered");
    let (tip_a, tip_b) = (a.commit(), b.commit());
    master.take("a", &a.path);
    let last = master.take("b", &b.path);
    master.show(last);
    let whole = mirrors[0].ask("/b?cmd=heads", Some(last.get()));
    assert_eq!((whole.status(), whole.body().trim()), (200, tip_b.as_str()));
    for _ in 0..4 {
        assert_eq!(front.ask("/a?cmd=heads").body().trim(), tip_a, "the other mirror has it");
    }
    // It is refused until the other mirror's copy is in its place.
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let damaged = mirrors[0].ask("/a?cmd=heads", Some(last.get()));
        if damaged.status() == 200 {
            assert_eq!(damaged.body().trim(), tip_a);
            break;
        }
        assert_eq!((damaged.status(), damaged.header("x-hgfleet-retry")), (503, Some("quarantined")), "{damaged:?}");
        assert!(damaged.0.contains("refused: the repository is being repaired, a."), "{damaged:?}");
        assert!(Instant::now() < deadline, "{:?}", master.member("mirror-1"));
    }
}
