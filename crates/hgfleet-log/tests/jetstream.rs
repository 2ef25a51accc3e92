//! The cases that every backend must pass, over JetStream in one real server each.

mod nats;
mod suite;

#[path = "nats/cluster.rs"]
mod cluster;
#[path = "nats/traps.rs"]
mod traps;

use std::sync::Arc;

use async_trait::async_trait;
use hgfleet_log::{Access, Log};
use nats::Server;
use suite::Backend;

struct JetStream(Server);

#[async_trait]
impl Backend for JetStream {
    async fn master(&self) -> Arc<dyn Log> {
        Arc::new(nats::open(&nats::options(std::slice::from_ref(&self.0)), Access::Append).await)
    }

    async fn reader(&self) -> Arc<dyn Log> {
        Arc::new(nats::open(&nats::options(std::slice::from_ref(&self.0)), Access::Read).await)
    }
}

conformance!(JetStream(Server::alone("")));
