//! What is wrong with one repository, and stops no other.

use super::*;

/// A repository `bad`, ready to be ruined, and `good`.
fn two() -> (TempDir, Log, Replica) {
    let dir = TempDir::new().unwrap();
    let mut log = Log::new();
    log.create("bad");
    log.create("good");
    log.push("bad", 0);
    log.push("good", 0);
    let replica = open(dir.path(), &log);
    follow(&replica, &log);
    (dir, log, replica)
}

/// Follows; `bad` must be in quarantine for a reason that says `why`, and `good` go on, also after a restart.
#[track_caller]
fn assert_quarantined(dir: &TempDir, mut log: Log, replica: Replica, why: &str) {
    log.push("good", 1);
    let outcomes = follow(&replica, &log);
    let reasons: Vec<&String> = outcomes
        .iter()
        .filter_map(|outcome| match outcome {
            Outcome::Quarantined(reason) => Some(reason),
            _ => None,
        })
        .collect();
    assert!(!reasons.is_empty() && reasons.iter().all(|reason| reason.contains(why)), "{outcomes:?}");
    assert_eq!(outcomes.last(), Some(&Outcome::Applied));
    assert_eq!(replica.position(), log.end());
    replica.sync().unwrap();
    assert_eq!(replica.durable_position(), log.end());
    drop(replica);
    let replica = begin(dir.path());
    replica.recover(log.end(), &mut log.source()).unwrap();
    assert_eq!(replica.position(), log.end());
    match replica.snapshot(&name("bad")) {
        Err(ReplicaError::Quarantined { reason, .. }) => assert!(reason.contains(why), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert!(replica.shared_snapshot(&name("bad")).is_err());
    assert_eq!(Some(replica.snapshot(&name("good")).unwrap().digest), log.digest("good"));
    log.push("good", 3);
    assert_eq!(follow(&replica, &log), [Outcome::Applied]);
    // A record that deletes it ends this as well.
    log.delete("bad");
    log.create("bad");
    assert_eq!(follow(&replica, &log), [Outcome::Applied, Outcome::Applied]);
    assert_whole(&replica, dir.path(), &log);
}

#[test]
fn a_record_for_another_state() {
    let (dir, mut log, replica) = two();
    let change = log.push_change("bad", 1);
    let after = log.digest("bad");
    log.store("bad", StoreKind::Alter, [Some([1; 32]), after], change);
    log.push("bad", 4);
    assert_quarantined(&dir, log, replica, "another state");
}

#[test]
fn a_record_that_leads_elsewhere_is_not_written() {
    let (dir, mut log, replica) = two();
    let change = log.push_change("bad", 1);
    let before = log.digest("bad");
    log.store("bad", StoreKind::Alter, [before, Some([1; 32])], change);
    follow(&replica, &log);
    assert_eq!(digest_of_store(&dir.path().join("repos/bad/.hg")).unwrap().as_bytes(), &before.unwrap());
    log.push("bad", 4);
    assert_quarantined(&dir, log, replica, "does not lead to");
}

#[test]
fn a_change_that_is_damaged_or_of_another_length() {
    let (dir, mut log, replica) = two();
    let sequence = log.push("bad", 1);
    let change = &mut log.records[sequence.get() as usize - 1].1;
    let middle = change.len() / 2;
    change[middle] ^= 1;
    assert_quarantined(&dir, log, replica, "damaged");

    let (dir, mut log, replica) = two();
    let sequence = log.push("bad", 1);
    log.records[sequence.get() as usize - 1].1.pop();
    assert_quarantined(&dir, log, replica, "not as long");
}

#[test]
fn a_store_that_someone_else_wrote_to() {
    for path in ["store/phaseroots", "store/fncache", "hgrc"] {
        let (dir, mut log, replica) = two();
        let path = dir.path().join("repos/bad/.hg").join(path);
        let mut content = fs::read(&path).unwrap_or_default();
        content.push(b'x');
        fs::write(path, content).unwrap();
        log.push("bad", 1);
        assert_quarantined(&dir, log, replica, "record");
    }
    // A file that is not among those looked at each time is found when it is written to.
    let (dir, mut log, replica) = two();
    fs::write(dir.path().join("repos/bad/.hg/store/data/a.i"), "short").unwrap();
    log.push("bad", 1);
    assert_quarantined(&dir, log, replica, "store/data/a.i");
}

#[test]
fn files_that_were_only_touched_are_no_reason() {
    let (dir, mut log, replica) = two();
    let path = dir.path().join("repos/bad/.hg/store/phaseroots");
    let content = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, content).unwrap();
    log.push("bad", 1);
    assert_eq!(follow(&replica, &log), [Outcome::Applied]);
    assert_whole(&replica, dir.path(), &log);
}

#[test]
fn a_record_that_creates_it_twice_or_inside_another() {
    let (dir, mut log, replica) = two();
    let change = log.records[0].1.clone();
    let after = log.digest("bad");
    log.store("bad", StoreKind::Create, [None, after], change);
    assert_quarantined(&dir, log, replica, "second time");

    let (_dir, mut log, replica) = two();
    let change = log.records[0].1.clone();
    log.store("good/inner", StoreKind::Create, [None, Some([0; 32])], change);
    assert!(matches!(&follow(&replica, &log)[..], [Outcome::Quarantined(_)]));
    assert!(!replica.snapshot(&name("good")).unwrap().path.join("inner").exists());
    log.push("good", 1);
    assert_eq!(follow(&replica, &log), [Outcome::Applied]);
}

#[test]
fn a_record_for_a_repository_that_no_record_made() {
    let (_dir, mut log, replica) = two();
    let change = log.push_change("bad", 1);
    log.store("unknown", StoreKind::Alter, [Some([1; 32]), Some([2; 32])], change);
    assert!(matches!(&follow(&replica, &log)[..], [Outcome::Quarantined(_)]));
    assert_eq!(replica.position(), log.end());
}

#[test]
fn once_the_obstacle_is_gone_it_is_tried_again() {
    let (dir, mut log, replica) = two();
    // A folder in the place of a file that the record makes: as good an obstacle as a full disk.
    let obstacle = dir.path().join("repos/bad/.hg/store/data/new1.i");
    fs::create_dir(&obstacle).unwrap();
    log.push("bad", 1);
    log.push("bad", 2);
    log.push("good", 1);
    let outcomes = follow(&replica, &log);
    assert!(
        matches!(outcomes[..], [Outcome::Quarantined(_), Outcome::Quarantined(_), Outcome::Applied]),
        "{outcomes:?}"
    );
    let retried = replica.retry(&name("bad"), log.end(), &mut log.source()).unwrap();
    assert!(matches!(retried, Outcome::Quarantined(_)));
    fs::remove_dir(&obstacle).unwrap();
    assert_eq!(replica.retry(&name("bad"), log.end(), &mut log.source()).unwrap(), Outcome::Applied);
    assert_whole(&replica, dir.path(), &log);
    log.push("bad", 5);
    assert_eq!(follow(&replica, &log), [Outcome::Applied]);
    drop(replica);
    assert_whole(&open(dir.path(), &log), dir.path(), &log);
}

#[test]
fn a_rewrite_that_could_not_be_made_is_made_once_it_can() {
    let dir = TempDir::new().unwrap();
    let mut log = Log::new();
    log.create("a");
    log.push("a", 0);
    let replica = open(dir.path(), &log);
    follow(&replica, &log);
    let rewrite = log.rewrite("a", "store/data/new0.i");
    log.push("a", 1);
    let obstacle = dir.path().join("new").join(rewrite.to_string());
    fs::write(&obstacle, "no folder").unwrap();
    let outcomes = follow(&replica, &log);
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Quarantined(_))), "{outcomes:?}");
    assert!(matches!(replica.retry(&name("a"), log.end(), &mut log.source()).unwrap(), Outcome::Quarantined(_)));
    fs::remove_file(obstacle).unwrap();
    assert_eq!(replica.retry(&name("a"), log.end(), &mut log.source()).unwrap(), Outcome::Applied);
    assert_whole(&replica, dir.path(), &log);
    replica.sync().unwrap();
    drop(replica);
    assert_whole(&open(dir.path(), &log), dir.path(), &log);
}
