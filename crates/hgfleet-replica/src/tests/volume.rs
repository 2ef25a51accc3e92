//! A volume with a tree for each epoch, whose owners die, or wake up and go on writing.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hgfleet_log::Incarnation;
use rusqlite::Connection;

use super::*;
use crate::{TreeNote, Volume};

fn note(log: &Log, epoch: u64) -> TreeNote {
    let record = log.records.last().map(|(record, _)| record).unwrap();
    let at = (record.sequence, record.chain_hash());
    TreeNote::new((record.log, Epoch::new(epoch).unwrap()), at, "master", Incarnation::from_bytes([1; 16]))
}

/// Takes an epoch: the newest tree is what it begins with.
fn take(volume: &Volume, epoch: u64, log: &Log) -> Replica {
    let from = volume.trees().unwrap().last().copied();
    let dir = volume.begin(epoch, from, &note(log, epoch)).unwrap();
    let replica = Replica::open_tree(&dir, "master").unwrap();
    assert_eq!(replica.recover(log.end(), &mut log.source()).unwrap().quarantined, []);
    // What comes after a barrier is applied in the normal way.
    follow(&replica, log);
    replica
}

/// Every file below a folder with its bytes.
fn everything(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![dir.to_owned()];
    while let Some(folder) = waiting.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            match path.is_dir() {
                true => waiting.push(path),
                false => drop(found.insert(path.clone(), fs::read(&path).unwrap())),
            }
        }
    }
    found
}

/// All repositories are as the log says, wherever they lie.
#[track_caller]
fn assert_as_the_log_says(replica: &Replica, log: &Log) {
    assert_eq!(replica.position(), log.end());
    let all = replica.repositories();
    let mut models = Vec::new();
    find_repositories(log.models.path(), &mut models);
    assert_eq!(all.len(), models.len());
    for one in all {
        let kept = replica.snapshot(&one.name).unwrap();
        let expected = log.digest(one.name.as_str());
        assert_eq!(Some(*digest_of_store(&kept.path.join(".hg")).unwrap().as_bytes()), expected, "{:?}", one.name);
        assert_eq!(Some(kept.digest), expected);
        assert_eq!(replica.scrub(&one.name, &mut |_| true).unwrap(), Scrubbed::Whole(one.sequence, one.digest));
    }
}

fn lies_in(replica: &Replica, repository: &str) -> String {
    let path = replica.snapshot(&name(repository)).unwrap().path;
    let tree = path.ancestors().find(|folder| folder.ends_with("repos")).unwrap().parent().unwrap();
    tree.file_name().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn an_epoch_reads_what_older_trees_have_and_copies_it_before_it_writes() {
    let folder = TempDir::new().unwrap();
    let volume = Volume::new(folder.path().to_owned());
    let mut log = Log::new();
    log.create("team/a");
    log.create("b");
    log.create("c");
    let first = take(&volume, 1, &log);
    assert_as_the_log_says(&first, &log);
    first.sync().unwrap();
    drop(first);
    let old = everything(&volume.tree(1));
    let second = take(&volume, 4, &log);
    assert_eq!(["team/a", "b", "c"].map(|name| lies_in(&second, name)), ["e1", "e1", "e1"]);
    log.push("team/a", 0);
    log.delete("c");
    log.create("d");
    follow(&second, &log);
    assert_eq!(["team/a", "b", "d"].map(|name| lies_in(&second, name)), ["e4", "e1", "e4"]);
    assert_as_the_log_says(&second, &log);
    // Asked for before a push.
    second.bring_here(&name("b")).unwrap();
    assert_eq!(lies_in(&second, "b"), "e4");
    assert_as_the_log_says(&second, &log);
    second.sync().unwrap();
    assert_eq!(second.in_older_trees(), BTreeMap::new());
    drop(second);
    assert_eq!(everything(&volume.tree(1)), old, "nothing is written to an older tree");
    // The same again, from two trees.
    let third = take(&volume, 5, &log);
    log.push("b", 1);
    log.create("c");
    follow(&third, &log);
    assert_eq!(["team/a", "b", "c"].map(|name| lies_in(&third, name)), ["e4", "e5", "e5"]);
    assert_as_the_log_says(&third, &log);
    let note = volume.note(4).unwrap().unwrap();
    assert!(note.is_of(Incarnation::from_bytes([1; 16])) && !note.is_of(Incarnation::from_bytes([2; 16])));
    assert!(volume.begin(5, Some(4), &note).unwrap_err().to_string().contains("there is a tree of this epoch"));
}

/// What can be interrupted, or done by the owner of an older tree while a newer one is written to.
fn script() -> Log {
    let mut log = pushes();
    log.delete("team/b");
    log.create("team/b");
    log.push("team/b", 2);
    log.push("a", 5);
    log
}

/// Nothing but pushes to two repositories.
fn pushes() -> Log {
    let mut log = Log::new();
    log.create("a");
    log.create("team/b");
    for number in 0..5 {
        log.push("a", number);
        log.push("team/b", number + 1);
    }
    log
}

#[test]
fn an_owner_that_wakes_up_and_goes_on_writing_changes_nothing_in_the_newer_tree() {
    let whole = pushes();
    for taken_after in (0..whole.records.len()).step_by(2) {
        let folder = TempDir::new().unwrap();
        let volume = Volume::new(folder.path().to_owned());
        let log = &whole;
        let empty = TempDir::new().unwrap();
        let begun = Log { records: log.records[..1].to_vec(), models: empty, aside: TempDir::new().unwrap() };
        let dir = volume.begin(1, None, &note(&begun, 1)).unwrap();
        let old = Replica::open_tree(&dir, "standby").unwrap();
        old.recover(None, &mut |_| Ok(None)).unwrap();
        let apply = |replica: &Replica, range: std::ops::Range<usize>| {
            for (record, change) in &log.records[range] {
                assert!(!matches!(replica.apply(record, change).unwrap(), Outcome::Quarantined(_)));
            }
        };
        // The old owner has appended everything, and is stopped before it has applied it.
        apply(&old, 0..taken_after);
        if taken_after % 4 == 0 {
            old.sync().unwrap();
        }
        let dir = volume.begin(2, Some(1), &note(log, 2)).unwrap();
        let new = Replica::open_tree(&dir, "master").unwrap();
        // It wakes up while the new one is at its redo.
        std::thread::scope(|scope| {
            scope.spawn(|| apply(&old, taken_after..log.records.len()));
            assert_eq!(new.recover(log.end(), &mut log.source()).unwrap().quarantined, [], "after {taken_after}");
        });
        assert_as_the_log_says(&new, log);
        new.sync().unwrap();
        drop(new);
        drop(old);
        let third = take(&volume, 3, log);
        assert_as_the_log_says(&third, log);
    }
}

/// Not a test of its own: what the other process runs.
#[test]
fn child() {
    let Some(dir) = std::env::var_os("HGFLEET_VOLUME_CHILD") else { return };
    let mut log = script();
    let volume = Volume::new(dir.into());
    let replica = take(&volume, 2, &log);
    let folder = PathBuf::from(std::env::var_os("HGFLEET_STOP_AT").unwrap());
    fs::write(folder.join(std::env::var("STOP_STEP").unwrap()), "").unwrap();
    log.push("a", 6);
    follow(&replica, &log);
}

#[test]
fn a_copy_that_was_cut_off_is_begun_again_by_the_next_epoch() {
    for step in ["copying", "copied", "intent", "middle", "done"] {
        let mut log = script();
        let folder = TempDir::new().unwrap();
        let volume = Volume::new(folder.path().to_owned());
        let first = take(&volume, 1, &log);
        first.sync().unwrap();
        drop(first);
        let stops = TempDir::new().unwrap();
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tests::volume::child", "--nocapture"])
            .env("HGFLEET_VOLUME_CHILD", folder.path())
            .env("HGFLEET_STOP_AT", stops.path())
            .env("STOP_STEP", format!("master.apply.{step}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{step}");
        log.push("a", 6);
        let next = take(&volume, 3, &log);
        assert_as_the_log_says(&next, &log);
    }
}

#[test]
fn a_tree_whose_owner_is_fenced_off_is_gone_on_in_and_its_locks_are_broken() {
    let folder = TempDir::new().unwrap();
    let volume = Volume::new(folder.path().to_owned());
    let mut log = script();
    let first = take(&volume, 1, &log);
    first.sync().unwrap();
    drop(first);
    // As the fenced one has left it, in the middle of an apply.
    log.push("a", 6);
    let lock = volume.tree(1).join("repos/a/.hg/store/lock");
    std::os::unix::fs::symlink("elsewhere/f00d:77", &lock).unwrap();
    let dir = volume.go_on(1, &note(&log, 2)).unwrap();
    let second = Replica::continue_tree(&dir, "standby", false).unwrap();
    let begun = Instant::now();
    assert_eq!(second.recover(log.end(), &mut log.source()).unwrap().quarantined, []);
    follow(&second, &log);
    assert!(begun.elapsed() < Duration::from_secs(10), "the lock was not waited for");
    assert_as_the_log_says(&second, &log);
    assert!(lock.symlink_metadata().is_err());
    assert_eq!(volume.trees().unwrap(), [1]);
    assert_eq!(volume.note(1).unwrap().unwrap().epoch.get(), 2);
}

#[test]
fn a_takeover_of_ten_thousand_repositories_reads_none_of_them() {
    let folder = TempDir::new().unwrap();
    let volume = Volume::new(folder.path().to_owned());
    let mut log = Log::new();
    log.create("a");
    log.push("a", 0);
    let first = take(&volume, 1, &log);
    first.sync().unwrap();
    drop(first);
    let state = Connection::open(volume.tree(1).join("state.sqlite")).unwrap();
    state
        .execute_batch(
            "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
             INSERT INTO repository (name, created, sequence, intent, durable, digest, state, stat, bytes)
             SELECT 'many/' || i, created, sequence, intent, durable, digest, state, stat, bytes FROM repository, n;
             INSERT INTO node SELECT r.id, n.key, n.value FROM repository r, node n WHERE r.name LIKE 'many/%';",
        )
        .unwrap();
    drop(state);
    let begun = Instant::now();
    let second = take(&volume, 2, &log);
    println!("10,000 repositories: {:?}", begun.elapsed());
    // All but one are not there at all, which nobody noticed.
    assert_eq!(second.in_older_trees()[&1].len(), 10_000);
    assert!(second.bring_here(&name("many/7")).is_err());
}

#[test]
fn a_large_repository_that_was_being_written_to_keeps_nobody_waiting() {
    let folder = TempDir::new().unwrap();
    let volume = Volume::new(folder.path().to_owned());
    let mut log = Log::new();
    log.create("small");
    log.create("large");
    let large = change_of(|writer| writer.create(b"store/data/large.i", &vec![7; 65 << 20]).unwrap());
    log.alter("large", large);
    let first = take(&volume, 1, &log);
    first.sync().unwrap();
    drop(first);
    log.push("small", 0);
    log.push("large", 0);
    let dir = volume.begin(2, Some(1), &note(&log, 2)).unwrap();
    let second = Replica::open_tree(&dir, "master").unwrap();
    let recovery = second.recover(log.end(), &mut log.source()).unwrap();
    assert_eq!(recovery.quarantined.len(), 1, "{recovery:?}");
    assert!(recovery.quarantined[0].1.contains("is copied from the volume's tree e1"), "{recovery:?}");
    assert_eq!((lies_in(&second, "small"), second.position()), ("e2".to_owned(), log.end()));
    assert!(second.snapshot(&name("large")).is_err());
    assert_eq!(second.retry(&name("large"), log.end(), &mut log.source()).unwrap(), Outcome::Applied);
    assert_as_the_log_says(&second, &log);
}
