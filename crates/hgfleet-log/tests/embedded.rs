//! The cases that every backend must pass, over the embedded one.

mod suite;

use std::sync::Arc;

use async_trait::async_trait;
use hgfleet_log::{EmbeddedLog, Log};
use suite::Backend;

struct Embedded(tempfile::TempDir);

#[async_trait]
impl Backend for Embedded {
    async fn master(&self) -> Arc<dyn Log> {
        Arc::new(EmbeddedLog::open_master(&self.0.path().join("log")).expect("master"))
    }

    async fn reader(&self) -> Arc<dyn Log> {
        Arc::new(EmbeddedLog::open_reader(&self.0.path().join("log")).expect("reader"))
    }
}

conformance!(Embedded(tempfile::tempdir().expect("folder")));
