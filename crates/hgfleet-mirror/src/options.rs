//! What a mirror is given to start with, and why it can't.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hgfleet_access::RulesError;
use hgfleet_directory::DirectoryLocation;
use hgfleet_log::LogLocation;
use hgfleet_replica::ReplicaError;
use hgfleet_resync::ResyncOptions;
use watched_file::WatchError;

use crate::StagingError;

/// One mirror's folders, addresses and times.
#[derive(Debug)]
pub struct MirrorOptions {
    /// The mirror's name in the view, in `status` and of its socket: `mirror-1`.
    pub name: String,
    /// The mirror's own folder, `DATA/mirror-1`: `repos/`, `staged/`, `state.sqlite`. Made when absent.
    pub data: PathBuf,
    /// The fleet's log; opened for reading.
    pub log: LogLocation,
    /// The fleet's socket folder, `DATA/run`: the master's `NAME/mirrors.sock` lies there, and this
    /// mirror binds `NAME.sock` there for the balancer.
    pub run: PathBuf,
    /// An address for readers that bypass the balancer, already bound. Tags are not believed there.
    pub listener: Option<TcpListener>,
    /// What a push over HTTP is told to use instead, up to the repository's name: `ssh://hg@host:2222`.
    pub push_address: Option<String>,
    /// The access rules; none: everybody reads.
    pub access: Option<PathBuf>,
    /// Whether `users/FOLDER/…` belongs to the account that has that folder.
    pub user_repositories: bool,
    /// Where accounts and their groups are. It need not be there for what `*` may read.
    pub directory: DirectoryLocation,
    /// How long the tokens that are known count while the log can't be read.
    pub tokens_stale: Duration,
    /// Bytes of bundles that are kept for the next client that asks for the same; 0: none is.
    pub bundle_cache_bytes: u64,
    /// How it takes copies from other servers, and scrubs its stores.
    pub resync: ResyncOptions,
    /// Times; `MirrorTimes::default()` are DESIGN's.
    pub times: MirrorTimes,
}

/// The times a mirror lives by.
#[derive(Debug, Clone)]
pub struct MirrorTimes {
    /// How often the log is looked at when the master wakes nobody.
    pub poll: Duration,
    /// How often a heartbeat goes to the master; its answer renews the membership.
    pub heartbeat: Duration,
    /// How long after *sending* the last answered renewal the mirror counts itself in service.
    pub service: Duration,
    /// How long a request may wait for the records that its tag asks for.
    pub wait: Duration,
    /// How long running requests may take to end after a shutdown was asked for.
    pub drain: Duration,
}

impl Default for MirrorTimes {
    fn default() -> Self {
        Self {
            poll: Duration::from_millis(20),
            heartbeat: Duration::from_secs(1),
            service: Duration::from_secs(3),
            wait: Duration::from_secs(10),
            drain: Duration::from_secs(5),
        }
    }
}

/// Why a mirror could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MirrorError {
    /// A file or socket of the mirror could not be used.
    #[error("mirror {name} cannot {what} {path}: {source}")]
    Io {
        /// The mirror.
        name: String,
        /// What was tried: `make`, `bind`.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The access rules can't be read, or say what can't be.
    #[error("mirror {name}: access rules: {source}")]
    Access {
        /// The mirror.
        name: String,
        /// Why.
        source: WatchError<RulesError>,
    },
    /// What was staged can't be used.
    #[error("mirror {name}")]
    Staging {
        /// The mirror.
        name: String,
        /// Why.
        source: StagingError,
    },
    /// The stores can't be used.
    #[error("mirror {name}")]
    Replica {
        /// The mirror.
        name: String,
        /// Why.
        source: ReplicaError,
    },
    /// What was written can't be believed any more; a new process recovers.
    #[error("mirror {name}")]
    Fatal {
        /// The mirror.
        name: String,
        /// Why.
        source: Arc<ReplicaError>,
    },
}

impl MirrorError {
    pub(crate) fn staging(name: &str) -> impl FnOnce(StagingError) -> MirrorError {
        let name = name.to_owned();
        move |source| MirrorError::Staging { name, source }
    }

    pub(crate) fn replica(name: &str) -> impl FnOnce(ReplicaError) -> MirrorError {
        let name = name.to_owned();
        move |source| MirrorError::Replica { name, source }
    }
}
