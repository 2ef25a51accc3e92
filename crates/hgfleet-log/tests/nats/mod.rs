//! Real `nats-server`s for tests: one, or three that are a cluster.

pub mod proxy;
mod server;

use std::time::{Duration, Instant};

use hgfleet_log::{Access, JetStreamLog, JetStreamOptions};

pub use server::Server;
use server::free_port;

/// Three servers that are one cluster.
pub fn cluster() -> Vec<Server> {
    let routes: Vec<u16> = (0..3).map(|_| free_port()).collect();
    let urls: Vec<String> = routes.iter().map(|port| format!("\"nats://127.0.0.1:{port}\"")).collect();
    let start = |(at, port): (usize, &u16)| {
        let more = format!("cluster {{ name: c, listen: \"127.0.0.1:{port}\", routes: [{}] }}", urls.join(", "));
        Server::start(tempfile::tempdir().expect("folder"), free_port(), &format!("n{at}"), &more)
    };
    routes.iter().enumerate().map(start).collect()
}

pub fn options(servers: &[Server]) -> JetStreamOptions {
    JetStreamOptions {
        servers: servers.iter().map(Server::url).collect(),
        stream: "hgfleet".to_owned(),
        replicas: if servers.len() == 1 { 1 } else { 3 },
        credentials: None,
        nkey: None,
        tls: None,
        monitoring: Vec::new(),
    }
}

/// Opens a log as soon as its servers let it.
pub async fn open(options: &JetStreamOptions, access: Access) -> JetStreamLog {
    let begun = Instant::now();
    loop {
        match JetStreamLog::open(options.clone(), access).await {
            Ok(log) => return log,
            Err(error) if begun.elapsed() > Duration::from_secs(40) => panic!("{error}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
