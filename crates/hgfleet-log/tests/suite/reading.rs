//! Following, finding, waking.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::*;

pub async fn reads_are_bounded_and_end_at_the_end(backend: &dyn Backend) {
    let mut appender = Appender::new(backend.master().await, "master").await;
    for number in 0..9 {
        appender.append_store("a", &[number]).await;
    }
    let log = backend.reader().await;
    let numbers = |records: Vec<Record>| records.iter().map(|record| record.sequence.get()).collect::<Vec<_>>();
    assert_eq!(numbers(log.read(sequence(4), 3).await.expect("read")), [4, 5, 6]);
    assert_eq!(numbers(log.read(sequence(9), 100).await.expect("read")), [9, 10]);
    assert_eq!(numbers(log.read(sequence(11), 100).await.expect("read")), [0; 0]);
    assert_eq!(numbers(log.read(Sequence::new(i64::MAX as u64).expect("last"), 100).await.expect("read")), [0; 0]);
    assert_eq!(numbers(log.read(Sequence::FIRST, 0).await.expect("read")), [0; 0]);
    assert_eq!(numbers(log.read(Sequence::FIRST, usize::MAX).await.expect("read")).len(), 10);
}

/// Many large records don't come in one answer.
pub async fn one_read_is_bounded_in_bytes(backend: &dyn Backend) {
    let mut appender = Appender::new(backend.master().await, "master").await;
    let Body::Store(mut record) = store("a", b"") else { unreachable!() };
    record.summary = vec![7; hgfleet_log::limits::SUMMARY_BYTES_MAX];
    for _ in 0..8 {
        appender.append(Body::Store(record.clone()), Payload::Empty).await.expect("appended");
    }
    let read = appender.log.read(sequence(2), 100).await.expect("read");
    assert!((1..8).contains(&read.len()), "{} records", read.len());
    assert_eq!(all(&*appender.log).await.len(), 9);
}

pub async fn readers_follow_while_the_master_appends(backend: &dyn Backend) {
    let mut appender = Appender::new(backend.master().await, "master").await;
    let done = Arc::new(AtomicBool::new(false));
    let mut readers = Vec::new();
    for _ in 0..3 {
        let log = backend.reader().await;
        let done = done.clone();
        readers.push(tokio::spawn(async move {
            let mut follower = hgfleet_log::Follower::new(log.identity().await, None);
            loop {
                let finished = done.load(Ordering::SeqCst);
                let records = log.read(follower.due().expect("due"), 7).await.expect("read");
                for record in &records {
                    follower.accept(record).expect("follows");
                    if record.change_bytes() > 0 {
                        let mut into = tempfile::tempfile().expect("file");
                        log.payload(record, &mut into).await.expect("payload");
                    }
                }
                if records.is_empty() {
                    if finished {
                        return follower.at().copied();
                    }
                    log.changed(follower.at().map(|at| at.sequence), SHORT).await;
                }
            }
        }));
    }
    for number in 0..200u8 {
        appender.append_store("a", &[number; 300]).await;
    }
    done.store(true, Ordering::SeqCst);
    for reader in readers {
        assert_eq!(reader.await.expect("reader"), appender.tail);
    }
}

pub async fn changed_returns_soon_after_an_append_and_not_before_its_time_without_one(backend: &dyn Backend) {
    let mut appender = Appender::new(backend.master().await, "master").await;
    let reader = backend.reader().await;
    for log in [appender.log.clone(), reader] {
        let at = appender.tail.map(|tail| tail.sequence);
        let begun = Instant::now();
        log.changed(at, SHORT).await;
        assert!(begun.elapsed() >= SHORT, "nothing had changed");
        log.changed(None, LONG).await;
        let waiting = tokio::spawn({
            let log = log.clone();
            async move { log.changed(at, LONG).await }
        });
        tokio::time::sleep(SHORT).await;
        assert!(!waiting.is_finished());
        appender.append_store("a", b"1").await;
        waiting.await.expect("woken");
        assert!(begun.elapsed() < LONG);
    }
}

pub async fn a_wake_ends_the_wait(backend: &dyn Backend) {
    let appender = Appender::new(backend.master().await, "master").await;
    let log = backend.reader().await;
    let at = appender.tail.map(|tail| tail.sequence);
    let begun = Instant::now();
    let waiting = tokio::spawn({
        let log = log.clone();
        async move { log.changed(at, LONG).await }
    });
    while !waiting.is_finished() {
        log.wake();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(begun.elapsed() < LONG);
}

pub async fn the_last_record_of_each_repository_and_any_by_its_id_are_found(backend: &dyn Backend) {
    let mut appender = Appender::new(backend.master().await, "master").await;
    let mut appended = Vec::new();
    for number in 0..30u8 {
        appended.push(appender.append_store(&format!("team/{}", number % 3), &[number]).await);
    }
    let log = backend.reader().await;
    for number in 0..3 {
        let last = log.last_of(&name(&format!("team/{number}"))).await.expect("last");
        assert_eq!(last.as_ref(), Some(&appended[27 + number]));
    }
    assert_eq!(log.last_of(&name("team")).await.expect("last"), None);
    for record in &appended {
        assert_eq!(log.find(&record.id).await.expect("find").as_ref(), Some(record));
    }
    assert_eq!(log.find(&RecordId::from_bytes([0; 16])).await.expect("find"), None);
}

pub async fn a_reader_appends_nothing(backend: &dyn Backend) {
    let appender = Appender::new(backend.master().await, "master").await;
    let mut reader = Appender { log: backend.reader().await, epoch: appender.epoch, tail: appender.tail };
    let refused = reader.append(Body::Empty, Payload::Empty).await;
    assert!(matches!(refused, Err(AppendError::Refused(hgfleet_log::Refusal::Closed(_)))), "{refused:?}");
    assert!(reader.log.trim(Sequence::FIRST).await.is_err());
}
