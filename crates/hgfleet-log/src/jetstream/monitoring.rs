//! The one setting of a server that its clients can't see: when it writes to disk what it acknowledges.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long a monitoring port may take.
const TIME: Duration = Duration::from_secs(3);
/// Largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// What a server says of its writes to disk.
#[derive(Debug, PartialEq, Eq)]
enum Sync {
    /// Each message is on disk before it is acknowledged.
    Always,
    /// Only every so many nanoseconds.
    Every(u64),
}

/// Asks the monitoring ports whether acknowledged records are on disk, and warns where they aren't or nobody knows.
pub(super) async fn check(monitoring: &[String]) {
    if monitoring.is_empty() {
        tracing::warn!(
            "whether the log's servers write each record to disk before they acknowledge it is not known: set \
             `sync_interval: always` in each one's `jetstream` section, and name their monitoring ports in [log] `monitoring`"
        );
    }
    for url in monitoring {
        match tokio::time::timeout(TIME, ask(url)).await {
            Ok(Ok(Sync::Always)) => tracing::debug!(url, "this server of the log writes each record to disk"),
            Ok(Ok(Sync::Every(nanoseconds))) => tracing::warn!(
                url,
                seconds = nanoseconds / 1_000_000_000,
                "this server of the log acknowledges records that are not on its disk yet: a power failure of all its \
                 servers loses them. Set `sync_interval: always` in its `jetstream` section"
            ),
            Ok(Err(why)) => tracing::warn!(url, why, "a monitoring port of the log's servers gives no answer"),
            Err(_) => tracing::warn!(url, "a monitoring port of the log's servers doesn't answer"),
        }
    }
}

async fn ask(url: &str) -> Result<Sync, String> {
    let address = url.strip_prefix("http://").ok_or("it doesn't begin with http://")?.trim_end_matches('/');
    let failed = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect(address).await.map_err(failed)?;
    let request = format!("GET /varz HTTP/1.0\r\nHost: {address}\r\nAccept: application/json\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await.map_err(failed)?;
    let body = answer.windows(4).position(|window| window == b"\r\n\r\n").map(|at| &answer[at + 4..]);
    read(body.unwrap_or_default())
}

fn read(body: &[u8]) -> Result<Sync, String> {
    let answer: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let config = answer.pointer("/jetstream/config").filter(|config| config.is_object());
    let config = config.ok_or("its server has no JetStream")?;
    if config.get("sync_always").and_then(Value::as_bool) == Some(true) {
        return Ok(Sync::Always);
    }
    let every = config.get("sync_interval").and_then(Value::as_u64);
    every.map(Sync::Every).ok_or_else(|| "it doesn't tell sync_interval".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_is_told_apart() {
        let always = br#"{"jetstream":{"config":{"sync_interval":120000000000,"sync_always":true}}}"#;
        assert_eq!(read(always), Ok(Sync::Always));
        let default = br#"{"jetstream":{"config":{"sync_interval":120000000000}}}"#;
        assert_eq!(read(default), Ok(Sync::Every(120_000_000_000)));
        for other in [&b"{}"[..], b"", b"{\"jetstream\":{}}", b"{\"jetstream\":{\"config\":{}}}"] {
            assert!(read(other).is_err());
        }
    }
}
