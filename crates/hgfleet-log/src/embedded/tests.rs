//! What is particular to SQLite: files that are something else, failed commits, damaged rows.

use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;

use super::*;
use crate::ids::Incarnation;
use crate::record::{Body, ChangePayload, StoreKind, StoreRecord};

fn open(dir: &tempfile::TempDir) -> EmbeddedLog {
    EmbeddedLog::open_master(dir.path()).expect("master")
}

/// Drops the log and waits until its threads have closed the files: the last one who does removes the side files.
fn close(log: EmbeddedLog) {
    let side = ["log.sqlite-wal", "members.sqlite-wal"].map(|name| log.shared.dir.join(name));
    drop(log);
    while side.iter().any(|path| path.exists()) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("folder")
}

async fn begin(log: &EmbeddedLog) -> Tail {
    append(log, None, Body::Epoch { holder: "master".to_owned() }).await.expect("epoch")
}

async fn append(log: &EmbeddedLog, tail: Option<&Tail>, body: Body) -> Result<Tail, AppendError> {
    let epoch = tail.map_or(Epoch::FIRST, |tail| tail.epoch);
    let draft = Draft::following(tail, epoch, RecordId::random().expect("random"), 0, body);
    log.append(draft, Payload::Empty).await.map(|record| Tail::of(&record))
}

#[tokio::test]
async fn after_a_failed_fsync_nothing_is_appended_or_read_until_the_next_start() {
    let dir = folder();
    let log = open(&dir);
    let tail = begin(&log).await;
    log.shared.fail_next_commit.store(true, Ordering::SeqCst);
    let unknown = append(&log, Some(&tail), Body::Empty).await;
    assert!(matches!(unknown, Err(AppendError::Unknown(_))), "{unknown:?}");
    assert!(log.failure().is_some());
    let refused = append(&log, Some(&tail), Body::Empty).await;
    assert!(matches!(refused, Err(AppendError::Refused(Refusal::Closed(_)))), "{refused:?}");
    assert!(matches!(log.end().await, Err(LogError::Closed(_))), "what it shows may be on no disk");
    assert!(matches!(log.read(Sequence::FIRST, 1).await, Err(LogError::Closed(_))));
    let view = View { epoch: tail.epoch, version: 1, visible: None, mirrors: vec![] };
    assert!(log.set_view(None, view).await.is_err());
    assert!(log.trim(Sequence::FIRST).await.is_err());
    drop(log);
    let log = open(&dir);
    assert_eq!(log.end().await.expect("end"), Some(tail));
    append(&log, Some(&tail), Body::Empty).await.expect("appended");
}

#[tokio::test]
async fn all_that_share_the_failed_write_are_unknown() {
    let dir = folder();
    let log = open(&dir);
    let tail = begin(&log).await;
    log.shared.fail_next_commit.store(true, Ordering::SeqCst);
    let first = Draft::following(Some(&tail), tail.epoch, RecordId::random().expect("random"), 0, Body::Empty);
    let after = Tail::of(&first.clone().seal(log.identity().await).expect("record"));
    let second = Draft::following(Some(&after), tail.epoch, RecordId::random().expect("random"), 0, Body::Empty);
    let (first, second) = tokio::join!(log.append(first, Payload::Empty), log.append(second, Payload::Empty));
    assert!(matches!(first, Err(AppendError::Unknown(_))), "{first:?}");
    // Whether they shared it is a matter of luck. Together: unknown as well. After it: refused. Never stored.
    let stored = matches!(second, Ok(_) | Err(AppendError::TooLarge { .. }));
    assert!(!stored, "{second:?}");
}

/// Row R13 of the list of bad input.
#[tokio::test]
async fn a_full_disk_refuses_appends_and_reading_goes_on() {
    let dir = folder();
    let log = open(&dir);
    let tail = begin(&log).await;
    log.shared.disk_is_full.store(true, Ordering::SeqCst);
    let refused = append(&log, Some(&tail), Body::Empty).await;
    assert!(matches!(refused, Err(AppendError::Refused(Refusal::NoSpace { free: 0, .. }))), "{refused:?}");
    assert_eq!(log.end().await.expect("end"), Some(tail));
    assert_eq!(log.read(Sequence::FIRST, 9).await.expect("read").len(), 1);
    log.shared.disk_is_full.store(false, Ordering::SeqCst);
    append(&log, Some(&tail), Body::Empty).await.expect("appended");
}

#[test]
fn files_that_are_something_else_are_refused_by_name() {
    let dir = folder();
    assert!(matches!(EmbeddedLog::open_reader(dir.path()), Err(LogError::Absent(_))));
    let path = dir.path().join("log.sqlite");
    std::fs::write(&path, b"this is a text, and a text that is long enough to be no empty file. ".repeat(20))
        .expect("written");
    for opened in [EmbeddedLog::open_master(dir.path()), EmbeddedLog::open_reader(dir.path())] {
        assert!(matches!(opened, Err(LogError::NotALog { .. })), "{opened:?}");
    }
    std::fs::remove_file(&path).expect("removed");
    let other = Connection::open(&path).expect("made");
    other.execute_batch("CREATE TABLE songs (title TEXT)").expect("made");
    drop(other);
    for opened in [EmbeddedLog::open_master(dir.path()), EmbeddedLog::open_reader(dir.path())] {
        assert!(matches!(opened, Err(LogError::NotALog { .. })), "{opened:?}");
    }
}

#[test]
fn a_newer_format_is_refused_by_name_and_an_empty_file_is_a_new_log() {
    let dir = folder();
    std::fs::write(dir.path().join("log.sqlite"), b"").expect("written");
    assert!(matches!(EmbeddedLog::open_reader(dir.path()), Err(LogError::Absent(_))));
    close(open(&dir));
    let connection = Connection::open(dir.path().join("log.sqlite")).expect("opened");
    connection.pragma_update(None, "user_version", 2).expect("updated");
    drop(connection);
    for opened in [EmbeddedLog::open_master(dir.path()), EmbeddedLog::open_reader(dir.path())] {
        let error = opened.expect_err("newer");
        assert!(matches!(error, LogError::NewerFormat { found: 2, known: 1, .. }), "{error:?}");
        assert!(error.to_string().contains("use a newer hgfleet"), "{error}");
    }
}

#[test]
fn a_start_leaves_nothing_in_the_write_ahead_log() {
    let dir = folder();
    close(open(&dir));
    let connection = Connection::open(dir.path().join("log.sqlite")).expect("opened");
    connection.execute("UPDATE log SET trimmed = 1", []).expect("written");
    let wal = dir.path().join("log.sqlite-wal");
    assert!(std::fs::metadata(&wal).expect("there").len() > 0);
    let _log = open(&dir);
    assert_eq!(std::fs::metadata(&wal).expect("there").len(), 0);
}

#[tokio::test]
async fn rows_that_are_damaged_are_named_and_not_skipped() {
    let dir = folder();
    let log = open(&dir);
    let mut tail = begin(&log).await;
    for _ in 0..4 {
        tail = append(&log, Some(&tail), Body::Empty).await.expect("appended");
    }
    let connection = Connection::open(dir.path().join("log.sqlite")).expect("opened");
    let third = Sequence::new(3).expect("sequence");
    connection.execute("UPDATE records SET record = substr(record, 1, 100) WHERE sequence = 3", []).expect("cut");
    assert!(matches!(log.read(Sequence::FIRST, 9).await, Err(LogError::Record { sequence, .. }) if sequence == third));
    connection.execute("DELETE FROM records WHERE sequence = 3", []).expect("deleted");
    assert!(matches!(log.read(Sequence::FIRST, 9).await, Err(LogError::Damaged { sequence, .. }) if sequence == third));
    assert!(matches!(log.read(third, 9).await, Err(LogError::Damaged { sequence, .. }) if sequence == third));
    connection.execute("UPDATE records SET sequence = 3 WHERE sequence = 4", []).expect("moved");
    assert!(matches!(log.read(third, 9).await, Err(LogError::Damaged { sequence, .. }) if sequence == third));
    assert_eq!(log.read(Sequence::FIRST, 2).await.expect("read").len(), 2, "what lies before it is whole");
}

#[tokio::test]
async fn a_change_that_is_damaged_in_the_file_is_not_handed_out() {
    let dir = folder();
    let log = open(&dir);
    let tail = begin(&log).await;
    for bytes in [100usize, 9 << 20] {
        let change = vec![7; bytes];
        let store = StoreRecord {
            repository: RepositoryName::parse("a").expect("name"),
            kind: StoreKind::Create,
            before: None,
            after: Some([1; 32]),
            who: String::new(),
            source: String::new(),
            summary: Vec::new(),
            change: ChangePayload::of(&change),
        };
        let tail = log.end().await.expect("end").unwrap_or(tail);
        let id = RecordId::random().expect("random");
        let draft = Draft::following(Some(&tail), tail.epoch, id, 0, Body::Store(store));
        let file = tempfile::tempfile().expect("file");
        file.write_all_at(&change, 0).expect("written");
        log.append(draft, Payload::File { file, bytes: bytes as u64 }).await.expect("appended");
    }
    let connection = Connection::open(dir.path().join("log.sqlite")).expect("opened");
    let records = log.read(Sequence::new(2).expect("sequence"), 9).await.expect("read");
    let damage = |sql| connection.execute(sql, []).expect("damaged");
    let is_refused = async |record: &Record| {
        let mut into = tempfile::tempfile().expect("file");
        let answer = log.payload(record, &mut into).await;
        assert!(matches!(answer, Err(LogError::Payload { .. })), "{answer:?}");
    };
    damage("UPDATE records SET change = zeroblob(100) WHERE sequence = 2");
    is_refused(&records[0]).await;
    damage("UPDATE records SET change = zeroblob(101) WHERE sequence = 2");
    is_refused(&records[0]).await;
    damage("UPDATE records SET change = NULL WHERE sequence = 2");
    is_refused(&records[0]).await;
    damage("UPDATE parts SET bytes = substr(bytes, 2) WHERE part = 2");
    is_refused(&records[1]).await;
    damage("DELETE FROM parts WHERE part = 1");
    is_refused(&records[1]).await;
}

#[tokio::test]
async fn a_damaged_members_file_begins_anew_and_the_log_is_untouched() {
    let dir = folder();
    let log = open(&dir);
    let tail = begin(&log).await;
    log.renew_lease("master", None, None).await.expect("lease");
    close(log);
    std::fs::write(dir.path().join("members.sqlite"), [0x5a; 5000]).expect("damaged");
    let log = open(&dir);
    assert_eq!(log.lease().await.expect("lease"), None);
    assert_eq!(log.end().await.expect("end"), Some(tail));
}

#[tokio::test]
async fn a_server_that_was_silent_for_a_day_is_forgotten_at_the_next_start() {
    let dir = folder();
    let log = open(&dir);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("clock").as_millis() as u64;
    for (name, hours) in [("gone", 25), ("here", 1)] {
        let member = Member {
            name: name.to_owned(),
            role: crate::membership::Role::Mirror,
            state: crate::membership::ServerState::Out,
            address: String::new(),
            pid: 1,
            incarnation: Some(Incarnation::from_bytes([1; 16])),
            staged_position: None,
            position: None,
            lag_seconds: f64::NAN,
            reason: String::new(),
            at_ms: now - hours * 3_600_000,
            disk: Default::default(),
        };
        log.put_heartbeat(member).await.expect("heartbeat");
    }
    drop(log);
    let names: Vec<_> = open(&dir).members().await.expect("members").into_iter().map(|member| member.name).collect();
    assert_eq!(names, ["here"]);
}
