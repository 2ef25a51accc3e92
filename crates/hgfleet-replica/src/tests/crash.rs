//! Killed processes, and power cuts.

use std::process::{Command, Stdio};

use rusqlite::Connection;

use super::*;

/// A log with everything that can be interrupted.
fn script() -> Log {
    let mut log = Log::new();
    log.create("a");
    log.push("a", 0);
    log.create("team/b");
    log.push("a", 1);
    log.push("team/b", 1);
    log.push("a", 2);
    log.push("a", 3);
    let deleted = log.delete("team/b");
    log.add(Body::Empty, Vec::new());
    log.create("team/b");
    log.push("team/b", 2);
    log.rename("team/b", "c");
    log.push("a", 4);
    log.push("c", 4);
    log.rewrite("c", "store/data/new4.i");
    log.push("c", 5);
    log.restore(deleted, "team/b");
    let deleted = log.delete("a");
    log.push("team/b", 6);
    log.create("a");
    log.push("a", 7);
    log.add(Body::Purge { deleted }, Vec::new());
    log
}

/// Not a test of its own: what the other process runs.
#[test]
fn child() {
    let Some(dir) = std::env::var_os("HGFLEET_REPLICA_CHILD") else { return };
    let log = script();
    let replica = open(Path::new(&dir), &log);
    let from = replica.position().map_or(0, |position| position.get() as usize);
    let folder = PathBuf::from(std::env::var_os("HGFLEET_STOP_AT").unwrap());
    let stop: usize = std::env::var("STOP_BEFORE").unwrap().parse().unwrap();
    let step = std::env::var("STOP_STEP").unwrap();
    for (record, change) in &log.records[from..] {
        if record.sequence == at(stop) {
            fs::write(folder.join(&step), "").unwrap();
        }
        replica.apply(record, change).unwrap();
    }
}

/// Runs the child until it is killed at `step` of record `stop`. Returns whether it was.
fn killed(dir: &Path, stop: usize, step: &str) -> bool {
    let folder = TempDir::new().unwrap();
    let step = format!("{}.apply.{step}", dir.file_name().unwrap().to_str().unwrap());
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tests::crash::child", "--nocapture"])
        .env("HGFLEET_REPLICA_CHILD", dir)
        .env("HGFLEET_STOP_AT", folder.path())
        .env("STOP_BEFORE", stop.to_string())
        .env("STOP_STEP", step)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    use std::os::unix::process::ExitStatusExt;
    assert!(status.success() || status.signal() == Some(9), "{status:?}");
    status.signal() == Some(9)
}

#[test]
fn killed_at_each_step_of_each_record_it_comes_back_whole() {
    let log = script();
    let mut kills = 0;
    for stop in 1..=log.records.len() {
        for step in ["intent", "begun", "middle", "done"] {
            let parent = TempDir::new().unwrap();
            let dir = parent.path().join("mirror-1");
            fs::create_dir(&dir).unwrap();
            kills += usize::from(killed(&dir, stop, step));
            let replica = open(&dir, &log);
            follow(&replica, &log);
            assert_whole(&replica, &dir, &log);
            drop(replica);
            let replica = open(&dir, &log);
            assert_whole(&replica, &dir, &log);
        }
    }
    assert!(kills >= 2 * log.records.len(), "only {kills} kills");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// Every pair of a kept state and later data: what is left of `state.sqlite` is as old as can be, the data of any later
/// moment.
#[test]
fn after_a_power_cut_it_comes_back_whole() {
    let log = script();
    let moments = TempDir::new().unwrap();
    let live = moments.path().join("live");
    fs::create_dir(&live).unwrap();
    let replica = open(&live, &log);
    for number in 0..=log.records.len() {
        if number > 0 {
            let (record, change) = &log.records[number - 1];
            replica.apply(record, change).unwrap();
        }
        // A few of the moments are on disk, the others not yet.
        let next = log.records.get(number);
        if number % 4 == 1 || next.is_some_and(|(record, _)| record.is_barrier()) {
            replica.sync().unwrap();
        }
        copy(&live, &moments.path().join(number.to_string()));
    }
    drop(replica);
    let at_moment = |number: usize| moments.path().join(number.to_string());
    for kept in 0..=log.records.len() {
        for data in kept..=log.records.len().min(kept + 5) {
            // At a barrier everything is brought to disk, before and after.
            let is_barrier = |number: &usize| log.records[number - 1].0.is_barrier();
            let barriers = (kept + 1..=data).filter(is_barrier).collect::<Vec<_>>();
            if barriers.iter().any(|&barrier| barrier != kept + 1 || data != barrier) {
                continue;
            }
            let dir = TempDir::new().unwrap();
            copy(&at_moment(data), dir.path());
            for file in ["state.sqlite", "state.sqlite-wal", "state.sqlite-shm"] {
                let _ = fs::remove_file(dir.path().join(file));
                let _ = fs::copy(at_moment(kept).join(file), dir.path().join(file));
            }
            let state = Connection::open(dir.path().join("state.sqlite")).unwrap();
            state.execute("UPDATE server SET boot = 'another'", []).unwrap();
            // Not only as of the syncs above: a thread has its own.
            let durable: Option<i64> = state.query_row("SELECT durable FROM server", [], |row| row.get(0)).unwrap();
            let durable = durable.unwrap_or(0) as usize;
            drop(state);
            tear(&dir.path().join("repos/a/.hg/store"), &at_moment(durable).join("repos/a/.hg/store"));
            let replica = begin(dir.path());
            let recovery = replica.recover(log.end(), &mut log.source()).unwrap();
            assert_eq!(recovery.quarantined, [], "kept {kept}, data {data}");
            follow(&replica, &log);
            assert_whole(&replica, dir.path(), &log);
        }
    }
}

/// Takes away what was not on disk at the durable moment: zeros at the ends of files, and a file that is gone.
fn tear(store: &Path, durable: &Path) {
    let fncache = store.join("fncache");
    let kept = fs::metadata(durable.join("fncache")).map_or(0, |meta| meta.len() as usize);
    if let Ok(mut bytes) = fs::read(&fncache) {
        bytes[kept..].fill(0);
        fs::write(&fncache, bytes).unwrap();
    }
    for number in [1, 3] {
        let name = format!("data/new{number}.i");
        if !durable.join(&name).exists() {
            let _ = fs::remove_file(store.join(name));
        }
    }
}

#[test]
fn without_the_records_that_it_needs_it_is_in_quarantine() {
    let dir = TempDir::new().unwrap();
    let mut log = Log::new();
    log.create("a");
    log.create("b");
    let replica = open(dir.path(), &log);
    follow(&replica, &log);
    replica.sync().unwrap();
    log.push("a", 0);
    follow(&replica, &log);
    // As if nothing since had come to disk.
    let cut = TempDir::new().unwrap();
    copy(dir.path(), cut.path());
    let state = Connection::open(cut.path().join("state.sqlite")).unwrap();
    state.execute("UPDATE server SET durable = 2", []).unwrap();
    state.execute("UPDATE repository SET durable = 2", []).unwrap();
    drop(state);
    let replica = begin(cut.path());
    let recovery = replica.recover(None, &mut |_| Ok(None)).unwrap();
    assert_eq!(recovery.quarantined.len(), 1);
    assert!(recovery.quarantined[0].1.contains("is gone"), "{recovery:?}");
    assert!(replica.snapshot(&name("b")).is_ok());
    // With them it is back.
    assert_eq!(replica.retry(&name("a"), log.end(), &mut log.source()).unwrap(), Outcome::Applied);
    assert_eq!(Some(replica.snapshot(&name("a")).unwrap().digest), log.digest("a"));
}
