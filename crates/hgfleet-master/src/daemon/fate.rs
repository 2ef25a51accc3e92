//! What ends the daemon: a newer epoch, a log that failed.

use hgfleet_log::Epoch;
use tokio::sync::watch;

use crate::options::MasterError;

/// Shared by all parts of one daemon. The first end counts.
#[derive(Debug, Clone)]
pub(crate) struct Fate(watch::Sender<Option<End>>);

#[derive(Debug, Clone)]
pub(crate) enum End {
    Fenced(Epoch),
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

    /// Something failed after which nothing more may be believed.
    pub(crate) fn failed(&self, what: String) {
        self.end(End::Failed(what));
    }

    fn end(&self, end: End) {
        self.0.send_if_modified(|now| {
            let first = now.is_none();
            if first {
                tracing::error!(?end, "the master stops");
                *now = Some(end);
            }
            first
        });
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Waits for the end.
    pub(crate) async fn ended(&self) -> MasterError {
        let mut receiver = self.0.subscribe();
        loop {
            if let Some(end) = receiver.borrow_and_update().clone() {
                return match end {
                    End::Fenced(epoch) => MasterError::Fenced { epoch: epoch.get() },
                    End::Failed(what) => MasterError::Log(what),
                };
            }
            if receiver.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}
