//! How fast the embedded log appends, durably, on the disk of the folder that is given (or of the temporary folder).
//!
//! `cargo bench -p hgfleet-log [-- FOLDER]`

use std::path::PathBuf;
use std::time::{Duration, Instant};

use hgfleet_log::{
    Body, ChangePayload, Draft, EmbeddedLog, Epoch, Log, Payload, RecordId, RepositoryName, StoreKind, StoreRecord,
    Tail,
};

struct Bench {
    log: EmbeddedLog,
    tail: Option<Tail>,
}

impl Bench {
    fn draft(&self, body: Body) -> Draft {
        Draft::following(self.tail.as_ref(), Epoch::FIRST, RecordId::random().expect("random"), 0, body)
    }

    async fn append(&mut self, change: &[u8]) -> Duration {
        let draft = self.draft(store(change));
        let begun = Instant::now();
        let record = self.log.append(draft, Payload::Bytes(change.to_vec())).await.expect("appended");
        self.tail = Some(Tail::of(&record));
        begun.elapsed()
    }

    /// `together` appends under way at once, each behind the other.
    async fn append_together(&mut self, change: &[u8], together: usize) {
        let identity = self.log.identity().await;
        let mut appends = tokio::task::JoinSet::new();
        for _ in 0..together {
            let draft = self.draft(store(change));
            self.tail = Some(Tail::of(&draft.clone().seal(identity).expect("record")));
            let (log, payload) = (self.log.clone(), Payload::Bytes(change.to_vec()));
            appends.spawn(async move { log.append(draft, payload).await });
        }
        while let Some(append) = appends.join_next().await {
            append.expect("task").expect("appended");
        }
    }
}

fn store(change: &[u8]) -> Body {
    Body::Store(StoreRecord {
        repository: RepositoryName::parse("team/first").expect("name"),
        kind: StoreKind::Alter,
        before: Some([1; 32]),
        after: Some([2; 32]),
        who: "person@example.com".to_owned(),
        source: "ssh:192.0.2.1".to_owned(),
        summary: vec![3; 100],
        change: ChangePayload::of(change),
    })
}

fn report(what: &str, bytes: usize, mut times: Vec<Duration>) {
    times.sort();
    let total: Duration = times.iter().sum();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
    println!(
        "{what}: {:.0}/s, p50 {:.2} ms, p99 {:.2} ms, longest {:.1} ms, {:.1} MB/s",
        times.len() as f64 / total.as_secs_f64(),
        at(0.5),
        at(0.99),
        at(1.0),
        (times.len() * bytes) as f64 / total.as_secs_f64() / 1e6
    );
}

// One thread, so that appends that are issued together are asked for in order.
#[tokio::main(flavor = "current_thread")]
async fn main() {
    let folder = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let folder = tempfile::tempdir_in(folder.map_or_else(std::env::temp_dir, PathBuf::from)).expect("folder");
    let log = EmbeddedLog::open_master(folder.path()).expect("log");
    let mut bench = Bench { log, tail: None };
    let epoch = bench.draft(Body::Epoch { holder: "bench".to_owned() });
    bench.tail = Some(Tail::of(&bench.log.append(epoch, Payload::Empty).await.expect("epoch")));
    for (bytes, count) in [(2000, 5000), (100_000, 500), (4_000_000, 30)] {
        let change = vec![7; bytes];
        let mut times = Vec::new();
        for _ in 0..count {
            times.push(bench.append(&change).await);
        }
        report(&format!("{bytes} bytes, one after the other"), bytes, times);
    }
    let change = vec![7; 2000];
    let begun = Instant::now();
    for _ in 0..300 {
        bench.append_together(&change, 64).await;
    }
    let total = begun.elapsed();
    println!("2000 bytes, 64 together: {:.0}/s", 300.0 * 64.0 / total.as_secs_f64());
    let file = tempfile::tempfile().expect("file");
    file.set_len(300_000_000).expect("length");
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(&file).expect("read");
    let change = ChangePayload { bytes: 300_000_000, digest: *hasher.finalize().as_bytes() };
    let Body::Store(mut record) = store(b"") else { return };
    record.change = change;
    let draft = bench.draft(Body::Store(record));
    let begun = Instant::now();
    bench.log.append(draft, Payload::File { file, bytes: change.bytes }).await.expect("appended");
    println!("300 MB in one record: {:.2} s", begun.elapsed().as_secs_f64());
}
