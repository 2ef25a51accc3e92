//! Following a log when nothing goes wrong, and what is refused outright.

use std::process::Command;
use std::sync::Arc;

use hg_store::change::between;
use rusqlite::Connection;

use super::*;

#[test]
fn records_are_applied_in_order_and_once() {
    let dir = TempDir::new().unwrap();
    let mut log = Log::new();
    log.add(Body::Epoch { holder: "master".to_owned() }, Vec::new());
    log.create("team/first");
    log.create("second");
    for number in 0..7 {
        log.push("team/first", number);
        log.push("second", number);
    }
    log.add(Body::Empty, Vec::new());
    let replica = open(dir.path(), &log);
    assert_eq!((replica.position(), replica.durable_position(), replica.log()), (None, None, None));
    let outcomes = follow(&replica, &log);
    assert_eq!(outcomes[0], Outcome::NoStore);
    assert!(outcomes[1..17].iter().all(|outcome| *outcome == Outcome::Applied), "{outcomes:?}");
    assert_whole(&replica, dir.path(), &log);
    assert_eq!(replica.position_of(&name("second")), Some(at(17)));
    assert_eq!(replica.position_of(&name("third")), None);
    assert_eq!(replica.seen(), log.records.last().map(|(record, _)| (record.sequence, record.chain_hash())));
    for (record, change) in &log.records {
        let outcome = replica.apply(record, change).unwrap();
        assert!(matches!(outcome, Outcome::Already | Outcome::NoStore), "{outcome:?}");
    }
    replica.sync().unwrap();
    assert_eq!(replica.durable_position(), log.end());
    let incarnation = replica.incarnation();
    drop(replica);
    let replica = open(dir.path(), &log);
    assert_eq!((replica.incarnation(), replica.durable_position()), (incarnation, log.end()));
    assert_whole(&replica, dir.path(), &log);
}

#[test]
fn the_durable_position_follows_by_itself() {
    let dir = TempDir::new().unwrap();
    let mut log = Log::new();
    log.create("a");
    log.push("a", 0);
    let replica = open(dir.path(), &log);
    follow(&replica, &log);
    let began = std::time::Instant::now();
    while replica.durable_position() != log.end() {
        assert!(began.elapsed().as_secs() < 60);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn a_commit_is_checked_against_the_store_before_it_is_appended() {
    let dir = TempDir::new().unwrap();
    let mut log = Log::new();
    log.create("a");
    let replica = open(dir.path(), &log);
    follow(&replica, &log);
    let change = log.push_change("a", 0);
    let parsed = ChangeRef::parse(&change).unwrap();
    let after = replica.digest_after(&name("a"), &parsed).unwrap();
    log.alter("a", change.clone());
    assert_eq!(Some(after), log.digest("a"));
    // Nothing of it is kept before it is a record.
    assert_eq!(replica.digest_after(&name("a"), &parsed).unwrap(), after);
    follow(&replica, &log);
    assert!(matches!(replica.digest_after(&name("a"), &parsed), Err(ReplicaError::Digest(_))));
    assert!(matches!(replica.digest_after(&name("b"), &parsed), Err(ReplicaError::NotFound(_))));
    assert_whole(&replica, dir.path(), &log);
    // What was computed for one change is not taken for another.
    let other = log.push_change("a", 1);
    replica.digest_after(&name("a"), &ChangeRef::parse(&other).unwrap()).unwrap();
    log.push("a", 4);
    follow(&replica, &log);
    assert_whole(&replica, dir.path(), &log);
}

#[test]
fn no_repository_lies_inside_another() {
    let dir = TempDir::new().unwrap();
    let mut log = Log::new();
    log.create("team/first");
    let replica = open(dir.path(), &log);
    follow(&replica, &log);
    let change = &log.records[0].1;
    let change = ChangeRef::parse(change).unwrap();
    for taken in ["team", "team/first", "team/first/inner"] {
        let refused = replica.digest_of_new(&name(taken), &change);
        assert!(matches!(refused, Err(ReplicaError::NameTaken { .. })), "{taken}: {refused:?}");
    }
    assert_eq!(Some(replica.digest_of_new(&name("team/second"), &change).unwrap()), log.digest("team/first"));
    assert!(replica.digest_of_new(&name("teams"), &change).is_ok());
    // After it is gone, its folder's name is free too.
    log.delete("team/first");
    log.create("team");
    follow(&replica, &log);
    assert_whole(&replica, dir.path(), &log);
}

#[test]
fn a_repository_of_the_same_name_is_another_one() {
    let dir = TempDir::new().unwrap();
    let mut log = Log::new();
    log.create("a");
    log.push("a", 0);
    log.delete("a");
    log.create("a");
    log.push("a", 5);
    log.delete("a");
    let replica = open(dir.path(), &log);
    follow(&replica, &log);
    assert_whole(&replica, dir.path(), &log);
    assert!(matches!(replica.snapshot(&name("a")), Err(ReplicaError::NotFound(_))));
    log.create("a");
    follow(&replica, &log);
    assert_whole(&replica, dir.path(), &log);
    // What was deleted stays for those who read it.
    assert!(dir.path().join("deleted/3/.hg/store").exists() && dir.path().join("deleted/6").exists());
}

#[test]
fn what_concerns_the_whole_server_is_refused_outright() {
    let dir = TempDir::new().unwrap();
    let mut log = Log::new();
    log.create("a");
    let replica = Replica::open(dir.path()).unwrap();
    let (record, change) = &log.records[0];
    assert!(matches!(replica.apply(record, change), Err(ReplicaError::NotRecovered)));
    assert!(matches!(replica.snapshot(&name("a")), Err(ReplicaError::NotRecovered)));
    assert!(matches!(Replica::open(dir.path()), Err(ReplicaError::InUse(_))));
    replica.recover(None, &mut log.source()).unwrap();
    follow(&replica, &log);
    let draft = Draft {
        id: RecordId::from_bytes([9; 16]),
        epoch: Epoch::FIRST,
        expected: log.end(),
        previous: ChainHash::NONE,
        time_ms: 0,
        body: Body::Empty,
    };
    let foreign = draft.seal(LogId::from_bytes([8; 16])).unwrap();
    assert!(matches!(replica.apply(&foreign, &[]), Err(ReplicaError::OtherLog { .. })));
    assert_eq!(replica.position(), log.end());
    assert!(replica.free_bytes().unwrap() > 0);
    drop(replica);
    let connection = Connection::open(dir.path().join("state.sqlite")).unwrap();
    connection.pragma_update(None, "user_version", 5).unwrap();
    drop(connection);
    assert!(matches!(Replica::open(dir.path()), Err(ReplicaError::Format { .. })));
    fs::write(dir.path().join("state.sqlite"), "not a database, but long enough to look at").unwrap();
    let _ = fs::remove_file(dir.path().join("state.sqlite-wal"));
    assert!(matches!(Replica::open(dir.path()), Err(ReplicaError::State { .. })));
}

#[test]
fn repositories_go_on_side_by_side() {
    let dir = TempDir::new().unwrap();
    let mut log = Log::new();
    let names = ["a", "b", "c", "d"];
    for name in names {
        log.create(name);
    }
    for number in 0..8 {
        for name in names {
            log.push(name, number);
        }
    }
    let replica = open(dir.path(), &log);
    std::thread::scope(|scope| {
        for repository in names {
            let (replica, log) = (&replica, &log);
            scope.spawn(move || {
                let of_it =
                    |record: &Record| record.store().is_some_and(|store| store.repository.as_str() == repository);
                for (record, change) in log.records.iter().filter(|(record, _)| of_it(record)) {
                    assert_eq!(replica.apply(record, change).unwrap(), Outcome::Applied);
                    let snapshot = replica.snapshot(&name(repository)).unwrap();
                    assert_eq!(snapshot.sequence, record.sequence);
                    assert_eq!(Some(snapshot.digest), record.store().unwrap().after);
                }
            });
        }
    });
    replica.sync().unwrap();
    assert_eq!(replica.durable_position(), log.end());
    assert_whole(&replica, dir.path(), &log);
}

/// Runs `hg` in a folder; `false` where there is none.
fn hg(args: &[&str], repository: &Path) -> bool {
    let mut command = Command::new("hg");
    command.args(args).current_dir(repository).env("HGRCPATH", "/dev/null").env("HGPLAIN", "1");
    let Ok(output) = command.output() else {
        eprintln!("no hg in PATH: this test did nothing");
        return false;
    };
    assert!(output.status.success(), "hg {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    true
}

#[test]
fn what_hg_wrote_is_read_from_a_snapshot_that_stays_as_it_was() {
    let dir = TempDir::new().unwrap();
    let work = TempDir::new().unwrap();
    if !hg(&["init"], work.path()) {
        return;
    }
    let commit = |content: &str| {
        fs::write(work.path().join("file"), content).unwrap();
        hg(&["commit", "-A", "-u", "tester", "-m", content], work.path());
    };
    let mut log = Log::new();
    let change = |log: &Log| {
        let before = log.model("a").join(".hg");
        let before = before.exists().then_some(before);
        change_of(|writer| between(before.as_deref(), &work.path().join(".hg"), writer).unwrap())
    };
    log.create_with("a", change(&log));
    let replica = open(dir.path(), &log);
    follow(&replica, &log);
    commit("one");
    log.alter("a", change(&log));
    follow(&replica, &log);
    assert!(replica.open_snapshot(&name("a")).is_none(), "nobody has opened it");
    let first = replica.shared_snapshot(&name("a")).unwrap();
    assert!(Arc::ptr_eq(&first, &replica.shared_snapshot(&name("a")).unwrap()));
    assert!(Arc::ptr_eq(&first, &replica.open_snapshot(&name("a")).unwrap()));
    commit("two");
    log.alter("a", change(&log));
    follow(&replica, &log);
    assert!(replica.open_snapshot(&name("a")).is_none(), "one of before the commit is not given out");
    let second = replica.shared_snapshot(&name("a")).unwrap();
    assert_eq!((first.changelog().len(), second.changelog().len()), (1, 2));
    let file = |snapshot: &hg_store::Snapshot| snapshot.filelog(b"file").unwrap().unwrap().len();
    assert_eq!((file(&first), file(&second)), (1, 2));
    assert_whole(&replica, dir.path(), &log);
    hg(&["verify"], &replica.snapshot(&name("a")).unwrap().path);
}

#[test]
fn state_of_version_1_is_brought_up_to_date() {
    let dir = TempDir::new().unwrap();
    let mut log = Log::new();
    log.create("a");
    log.push("a", 1);
    let replica = open(dir.path(), &log);
    follow(&replica, &log);
    let bytes = replica.store_bytes();
    drop(replica);
    let state = rusqlite::Connection::open(dir.path().join("state.sqlite")).unwrap();
    let older = "ALTER TABLE repository DROP COLUMN bytes; ALTER TABLE repository DROP COLUMN scrubbed;
                 ALTER TABLE repository DROP COLUMN tree; DROP TABLE deleted;
                 UPDATE repository SET state = substr(state, 1, length(state) - 2);
                 PRAGMA user_version = 1;";
    state.execute_batch(older).unwrap();
    drop(state);
    let replica = open(dir.path(), &log);
    assert_eq!(replica.store_bytes(), bytes);
    log.push("a", 2);
    follow(&replica, &log);
    assert_whole(&replica, dir.path(), &log);
}

#[test]
fn of_many_repositories_only_some_are_kept_open() {
    let dir = TempDir::new().unwrap();
    let mut log = Log::new();
    let names: Vec<String> = (0..100).map(|number| format!("r{number}")).collect();
    for one in &names {
        log.create(one);
    }
    let replica = open(dir.path(), &log);
    follow(&replica, &log);
    let open_files = || {
        let files = fs::read_dir("/proc/self/fd").unwrap().flatten();
        files.filter(|file| fs::read_link(file.path()).is_ok_and(|to| to.starts_with(dir.path()))).count()
    };
    let before = open_files();
    for one in &names {
        replica.shared_snapshot(&name(one)).unwrap();
    }
    let now = open_files();
    assert!(now <= before + 2 * 64, "{before} files were open, and now {now}");
    // One that was closed is opened again.
    assert!(replica.shared_snapshot(&name("r0")).is_ok());
}
