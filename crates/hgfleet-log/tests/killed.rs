//! An appending process is killed at random moments; what it was told is stored is there.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use hgfleet_log::{
    Body, ChangePayload, Draft, EmbeddedLog, Epoch, Follower, Log, Payload, Record, RecordId, RepositoryName, Sequence,
    StoreKind, StoreRecord, Tail,
};

const FOLDER: &str = "HGFLEET_TEST_APPEND_TO";

/// The process that is killed: takes an epoch, appends as fast as it can, and says what was acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_that_appends() {
    // Started as a test like any other, it has nothing to do.
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let log = EmbeddedLog::open_master(folder.as_ref()).expect("open");
    let identity = log.identity().await;
    let mut tail = log.end().await.expect("end");
    let epoch = Epoch::after(tail.map(|tail| tail.epoch)).expect("epoch");
    let mut bodies = vec![(Body::Epoch { holder: "child".to_owned() }, Payload::Empty)];
    for round in 0u64.. {
        let mut appends = Vec::new();
        for (body, payload) in bodies.drain(..) {
            let draft = Draft::following(tail.as_ref(), epoch, RecordId::random().expect("random"), 0, body);
            tail = Some(Tail::of(&draft.clone().seal(identity).expect("record")));
            let log = log.clone();
            appends.push(async move { log.append(draft, payload).await });
        }
        // The first of them is polled first, so they are asked for in order.
        let appends: Vec<_> = appends.into_iter().map(|append| tokio::spawn(append)).collect();
        for append in appends {
            // Tasks may be polled in another order; what stands behind a refused one is refused.
            match append.await.expect("task") {
                Ok(record) => println!("ack {} {}", record.sequence, record.chain_hash()),
                Err(_) => break,
            }
        }
        tail = log.end().await.expect("end");
        for number in 0..=round % 4 {
            let change = vec![number as u8; if round % 16 == 7 { 5 << 20 } else { 2000 }];
            bodies.push((store(&change), payload(change)));
        }
    }
}

fn payload(change: Vec<u8>) -> Payload {
    if change.len() <= 4 << 20 {
        return Payload::Bytes(change);
    }
    let mut file = tempfile::tempfile().expect("file");
    std::io::Write::write_all(&mut file, &change).expect("written");
    Payload::File { file, bytes: change.len() as u64 }
}

fn store(change: &[u8]) -> Body {
    Body::Store(StoreRecord {
        repository: RepositoryName::parse("a").expect("name"),
        kind: StoreKind::Alter,
        before: Some([1; 32]),
        after: Some([2; 32]),
        who: String::new(),
        source: String::new(),
        summary: Vec::new(),
        change: ChangePayload::of(change),
    })
}

/// Lets a child append for so long, kills it, and returns what it said was acknowledged.
fn append_and_kill(folder: &std::path::Path, after: Duration) -> Vec<(u64, String)> {
    let mut child = Command::new(std::env::current_exe().expect("own path"))
        .args(["--exact", "child_that_appends", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("child");
    let output = child.stdout.take().expect("piped");
    let reader = std::thread::spawn(move || {
        let lines = BufReader::new(output).lines().map_while(Result::ok);
        let acknowledged = lines.filter_map(|line| {
            // The harness may write on the same line first; the last line may be cut.
            let rest = line.split("ack ").nth(1)?;
            let (sequence, hash) = rest.split_once(' ')?;
            (hash.len() == 64).then(|| Some((sequence.parse().ok()?, hash.to_owned()))).flatten()
        });
        acknowledged.collect()
    });
    std::thread::sleep(after);
    child.kill().expect("killed");
    child.wait().expect("ended");
    reader.join().expect("read")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_record_is_lost_when_the_appending_process_is_killed() {
    let folder = tempfile::tempdir().expect("folder");
    let mut acknowledged = Vec::new();
    let mut random = blake3::Hasher::new_keyed(&[1; 32]).finalize_xof();
    for _ in 0..12 {
        let mut byte = [0];
        random.fill(&mut byte);
        let path = folder.path().to_owned();
        let after = Duration::from_millis(30 + u64::from(byte[0]));
        let more = tokio::task::spawn_blocking(move || append_and_kill(&path, after)).await.expect("task");
        acknowledged.extend(more);
        let log = EmbeddedLog::open_master(folder.path()).expect("open after the kill");
        let records = all(&log).await;
        let mut follower = Follower::new(log.identity().await, None);
        for record in &records {
            follower.accept(record).expect("one chain");
        }
        for (sequence, hash) in &acknowledged {
            let stored = records.get(*sequence as usize - 1).map(|record| record.chain_hash().to_string());
            assert_eq!(stored.as_ref(), Some(hash), "record {sequence} was acknowledged");
        }
        for record in records.iter().rev().take(20) {
            let mut into = tempfile::tempfile().expect("file");
            log.payload(record, &mut into).await.expect("its change is whole");
        }
    }
    assert!(acknowledged.len() > 50, "only {} records were appended at all", acknowledged.len());
}

async fn all(log: &dyn Log) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    loop {
        let from = Sequence::after(records.last().map(|record| record.sequence)).expect("sequence");
        let more = log.read(from, 1000).await.expect("read");
        if more.is_empty() {
            return records;
        }
        records.extend(more);
    }
}
