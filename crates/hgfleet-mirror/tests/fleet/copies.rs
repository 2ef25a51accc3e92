//! Damage is found and healed, and what the log no longer has is copied, from another mirror.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hgfleet_log::Log;

use super::master::Master;
use super::support::*;
use super::{data, wait_for_copy};

const PATIENCE: Duration = Duration::from_secs(30);

fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A fleet of two mirrors with these repositories.
fn fleet(data: &Path, names: &[&str]) -> (Master, Mirror, Mirror, Vec<Work>) {
    let master = Master::start(data);
    let mirrors = ["mirror-1", "mirror-2"].map(|name| Mirror::start(name, data));
    master.admit(&["mirror-1", "mirror-2"]);
    let works = names
        .iter()
        .map(|name| {
            let mut work = Work::new(data.join("work").join(name));
            work.commit();
            work.commit();
            master.show(master.take(name, &work.path));
            work
        })
        .collect();
    let [one, two] = mirrors;
    (master, one, two, works)
}

fn store(data: &Path, server: &str, name: &str) -> PathBuf {
    data.join(server).join("repos").join(name).join(".hg/store")
}

fn equal(data: &Path, name: &str) -> bool {
    let hg = data.join("mirror-2/repos").join(name).join(".hg");
    let found = hg_store::digest::digest_of_store(&hg);
    found.is_ok_and(|found| *found.as_bytes() == digest(data, "master", name))
}

#[test]
fn a_flipped_bit_is_found_while_it_is_served_and_healed() {
    let folder = data();
    let data = folder.path();
    let (master, _one, two, mut works) = fleet(data, &["a", "b"]);
    wait_for_copy(data, "mirror-2", "a");
    let path = store(data, "mirror-2", "a").join("data/log.i");
    let file = std::fs::OpenOptions::new().read(true).write(true).open(&path).expect("a filelog");
    let mut byte = [0];
    file.read_exact_at(&mut byte, 70).expect("read");
    file.write_all_at(&[byte[0] ^ 1], 70).expect("flipped");
    let mut refused = false;
    // Where it is healed between two questions, none is refused.
    wait_for("found and healed", || {
        let is_healed = equal(data, "a");
        let answer = two.ask("/a?cmd=heads", None);
        match answer.status() {
            200 => assert!(!refused || equal(data, "a"), "served again, and not healed"),
            503 => {
                assert_eq!(answer.header("x-hgfleet-retry"), Some("quarantined"), "{answer:?}");
                refused = true;
            }
            _ => panic!("{answer:?}"),
        }
        assert_eq!(two.ask("/b?cmd=heads", None).status(), 200, "the other one goes on");
        is_healed && answer.status() == 200
    });
    // A plain `hg` that writes into a mirror's store loses that.
    std::fs::create_dir_all(data.join("other")).expect("made");
    let copy = data.join("mirror-2/repos/b");
    hg_ok(&["-R", text(&copy), "commit", "--config", "ui.allowemptycommit=1", "-q", "-m", "mine"]);
    wait_for("the altered store to be healed", || {
        data.join("mirror-2/altered").read_dir().is_ok_and(|mut kept| kept.next().is_some())
    });
    wait_for("b to be served again", || two.ask("/b?cmd=heads", None).status() == 200);
    assert!(equal(data, "b"));
    for (name, work) in ["a", "b"].into_iter().zip(&mut works) {
        let tip = work.commit();
        master.show(master.take(name, &work.path));
        assert_eq!(two.ask(&format!("/{name}?cmd=heads"), None).body().trim(), tip);
        wait_for_copy(data, "mirror-2", name);
        hg_ok(&["-R", text(&data.join("mirror-2/repos").join(name)), "verify", "-q"]);
    }
}

#[test]
fn an_emptied_mirror_behind_a_trimmed_log_copies_everything_and_resumes_after_kills() {
    let folder = data();
    let data = folder.path();
    let (master, _one, mut two, mut works) = fleet(data, &["a", "team/b", "c"]);
    two.signal("TERM");
    two.wait_for_death();
    std::fs::remove_dir_all(data.join("mirror-2")).expect("emptied");
    master.show_by(&["mirror-1"], master.delete("c"));
    works[0].commit();
    let last = master.take("a", &works[0].path);
    master.show_by(&["mirror-1"], last);
    let trimmed = last.previous().expect("several");
    wait_for_copy(data, "mirror-1", "a");
    tokio::runtime::Runtime::new().expect("a runtime").block_on(master.log.trim(trimmed)).expect("trimmed");
    let steps = ["file", "piece", "fetched", "ready", "moved-away", "moved-in", "kept"];
    for step in steps {
        std::fs::write(data.join("stop-mirror-2").join(format!("mirror-2.copy.{step}")), "").expect("a step");
    }
    for (n, step) in steps.iter().enumerate() {
        // Each step is armed once, and whichever comes first kills it.
        two = Mirror::start("mirror-2", data);
        two.wait_for_death();
        // Pushes go on meanwhile.
        if n % 2 == 0 {
            works[1].commit();
            master.show_by(&["mirror-1"], master.take("team/b", &works[1].path));
        }
        assert!(data.join("mirror-1").exists(), "{step}");
    }
    two = Mirror::start("mirror-2", data);
    wait_for("both copies", || {
        ["a", "team/b"].iter().all(|name| data.join("mirror-2/repos").join(name).exists() && equal(data, name))
    });
    master.admit(&["mirror-1", "mirror-2"]);
    for (name, work) in ["a", "team/b"].into_iter().zip(&mut works) {
        let tip = work.commit();
        master.show(master.take(name, &work.path));
        assert_eq!(two.ask(&format!("/{name}?cmd=heads"), None).body().trim(), tip);
        wait_for_copy(data, "mirror-2", name);
        hg_ok(&["-R", text(&data.join("mirror-2/repos").join(name)), "verify", "-q"]);
    }
    assert_eq!(two.ask("/c?cmd=heads", None).status(), 404);
    // A mirror that was only away: what it lacks is copied, the rest goes on.
    two.signal("TERM");
    two.wait_for_death();
    let tip = works[1].commit();
    let last = master.take("team/b", &works[1].path);
    master.show_by(&["mirror-1"], last);
    wait_for_copy(data, "mirror-1", "team/b");
    tokio::runtime::Runtime::new().expect("a runtime").block_on(master.log.trim(last)).expect("trimmed");
    two = Mirror::start("mirror-2", data);
    wait_for("what it lacked", || {
        let answer = two.ask("/team/b?cmd=heads", Some(last.get()));
        assert!(answer.status() != 200 || answer.body().trim() == tip, "{answer:?}");
        answer.status() == 200
    });
    assert!(equal(data, "team/b") && equal(data, "a"));
}
