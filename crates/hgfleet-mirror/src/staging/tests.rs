use std::io::Write;

use hgfleet_log::{Body, ChangePayload, Draft, Epoch, RecordId, RepositoryName, StoreKind, StoreRecord};

use super::*;

const LOG: LogId = LogId::from_bytes([7; 16]);

fn sequence(number: u64) -> Sequence {
    Sequence::new(number).expect("a sequence")
}

/// The record that follows `tail`, with this change.
fn record(tail: Option<&Tail>, change: &[u8]) -> Record {
    let number = tail.map_or(0, |tail| tail.sequence.get());
    let store = StoreRecord {
        repository: RepositoryName::parse(b"a").expect("a name"),
        kind: StoreKind::Create,
        before: None,
        after: Some([1; 32]),
        who: String::new(),
        source: String::new(),
        summary: Vec::new(),
        change: ChangePayload::of(change),
    };
    let id = RecordId::from_bytes([number as u8; 16]);
    Draft::following(tail, Epoch::FIRST, id, 0, Body::Store(store)).seal(LOG).expect("a record")
}

/// Stages `count` more records, the change of record N being N bytes.
fn stage(staging: &Staging, count: u64) {
    let mut tail = staging.tail().map(|(_, tail)| tail);
    let mut batch = Vec::new();
    for _ in 0..count {
        let number = tail.map_or(0, |tail| tail.sequence.get()) + 1;
        let change = vec![number as u8; number as usize];
        let record = record(tail.as_ref(), &change);
        tail = Some(Tail::of(&record));
        batch.push((record, Incoming::Inline(change)));
    }
    staging.append(batch, || ()).expect("staged");
}

fn check(staging: &Staging, numbers: std::ops::RangeInclusive<u64>) {
    let staged = staging.records_from(None);
    let found: Vec<u64> = staged.iter().map(|r| r.sequence.get()).collect();
    assert_eq!(found, numbers.clone().collect::<Vec<_>>());
    for number in numbers {
        let got = staging.get(sequence(number)).expect("readable");
        let (_, change) = got.expect("there");
        assert_eq!(change.as_ref(), vec![number as u8; number as usize]);
    }
}

fn only_segment(dir: &Path) -> PathBuf {
    let mut segments = segment::list(dir).expect("listed");
    assert_eq!(segments.len(), 1);
    dir.join(format!("{}.segment", segments.remove(0)))
}

#[test]
fn what_was_staged_is_there_after_a_restart() {
    let dir = tempfile::tempdir().expect("a folder");
    let staging = Staging::open(dir.path(), None).expect("opened");
    assert_eq!(staging.tail(), None);
    stage(&staging, 3);
    stage(&staging, 2);
    check(&staging, 1..=5);
    let tail = staging.tail();
    let again = Staging::open(dir.path(), None).expect("opened again");
    check(&again, 1..=5);
    assert_eq!(again.tail(), tail);
    assert_eq!(again.bytes(), staging.bytes());
    stage(&again, 1);
    check(&again, 1..=6);
}

#[test]
fn a_torn_end_is_cut_off_at_every_length() {
    let dir = tempfile::tempdir().expect("a folder");
    let staging = Staging::open(dir.path(), None).expect("opened");
    stage(&staging, 2);
    let whole = staging.bytes();
    stage(&staging, 1);
    let path = only_segment(dir.path());
    let bytes = fs::read(&path).expect("read");
    for length in whole..bytes.len() as u64 {
        fs::write(&path, &bytes[..length as usize]).expect("cut");
        let cut = Staging::open(dir.path(), None).expect("opened");
        check(&cut, 1..=2);
        assert_eq!(fs::metadata(&path).expect("there").len(), whole);
        stage(&cut, 1);
        check(&Staging::open(dir.path(), None).expect("opened"), 1..=3);
    }
}

#[test]
fn a_damaged_byte_anywhere_ends_what_is_believed() {
    let dir = tempfile::tempdir().expect("a folder");
    let staging = Staging::open(dir.path(), None).expect("opened");
    stage(&staging, 1);
    let first = staging.bytes();
    stage(&staging, 2);
    let path = only_segment(dir.path());
    let bytes = fs::read(&path).expect("read");
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        fs::write(&path, &damaged).expect("damaged");
        let cut = Staging::open(dir.path(), None).expect("opened");
        let last = cut.tail().map_or(0, |(_, tail)| tail.sequence.get());
        assert!(last < 3, "byte {at}");
        if (at as u64) < first {
            assert_eq!(last, 0, "byte {at}");
            assert_eq!(segment::list(dir.path()).expect("listed"), []);
        }
    }
}

#[test]
fn zeros_where_the_disk_has_written_nothing_are_no_record() {
    let dir = tempfile::tempdir().expect("a folder");
    let staging = Staging::open(dir.path(), None).expect("opened");
    stage(&staging, 2);
    let path = only_segment(dir.path());
    let mut file = fs::OpenOptions::new().append(true).open(&path).expect("open");
    file.write_all(&[0; 4096]).expect("written");
    check(&Staging::open(dir.path(), None).expect("opened"), 1..=2);
}

#[test]
fn a_large_change_lies_beside_and_must_be_whole() {
    let dir = tempfile::tempdir().expect("a folder");
    let staging = Staging::open(dir.path(), None).expect("opened");
    let change = vec![3; INLINE_BYTES_MAX as usize + 1];
    let record = record(None, &change);
    let mut file = staging.large_file(record.sequence).expect("made");
    file.write_all(&change).expect("written");
    let bytes = record.change_bytes();
    staging.append(vec![(record, Incoming::Beside)], || ()).expect("staged");
    assert!(staging.bytes() > bytes);
    let again = Staging::open(dir.path(), None).expect("opened");
    let (_, got) = again.get(sequence(1)).expect("readable").expect("there");
    assert_eq!(got.as_ref(), change);
    assert_eq!(again.bytes(), staging.bytes());
    fs::write(dir.path().join("1.change"), &change[1..]).expect("cut");
    fs::write(dir.path().join("9.change"), "stray").expect("stray");
    let cut = Staging::open(dir.path(), None).expect("opened");
    assert_eq!(cut.tail(), None);
    assert_eq!(segment::list_beside(dir.path()).expect("listed"), []);
}

#[test]
fn what_is_in_the_stores_is_given_up_and_the_tail_stays() {
    let dir = tempfile::tempdir().expect("a folder");
    let staging = Staging::open(dir.path(), None).expect("opened");
    stage(&staging, 5);
    staging.remove_through(sequence(3)).expect("removed");
    check(&staging, 4..=5);
    let tail = staging.tail();
    staging.remove_through(sequence(5)).expect("removed");
    assert_eq!(staging.records_from(None), []);
    assert_eq!(staging.tail(), tail);
    assert_eq!(Staging::open(dir.path(), None).expect("opened").tail(), tail);
    stage(&staging, 1);
    assert_eq!(staging.records_from(None).len(), 1);
}

#[test]
fn full_segments_are_closed_and_removed_when_nothing_of_them_is_needed() {
    let dir = tempfile::tempdir().expect("a folder");
    let staging = Staging::open(dir.path(), None).expect("opened");
    let mut tail = None;
    for _ in 0..40 {
        let change = vec![1; INLINE_BYTES_MAX as usize];
        let record = record(tail.as_ref(), &change);
        tail = Some(Tail::of(&record));
        let batch = vec![(record, Incoming::Inline(change))];
        staging.append(batch, || ()).expect("staged");
    }
    let segments = segment::list(dir.path()).expect("listed");
    assert_eq!(segments.len(), 3, "{segments:?}");
    let again = Staging::open(dir.path(), None).expect("opened");
    assert_eq!(again.records_from(None).len(), 40);
    staging.remove_through(sequence(20)).expect("removed");
    assert_eq!(segment::list(dir.path()).expect("listed").len(), 2);
    staging.remove_through(sequence(40)).expect("removed");
    assert_eq!(segment::list(dir.path()).expect("listed").len(), 1);
    let (_, kept) = staging.tail().expect("a tail");
    assert_eq!(Some(kept), tail);
}

#[test]
fn a_failed_append_leaves_nothing_behind() {
    let dir = tempfile::tempdir().expect("a folder");
    let staging = Staging::open(dir.path(), None).expect("opened");
    stage(&staging, 1);
    let tail = staging.tail().map(|(_, tail)| tail);
    let missing = record(tail.as_ref(), &vec![1; INLINE_BYTES_MAX as usize + 1]);
    let refused = staging.append(vec![(missing, Incoming::Beside)], || ());
    assert!(refused.is_err(), "the change's file was never made");
    stage(&staging, 1);
    check(&staging, 1..=2);
}

#[test]
fn changes_that_the_stores_have_are_not_missed_at_a_start() {
    let dir = tempfile::tempdir().expect("a folder");
    let staging = Staging::open(dir.path(), None).expect("opened");
    let large = vec![3; INLINE_BYTES_MAX as usize + 1];
    let first = record(None, &large);
    staging.large_file(first.sequence).expect("made").write_all(&large).expect("written");
    let second = record(Some(&Tail::of(&first)), &[2, 2]);
    let staged = vec![(first, Incoming::Beside), (second, Incoming::Inline(vec![2, 2]))];
    staging.append(staged, || ()).expect("staged");
    let tail = staging.tail();
    staging.remove_through(sequence(1)).expect("removed");
    assert_eq!(segment::list_beside(dir.path()).expect("listed"), []);
    // What was acknowledged behind it is there, also without the log.
    let again = Staging::open(dir.path(), Some(sequence(1))).expect("opened");
    assert_eq!(again.tail(), tail);
    check(&again, 2..=2);
}
