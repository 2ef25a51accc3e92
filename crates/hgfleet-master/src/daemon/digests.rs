//! Asking every mirror for the digest of one repository.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hgfleet_log::{RepositoryName, Sequence};
use tokio::sync::{mpsc, oneshot};

use super::view::{ViewInput, ViewSender};

/// How long the answers are waited for: a mirror reads the whole store.
const WAIT: Duration = Duration::from_secs(300);

/// What one server answers.
#[derive(Debug)]
pub(crate) struct Answer {
    pub server: String,
    /// At which record, and the digest; or why there is none.
    pub digest: Result<(Sequence, [u8; 32]), String>,
}

/// Questions that are under way.
#[derive(Debug, Default)]
pub(crate) struct Digests {
    next: AtomicU64,
    open: Mutex<HashMap<u64, mpsc::UnboundedSender<Answer>>>,
}

impl Digests {
    /// Asks all mirrors that are connected. A mirror that does not answer is in the result with the reason.
    pub(crate) async fn ask(&self, view: &ViewSender, repository: &RepositoryName) -> Vec<Answer> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, mut answers) = mpsc::unbounded_channel();
        self.open().insert(number, sender);
        let (asked, names) = oneshot::channel();
        let _ = view.send(ViewInput::AskDigests { number, repository: repository.clone(), asked });
        let mut missing = names.await.unwrap_or_default();
        let mut all = Vec::new();
        let collect = async {
            while !missing.is_empty() {
                let Some(answer) = answers.recv().await else { break };
                missing.retain(|name| *name != answer.server);
                all.push(answer);
            }
        };
        let _ = tokio::time::timeout(WAIT, collect).await;
        self.open().remove(&number);
        let silent = missing.into_iter();
        all.extend(silent.map(|server| Answer { server, digest: Err("it does not answer".to_owned()) }));
        all.sort_by(|one, other| one.server.cmp(&other.server));
        all
    }

    /// A mirror has answered.
    pub(crate) fn answered(&self, number: u64, answer: Answer) {
        if let Some(sender) = self.open().get(&number) {
            let _ = sender.send(answer);
        }
    }

    fn open(&self) -> std::sync::MutexGuard<'_, HashMap<u64, mpsc::UnboundedSender<Answer>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
