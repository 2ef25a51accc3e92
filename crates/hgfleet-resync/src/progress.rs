//! How the copies of a server go on.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hgfleet_log::{RepositoryName, Sequence};
use serde::{Deserialize, Serialize};

/// How one repository's copy goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Progress {
    /// It will be begun.
    Waiting,
    /// It is being made.
    Copying {
        /// From which server.
        source: String,
        /// Bytes that are here.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// It is in the repository's place.
    Done {
        /// The server that it came from.
        source: String,
        /// The last record that is in it.
        sequence: Sequence,
    },
    /// It could not be made. It is tried again if the repository is in quarantine.
    Failed(String),
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting => f.write_str("waits to be copied"),
            Self::Copying { source, done, total } => {
                let percent = (done.min(total) * 100).checked_div(*total).unwrap_or(100);
                let mib = *total as f64 / f64::from(1 << 20);
                write!(f, "is being copied from {source}, {percent} % of {mib:.1} MiB")
            }
            Self::Done { source, sequence } => write!(f, "was copied from {source} at record {sequence}"),
            Self::Failed(why) => write!(f, "could not be copied: {why}"),
        }
    }
}

/// All of a server's.
#[derive(Debug, Default)]
pub(crate) struct Copies(Mutex<BTreeMap<RepositoryName, Progress>>);

impl Copies {
    fn all(&self) -> MutexGuard<'_, BTreeMap<RepositoryName, Progress>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set(&self, name: &RepositoryName, progress: Progress) {
        self.all().insert(name.clone(), progress);
    }

    pub(crate) fn get(&self, name: &RepositoryName) -> Option<Progress> {
        self.all().get(name).cloned()
    }

    /// Forgets all of which the repository is not known any more.
    pub(crate) fn keep(&self, is_known: impl Fn(&RepositoryName) -> bool) {
        self.all().retain(|name, _| is_known(name));
    }

    /// The copies that are being made.
    pub(crate) fn running(&self) -> Vec<(RepositoryName, Progress)> {
        let running = |progress: &Progress| matches!(progress, Progress::Copying { .. });
        self.all().iter().filter(|(_, it)| running(it)).map(|(name, it)| (name.clone(), it.clone())).collect()
    }
}
