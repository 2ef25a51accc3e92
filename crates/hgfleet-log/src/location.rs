//! Where a fleet's log is, and the one way to open it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::task::spawn_blocking;

use crate::embedded::EmbeddedLog;
use crate::jetstream::{JetStreamLog, JetStreamOptions};
use crate::log::{Log, LogError};

/// Where a fleet keeps its log: all that a server needs to open it, whatever engine keeps it.
#[derive(Clone, Debug)]
pub enum LogLocation {
    /// In SQLite, in this folder of this machine.
    Embedded(PathBuf),
    /// In a NATS cluster.
    JetStream(Box<JetStreamOptions>),
    /// Where whoever made this knows: how a simulated log is reached.
    Other(Arc<dyn OpenLog>),
}

/// A log that is opened in a way of its own.
#[async_trait]
pub trait OpenLog: fmt::Debug + Send + Sync {
    /// See [`LogLocation::open`].
    ///
    /// # Errors
    /// As there.
    async fn open(&self, access: Access) -> Result<Arc<dyn Log>, LogError>;
}

/// What a server opens a log for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To append as well: a server that is master or may become it. Makes the log where there is none.
    Append,
    /// To read. Heartbeats and the lease can be written all the same.
    Read,
}

impl LogLocation {
    /// Opens the log.
    ///
    /// What can be read afterwards is durable.
    ///
    /// # Errors
    /// [`LogError::Absent`] where there is none yet and `access` is [`Access::Read`]; where it is no log, a newer
    /// hgfleet's, or can't be reached.
    pub async fn open(&self, access: Access) -> Result<Arc<dyn Log>, LogError> {
        match self {
            LogLocation::Embedded(folder) => {
                let folder = folder.clone();
                let opened = spawn_blocking(move || match access {
                    Access::Append => EmbeddedLog::open_master(&folder),
                    Access::Read => EmbeddedLog::open_reader(&folder),
                });
                match opened.await {
                    Ok(opened) => Ok(Arc::new(opened?)),
                    Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
                }
            }
            LogLocation::JetStream(options) => {
                Ok(Arc::new(JetStreamLog::open(JetStreamOptions::clone(options), access).await?))
            }
            LogLocation::Other(log) => log.open(access).await,
        }
    }
}

impl fmt::Display for LogLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogLocation::Embedded(folder) => folder.display().fmt(f),
            LogLocation::JetStream(options) => options.fmt(f),
            LogLocation::Other(log) => log.fmt(f),
        }
    }
}
