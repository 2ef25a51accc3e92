//! Three servers: the one that leads is killed while records are appended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hgfleet_log::{
    Access, AppendError, Body, Follower, JetStreamOptions, Log, Payload, Record, RecordId, Sequence, Tail,
};
use serde_json::Value;

use crate::nats;
use crate::suite::*;

async fn leader(url: &str) -> Option<String> {
    let client = async_nats::connect(url).await.ok()?;
    let answer = client.request("$JS.API.STREAM.INFO.hgfleet", "{}".into()).await.ok()?;
    let info: Value = serde_json::from_slice(&answer.payload).ok()?;
    info.pointer("/cluster/leader").and_then(Value::as_str).map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_the_leader_and_unknown_outcomes_settle_by_reading() {
    let mut servers = nats::cluster();
    let options: JetStreamOptions = nats::options(&servers);
    let log = Arc::new(nats::open(&options, Access::Append).await);
    let mut appender = Appender::new(log.clone(), "master").await;
    let mut acknowledged: Vec<Record> = Vec::new();
    let mut unsettled: Vec<RecordId> = Vec::new();
    let begun = Instant::now();
    let mut killed: Option<(usize, Instant)> = None;
    let mut after = 0;
    let mut longest = Duration::ZERO;
    while after < 30 {
        assert!(begun.elapsed() < Duration::from_secs(90), "{} acknowledged", acknowledged.len());
        if killed.is_none() && acknowledged.len() >= 30 {
            let name = leader(&servers[0].url()).await.expect("a leader");
            let at: usize = name[1..].parse().expect("n0 to n2");
            servers[at].kill();
            killed = Some((at, Instant::now()));
        }
        let change = vec![acknowledged.len() as u8; 2000];
        let draft = appender.draft(store("a", &change));
        let id = draft.id;
        match log.append(draft, Payload::Bytes(change)).await {
            Ok(record) => {
                appender.tail = Some(Tail::of(&record));
                acknowledged.push(record);
                if let Some((_, at)) = killed {
                    after += 1;
                    longest = longest.max(if after == 1 { at.elapsed() } else { Duration::ZERO });
                }
            }
            Err(AppendError::Unknown(_)) => {
                unsettled.push(id);
                settle(&*log, &mut appender, id).await;
            }
            Err(AppendError::Refused(_)) => {
                tokio::time::sleep(Duration::from_millis(200)).await;
                if let Ok(end) = log.end().await {
                    appender.tail = end;
                }
            }
            Err(error) => panic!("{error}"),
        }
    }
    println!("first append {longest:?} after the kill, {} unknown", unsettled.len());
    let (dead, _) = killed.expect("killed");
    servers[dead].start_again();
    // Asked at the server that was dead, a fresh reader finds one chain with everything that was acknowledged.
    let fresh = JetStreamOptions { servers: vec![servers[dead].url()], ..options };
    let fresh = nats::open(&fresh, Access::Read).await;
    let records = all(&fresh).await;
    let mut follower = Follower::new(fresh.identity().await, None);
    records.iter().for_each(|record| follower.accept(record).expect("one chain"));
    for record in &acknowledged {
        assert_eq!(records.get(record.sequence.get() as usize - 1), Some(record));
    }
}

/// What a master does about an unknown outcome: it reads, and takes the place where nothing is.
async fn settle(log: &dyn Log, appender: &mut Appender, id: RecordId) {
    let place = Sequence::after(appender.tail.map(|tail| tail.sequence)).expect("sequence");
    for _ in 0..300 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        match log.read(place, 1).await {
            Ok(found) if found.is_empty() => {
                if let Ok(record) = log.append(appender.draft(Body::Empty), Payload::Empty).await {
                    appender.tail = Some(Tail::of(&record));
                    assert_eq!(log.find(&id).await.ok().flatten(), None, "the place was taken");
                    return;
                }
            }
            Ok(found) => {
                appender.tail = found.last().map(Tail::of);
                return;
            }
            Err(_) => {}
        }
    }
    panic!("it did not settle");
}
