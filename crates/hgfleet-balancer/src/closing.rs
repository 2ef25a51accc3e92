//! An orderly end: whoever serves a connection learns of it and is waited for.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

/// The side that ends it all.
#[derive(Debug)]
pub(crate) struct Closing {
    begun: watch::Sender<bool>,
    ended: mpsc::Receiver<()>,
}

/// The side of one who serves; it is waited for until it is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Serving {
    begun: watch::Receiver<bool>,
    _alive: mpsc::Sender<()>,
}

/// Makes both sides.
pub(crate) fn closing() -> (Closing, Serving) {
    let (begin, begun) = watch::channel(false);
    let (alive, ended) = mpsc::channel(1);
    let closing = Closing { begun: begin, ended };
    let serving = Serving { begun, _alive: alive };
    (closing, serving)
}

impl Closing {
    /// Tells all, and waits for them, `drain` at most.
    pub(crate) async fn close(mut self, drain: Duration) {
        self.begun.send_replace(true);
        if timeout(drain, self.ended.recv()).await.is_err() {
            tracing::info!("connections were cut: they took longer to end than they may");
        }
    }
}

impl Serving {
    /// Waits until the end was called for.
    pub(crate) async fn closing(&mut self) {
        // An error is the other side's death: an end as well.
        let _ = self.begun.wait_for(|begun| *begun).await;
    }
}
