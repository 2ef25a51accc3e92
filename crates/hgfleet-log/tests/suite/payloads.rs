//! Changes, short and long.

use std::io::{Read, Seek, SeekFrom, Write};

use hgfleet_log::{LogError, Refusal};

use super::*;

/// A file of so many bytes that no compression makes shorter, and their description.
fn change_file(bytes: u64) -> (std::fs::File, ChangePayload) {
    let mut file = tempfile::tempfile().expect("file");
    let mut hasher = blake3::Hasher::new();
    let mut stream = blake3::Hasher::new_keyed(&[7; 32]).finalize_xof();
    let mut buffer = vec![0; 1 << 20];
    let mut left = bytes;
    while left > 0 {
        let length = left.min(buffer.len() as u64) as usize;
        stream.fill(&mut buffer[..length]);
        hasher.update(&buffer[..length]);
        file.write_all(&buffer[..length]).expect("write");
        left -= length as u64;
    }
    (file, ChangePayload { bytes, digest: *hasher.finalize().as_bytes() })
}

async fn there_and_back(backend: &dyn Backend, lengths: &[u64]) {
    let mut appender = Appender::new(backend.master().await, "master").await;
    let reader = backend.reader().await;
    for &bytes in lengths {
        // The file's offset is at its end, and doesn't matter.
        let (file, change) = change_file(bytes);
        let record = appender
            .append(store_of("a", change), Payload::File { file, bytes })
            .await
            .unwrap_or_else(|error| panic!("{bytes} bytes: {error}"));
        for log in [&appender.log, &reader] {
            let mut into = tempfile::tempfile().expect("file");
            log.payload(&record, &mut into).await.expect("payload");
            assert_eq!(into.metadata().expect("metadata").len(), bytes);
            into.seek(SeekFrom::Start(0)).expect("seek");
            let mut hasher = blake3::Hasher::new();
            hasher.update_reader(&mut into).expect("read");
            assert_eq!(hasher.finalize(), change.digest);
        }
    }
}

pub async fn changes_of_every_length_come_back(backend: &dyn Backend) {
    let part = 4 << 20;
    there_and_back(backend, &[0, 1, 2000, part - 1, part, part + 1, 3 * part, 20_000_000]).await;
}

#[cfg(feature = "soak")]
pub async fn a_change_of_300_megabytes_comes_back(backend: &dyn Backend) {
    there_and_back(backend, &[300_000_000]).await;
}

pub async fn a_change_that_is_not_what_the_record_names_is_refused(backend: &dyn Backend) {
    let mut appender = Appender::new(backend.master().await, "master").await;
    let refused = |answer: Result<Record, AppendError>| match answer {
        Err(AppendError::Refused(Refusal::Payload(_))) => {}
        other => panic!("{other:?}"),
    };
    // Another length; other bytes; none; a file that is shorter than it is said to be.
    refused(appender.append(store("a", b"12"), Payload::Bytes(b"123".to_vec())).await);
    refused(appender.append(store("a", b"12"), Payload::Bytes(b"21".to_vec())).await);
    refused(appender.append(store("a", b"12"), Payload::Empty).await);
    refused(appender.append(Body::Empty, Payload::Bytes(b"12".to_vec())).await);
    for bytes in [100, 9 << 20] {
        let (file, mut change) = change_file(bytes);
        change.bytes += 1;
        refused(appender.append(store_of("a", change), Payload::File { file, bytes: bytes + 1 }).await);
        let (file, mut change) = change_file(bytes);
        change.digest[31] ^= 1;
        refused(appender.append(store_of("a", change), Payload::File { file, bytes }).await);
    }
    // Nothing of them is left, neither in the log nor in the way.
    let (file, change) = change_file(9 << 20);
    let record =
        appender.append(store_of("a", change), Payload::File { file, bytes: change.bytes }).await.expect("appended");
    assert_eq!(record.sequence, sequence(2));
    let mut into = tempfile::tempfile().expect("file");
    appender.log.payload(&record, &mut into).await.expect("payload");
}

pub async fn trimming_gives_up_what_lies_below_the_checkpoint(backend: &dyn Backend) {
    let mut appender = Appender::new(backend.master().await, "master").await;
    let (file, long) = change_file(9 << 20);
    appender.append(store_of("old", long), Payload::File { file, bytes: long.bytes }).await.expect("appended");
    for number in 3..=9 {
        appender.append_store(if number % 2 == 0 { "even" } else { "odd" }, &[number as u8; 10]).await;
    }
    let log = appender.log.clone();
    let before = all(&*log).await;
    assert!(log.trim(sequence(10)).await.is_err(), "beyond the end");
    log.trim(sequence(6)).await.expect("trimmed");
    log.trim(sequence(4)).await.expect("trimmed further already");
    for log in [log.clone(), backend.reader().await, backend.master().await] {
        assert_eq!(log.first().await.expect("first"), sequence(7));
        for number in 1..=6 {
            match log.read(sequence(number), 1).await {
                Err(LogError::Trimmed { from, first }) => assert_eq!((from.get(), first.get()), (number, 7)),
                other => panic!("{number}: {other:?}"),
            }
        }
        assert_eq!(log.read(sequence(7), 10).await.expect("read"), before[6..]);
        let mut into = tempfile::tempfile().expect("file");
        log.payload(&before[6], &mut into).await.expect("payload");
        for gone in [&before[1], &before[3]] {
            assert!(matches!(log.payload(gone, &mut into).await, Err(LogError::Trimmed { .. })));
        }
        // What each repository's next change starts from is known all the same.
        assert_eq!(log.last_of(&name("old")).await.expect("last").as_ref(), Some(&before[1]));
        assert_eq!(log.last_of(&name("even")).await.expect("last").as_ref(), Some(&before[7]));
        assert_eq!(log.find(&before[8].id).await.expect("find").as_ref(), Some(&before[8]));
        assert_eq!(log.find(&before[2].id).await.expect("find"), None);
        assert_eq!(log.end().await.expect("end").map(|tail| tail.sequence.get()), Some(9));
    }
    // Up to the very end: the next record still follows.
    log.trim(sequence(9)).await.expect("trimmed");
    assert_eq!(log.first().await.expect("first"), sequence(10));
    assert_eq!(log.read(sequence(10), 1).await.expect("read"), []);
    assert!(matches!(log.read(sequence(9), 1).await, Err(LogError::Trimmed { .. })));
    let next = appender.append_store("even", b"next").await;
    assert_eq!(next.sequence, sequence(10));
    assert_eq!(next.previous, before[8].chain_hash());
}

pub async fn a_short_change_arrives_at_the_start_of_the_file_whatever_its_offset(backend: &dyn Backend) {
    let mut appender = Appender::new(backend.master().await, "master").await;
    let record = appender.append_store("a", b"change").await;
    let mut into = tempfile::tempfile().expect("file");
    into.write_all(b"0123456789").expect("write");
    appender.log.payload(&record, &mut into).await.expect("payload");
    let mut found = String::new();
    into.seek(SeekFrom::Start(0)).expect("seek");
    into.read_to_string(&mut found).expect("read");
    assert_eq!(found, "change6789");
}
