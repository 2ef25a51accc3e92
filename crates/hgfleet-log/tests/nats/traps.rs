//! What JetStream lets one do, and what the log makes of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use hgfleet_log::{
    Access, AppendError, Body, JetStreamLog, JetStreamOptions, Log, LogError, Payload, Refusal, TlsFiles,
};
use serde_json::{Value, json};

use crate::nats::proxy::Proxy;
use crate::nats::{self, Server};
use crate::suite::*;

/// An operator at the server, past hgfleet.
struct Operator(async_nats::Client);

impl Operator {
    async fn at(server: &Server) -> Operator {
        loop {
            match async_nats::connect(server.url()).await {
                Ok(client) => return Operator(client),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    async fn api(&self, call: &str, request: Value) -> Value {
        let subject = format!("$JS.API.{call}");
        let answer = self.0.request(subject, request.to_string().into()).await.expect("answered");
        let answer: Value = serde_json::from_slice(&answer.payload).expect("JSON");
        assert!(answer.get("error").is_none(), "{answer}");
        answer
    }

    async fn config(&self, stream: &str) -> Value {
        self.api(&format!("STREAM.INFO.{stream}"), json!({})).await["config"].clone()
    }
}

async fn master(server: &Server) -> Appender {
    let log = nats::open(&nats::options(std::slice::from_ref(server)), Access::Append).await;
    Appender::new(Arc::new(log), "master").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_append_expects_a_number_the_first_one_zero() {
    let server = Server::alone("");
    let log = nats::open(&nats::options(std::slice::from_ref(&server)), Access::Append).await;
    let operator = Operator::at(&server).await;
    let mut seen = operator.0.subscribe("hgfleet.*.records.>").await.expect("subscribed");
    operator.0.flush().await.expect("flushed");
    let mut appender = Appender::new(Arc::new(log), "master").await;
    appender.append_store("a", b"1").await;
    for expected in ["0", "1"] {
        let message = seen.next().await.expect("message");
        let headers = message.headers.expect("headers");
        let header = headers.get("Nats-Expected-Last-Sequence").expect("the header");
        assert_eq!(header.as_str(), expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_server_answers_for_its_own_copy_is_asked_of_the_leader() {
    let server = Server::alone("");
    let mut appender = master(&server).await;
    for number in 0..60u8 {
        appender.append_store("a", &[number]).await;
    }
    let proxy = Proxy::to(server.port);
    let options = JetStreamOptions { servers: vec![proxy.url()], ..nats::options(std::slice::from_ref(&server)) };
    let reader = nats::open(&options, Access::Read).await;
    // As in a cluster that passes them to a server which was cut off, and has not noticed.
    proxy.lose_requests_with("$JS.API.DIRECT.GET");
    let begun = Instant::now();
    assert_eq!(all(&reader).await.len(), 61);
    let took = begun.elapsed();
    assert!((Duration::from_millis(900)..Duration::from_secs(4)).contains(&took), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_whose_answer_is_lost_is_unknown_and_the_log_tells() {
    let server = Server::alone("");
    let proxy = Proxy::to(server.port);
    drop(master(&server).await);
    let options = JetStreamOptions { servers: vec![proxy.url()], ..nats::options(std::slice::from_ref(&server)) };
    let log = Arc::new(nats::open(&options, Access::Append).await);
    let mut appender = Appender::new(log.clone(), "master").await;
    let tail = appender.tail;
    proxy.lose_answers(true);
    let lost = appender.draft(store("a", b"1"));
    let appending = tokio::spawn({
        let (log, lost) = (log.clone(), lost.clone());
        async move { log.append(lost, Payload::Bytes(b"1".to_vec())).await }
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    proxy.cut();
    let answer = appending.await.expect("task");
    assert!(matches!(answer, Err(AppendError::Unknown(_))), "{answer:?}");
    proxy.mend();
    // It has landed, and the log says so; the same append again is refused, whatever became of the first.
    let found = log.find(&lost.id).await.expect("find").expect("landed");
    assert_eq!(found.sequence, tail.and_then(|tail| tail.sequence.next()).expect("sequence"));
    let again = log.append(lost, Payload::Bytes(b"1".to_vec())).await;
    assert!(matches!(again, Err(AppendError::Refused(Refusal::WrongLastSequence { .. }))), "{again:?}");
    assert_eq!(log.end().await.expect("end").map(|tail| tail.sequence), Some(found.sequence));
    appender.tail = log.end().await.expect("end");
    appender.append_store("a", b"2").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_that_is_lost_on_its_way_never_lands_later() {
    let server = Server::alone("");
    let proxy = Proxy::to(server.port);
    drop(master(&server).await);
    let options = JetStreamOptions { servers: vec![proxy.url()], ..nats::options(std::slice::from_ref(&server)) };
    let log = Arc::new(nats::open(&options, Access::Append).await);
    let appender = Appender::new(log.clone(), "master").await;
    let end = appender.tail;
    proxy.lose_requests(true);
    let lost = appender.draft(store("a", b"1"));
    let appending = tokio::spawn({
        let (log, lost) = (log.clone(), lost.clone());
        async move { log.append(lost, Payload::Bytes(b"1".to_vec())).await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    proxy.cut();
    let answer = appending.await.expect("task");
    assert!(matches!(answer, Err(AppendError::Unknown(_))), "{answer:?}");
    // While the line is cut nothing is sent at all, and nothing is kept for later.
    let refused = log.append(appender.draft(Body::Empty), Payload::Empty).await;
    assert!(matches!(refused, Err(AppendError::Refused(Refusal::Closed(_)))), "{refused:?}");
    proxy.mend();
    assert_eq!(log.end().await.expect("end"), end);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(log.end().await.expect("end"), end, "it was sent after the connection was taken up again");
    assert_eq!(log.find(&lost.id).await.expect("find"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_could_lose_records_are_refused_by_setting() {
    let server = Server::alone("");
    drop(master(&server).await);
    let operator = Operator::at(&server).await;
    let options = nats::options(std::slice::from_ref(&server));
    for (stream, setting, value) in [
        ("hgfleet", "discard", json!("old")),
        ("hgfleet", "max_age", json!(3_600_000_000_000u64)),
        ("hgfleet", "max_bytes", json!(1 << 30)),
        ("hgfleet", "max_msgs", json!(1000)),
        ("hgfleet", "max_msgs_per_subject", json!(1)),
        ("hgfleet", "allow_rollup_hdrs", json!(true)),
        ("hgfleet-parts", "discard", json!("old")),
        ("KV_hgfleet-state", "allow_direct", json!(true)),
        ("hgfleet-parts", "max_age", json!(3_600_000_000_000u64)),
        ("KV_hgfleet-state", "max_age", json!(3_600_000_000_000u64)),
        ("KV_hgfleet-members", "max_age", json!(3_600_000_000_000u64)),
    ] {
        let before = operator.config(stream).await;
        let mut edited = before.clone();
        edited[setting] = value;
        if setting == "max_age" {
            edited["duplicate_window"] = json!(100_000_000u64);
        }
        operator.api(&format!("STREAM.UPDATE.{stream}"), edited).await;
        for access in [Access::Append, Access::Read] {
            match JetStreamLog::open(options.clone(), access).await {
                Err(LogError::Setting { stream: named, setting: found, .. }) => {
                    assert_eq!((named.as_str(), found), (stream, setting));
                }
                other => panic!("{stream} {setting}: {other:?}"),
            }
        }
        operator.api(&format!("STREAM.UPDATE.{stream}"), before).await;
    }
    let three = JetStreamOptions { replicas: 3, ..options.clone() };
    let refused = JetStreamLog::open(three, Access::Append).await;
    assert!(matches!(refused, Err(LogError::Setting { setting: "num_replicas", .. })), "{refused:?}");
    nats::open(&options, Access::Append).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_something_else_is_refused() {
    let server = Server::alone("");
    let operator = Operator::at(&server).await;
    operator.api("STREAM.CREATE.hgfleet", json!({ "name": "hgfleet", "subjects": ["orders.>"] })).await;
    let options = nats::options(std::slice::from_ref(&server));
    let refused = JetStreamLog::open(options.clone(), Access::Append).await;
    assert!(matches!(refused, Err(LogError::NotALog { .. })), "{refused:?}");
    let absent = JetStreamOptions { stream: "other".to_owned(), ..options };
    let refused = JetStreamLog::open(absent, Access::Read).await;
    assert!(matches!(refused, Err(LogError::Absent(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_was_purged_past_hgfleet_is_named_and_not_appended_to() {
    let server = Server::alone("");
    let mut appender = master(&server).await;
    appender.append_store("a", b"1").await;
    Operator::at(&server).await.api("STREAM.PURGE.hgfleet", json!({})).await;
    // Purging keeps the last sequence.
    assert_eq!(appender.log.first().await.expect("first"), sequence(3));
    let end = appender.log.end().await;
    assert!(matches!(&end, Err(LogError::Value(why)) if why.contains("purged")), "{end:?}");
    let fresh = nats::open(&nats::options(std::slice::from_ref(&server)), Access::Append).await;
    let refused = fresh.append(appender.draft(Body::Empty), Payload::Empty).await;
    assert!(matches!(refused, Err(AppendError::Refused(Refusal::Closed(_)))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_was_deleted_and_made_again_is_another_log() {
    let server = Server::alone("");
    let mut old = master(&server).await;
    old.append_store("a", b"1").await;
    let operator = Operator::at(&server).await;
    for stream in ["hgfleet", "hgfleet-parts", "KV_hgfleet-state", "KV_hgfleet-members"] {
        operator.api(&format!("STREAM.DELETE.{stream}"), json!({})).await;
    }
    let refused = old.log.append(old.draft(Body::Empty), Payload::Empty).await;
    assert!(matches!(refused, Err(AppendError::Refused(Refusal::Closed(_)))), "{refused:?}");
    let mut new = master(&server).await;
    new.append_store("a", b"other").await;
    assert_ne!(new.log.identity().await, old.log.identity().await);
    // The sequence would fit: it begins at 1 again.
    let refused = old.log.append(old.draft(Body::Empty), Payload::Empty).await;
    assert!(matches!(refused, Err(AppendError::Refused(Refusal::Closed(_)))), "{refused:?}");
    assert!(old.log.read(sequence(1), 1).await.is_err(), "a record of another log");
    assert_eq!(all(&*new.log).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn buckets_answer_from_their_leaders_alone() {
    let server = Server::alone("");
    drop(master(&server).await);
    let operator = Operator::at(&server).await;
    for stream in ["KV_hgfleet-state", "KV_hgfleet-members"] {
        let config = operator.config(stream).await;
        assert_ne!(config["allow_direct"], json!(true), "{config}");
        assert!(config["max_age"] == json!(0), "no time to live: {config}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_in_small_messages_keeps_everything_and_trimming_leaves_no_parts() {
    let server = Server::alone("max_payload: 1MB");
    let mut appender = master(&server).await;
    let Body::Store(mut record) = store("a", &[7; 3_000_000]) else { unreachable!() };
    record.summary = vec![9; 2_500_000];
    let large = appender.append(Body::Store(record), Payload::Bytes(vec![7; 3_000_000])).await.expect("large");
    let change = store("b", &[8; 2_500_000]);
    appender.append(change, Payload::Bytes(vec![8; 2_500_000])).await.expect("appended");
    let end = appender.append_store("b", b"1").await;
    let fresh = nats::open(&nats::options(std::slice::from_ref(&server)), Access::Append).await;
    let mut into = tempfile::tempfile().expect("file");
    fresh.payload(&large, &mut into).await.expect("payload");
    assert_eq!(into.metadata().expect("metadata").len(), 3_000_000);
    fresh.trim(end.sequence).await.expect("trimmed");
    assert_eq!(fresh.last_of(&name("a")).await.expect("last"), Some(large.clone()));
    assert_eq!(fresh.last_of(&name("b")).await.expect("last"), Some(end));
    assert!(matches!(fresh.payload(&large, &mut into).await, Err(LogError::Trimmed { .. })));
    // What is left of parts is the record that is still needed and doesn't fit into a message.
    let info = Operator::at(&server).await.api("STREAM.INFO.hgfleet-parts", json!({})).await;
    assert!(info["state"]["bytes"].as_u64().is_some_and(|bytes| bytes < 6_000_000), "{info}");
    fresh.trim(appender.log.end().await.expect("end").expect("tail").sequence).await.expect("again");
    assert_eq!(fresh.last_of(&name("a")).await.expect("last"), Some(large));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_asks_who_it_is_is_told() {
    let server = Server::alone("authorization { user: fleet, password: secret }");
    let options = nats::options(std::slice::from_ref(&server));
    tokio::time::sleep(Duration::from_millis(200)).await;
    let refused = JetStreamLog::open(options.clone(), Access::Append).await.expect_err("nobody");
    assert!(!refused.to_string().contains("secret"), "{refused}");
    let wrong = format!("nats://fleet:guess@127.0.0.1:{}", server.port);
    let wrong = JetStreamOptions { servers: vec![wrong], ..options.clone() };
    let refused = JetStreamLog::open(wrong, Access::Append).await.expect_err("somebody else");
    assert!(!refused.to_string().contains("guess"), "{refused}");
    let url = format!("nats://fleet:secret@127.0.0.1:{}", server.port);
    nats::open(&JetStreamOptions { servers: vec![url], ..options }, Access::Append).await;
}

/// The key pair of the documentation's example.
const SEED: &str = "SUANQDPB2RUOE4ETUA26CNX7FUKE5ZZKFCQIIW63OX225F2CO7UEXTM7ZY\n";
const PUBLIC: &str = "UAMMBNV2EYR65NYZZ7IAK5SIR5ODNTTERJOBOF4KJLMWI45YOXOSWULM";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_and_a_key_open_an_encrypted_log_and_nothing_less_does() {
    let folder = tempfile::tempdir().expect("folder");
    let file = |name: &str| folder.path().join(name);
    let mut authority = rcgen::CertificateParams::new(vec![]).expect("parameters");
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_key = rcgen::KeyPair::generate().expect("key");
    let certificate = authority.self_signed(&authority_key).expect("certificate");
    std::fs::write(file("ca.pem"), certificate.pem()).expect("written");
    let issuer = rcgen::Issuer::new(authority, authority_key);
    for name in ["server", "client"] {
        let key = rcgen::KeyPair::generate().expect("key");
        let names = vec!["127.0.0.1".to_owned(), name.to_owned()];
        let signed = rcgen::CertificateParams::new(names).expect("parameters").signed_by(&key, &issuer);
        std::fs::write(file(&format!("{name}.pem")), signed.expect("certificate").pem()).expect("written");
        std::fs::write(file(&format!("{name}.key")), key.serialize_pem()).expect("written");
    }
    std::fs::write(file("seed"), SEED).expect("written");
    let server = Server::alone(&format!(
        "tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, verify: true }}\n\
         authorization {{ users: [ {{ nkey: {PUBLIC} }} ] }}",
        file("server.pem"),
        file("server.key"),
        file("ca.pem")
    ));
    let tls =
        TlsFiles { ca: Some(file("ca.pem")), certificate: Some(file("client.pem")), key: Some(file("client.key")) };
    let whole =
        JetStreamOptions { tls: Some(tls), nkey: Some(file("seed")), ..nats::options(std::slice::from_ref(&server)) };
    let mut appender = Appender::new(Arc::new(nats::open(&whole, Access::Append).await), "master").await;
    appender.append_store("a", b"1").await;
    let without_key = JetStreamOptions { nkey: None, ..whole.clone() };
    let without_certificate =
        JetStreamOptions { tls: Some(TlsFiles { ca: Some(file("ca.pem")), ..TlsFiles::default() }), ..whole.clone() };
    let without_authority = JetStreamOptions { tls: Some(TlsFiles::default()), ..whole };
    for less in [without_key, without_certificate, without_authority] {
        let refused = JetStreamLog::open(less, Access::Read).await;
        assert!(matches!(refused, Err(LogError::Server { .. })), "{refused:?}");
    }
}
