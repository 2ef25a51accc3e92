//! What ends a term as master: a newer epoch, a hand-over, a log that failed.

use hgfleet_log::Epoch;
use tokio::sync::watch;

/// Shared by all parts of one term. The first end counts.
#[derive(Debug, Clone)]
pub(crate) struct Fate(watch::Sender<Option<End>>);

/// How a term ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// Another server took this epoch, which was not asked.
    Fenced(Epoch),
    /// The lease was handed over.
    HandedOver(Epoch),
    /// Nothing more may be believed in this process.
    Failed(String),
}

impl Fate {
    pub(crate) fn new() -> Fate {
        Fate(watch::Sender::new(None))
    }

    /// Another server is master: nothing more is appended here.
    pub(crate) fn fenced(&self, epoch: Epoch) {
        self.end(End::Fenced(epoch));
    }

    /// Another server is master, as was agreed.
    pub(crate) fn handed_over(&self, epoch: Epoch) {
        self.end(End::HandedOver(epoch));
    }

    /// Something failed after which nothing more may be believed.
    pub(crate) fn failed(&self, what: String) {
        self.end(End::Failed(what));
    }

    fn end(&self, end: End) {
        self.0.send_if_modified(|now| {
            let first = now.is_none();
            if first {
                tracing::warn!(?end, "this term as master ends");
                *now = Some(end);
            }
            first
        });
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Waits for the end.
    pub(crate) async fn ended(&self) -> End {
        let mut receiver = self.0.subscribe();
        loop {
            if let Some(end) = receiver.borrow_and_update().clone() {
                return end;
            }
            if receiver.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}
