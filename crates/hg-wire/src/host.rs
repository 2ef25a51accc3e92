//! Where a session's repository lives: a stand-alone store, or a fleet's daemon.

use crate::command::CommandName;
use hg_store::Snapshot;
use hg_store::observe::Observer;
use hg_store::prepare::{PrepareLimits, PreparedChange};
use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;

/// What a session needs of the place that holds its repository.
pub trait Host {
    /// Returns the repository as it is now. It is asked anew for each command; the sub-commands of one `batch` share
    /// one snapshot.
    fn snapshot(&mut self) -> Result<Arc<Snapshot>, HostError>;

    /// Returns an unlinked file, open for reading and writing, for an incoming bundle.
    fn spool(&mut self) -> io::Result<File>;

    /// Returns how much one push may bring.
    fn push_limits(&self) -> PushLimits {
        PushLimits::default()
    }

    /// Takes the repository's write lock. It is given back when the [`Push`] is dropped or committed.
    fn begin_push(&mut self) -> Result<Box<dyn Push + '_>, HostError>;

    /// Takes note that a session begins to work on a command, whose arguments are there.
    fn command_began(&mut self, _command: CommandName) {}

    /// Takes note of a push, or of a part of one, that is not taken, and of what its client is told; it may have several lines. Nothing was stored.
    fn push_refused(&mut self, _text: &str) {}

    /// Takes note that the command has ended; its answer is on the way to the client.
    fn command_ended(&mut self, _outcome: CommandOutcome) {}
}

/// How a command of a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandOutcome {
    /// It was answered. What became of a push is in the answer.
    Answered,
    /// The client was told why not.
    Refused,
    /// The session ends with it: the client has gone, or has broken the protocol, or its stream broke off.
    BrokenOff,
}

/// How much one push may bring. What is larger is refused by name, as soon as it is seen.
#[derive(Debug, Clone)]
pub struct PushLimits {
    /// Bytes of the bundle as it comes over the wire.
    pub bundle_bytes_max: u64,
    /// Bounds of what is prepared from it.
    pub prepare: PrepareLimits,
}

impl Default for PushLimits {
    /// 16 GiB, and the default bounds of preparing.
    fn default() -> Self {
        PushLimits { bundle_bytes_max: 16 << 30, prepare: PrepareLimits::default() }
    }
}

/// A push under the repository's write lock.
pub trait Push {
    /// Returns the state that the lock protects: what the push is checked against and prepared on.
    fn snapshot(&self) -> Arc<Snapshot>;

    /// Returns who watches what the push brings, and is asked before the commit whether it is taken; asked for once.
    fn observer(&mut self) -> Option<Box<dyn Observer>> {
        None
    }

    /// Returns the file, if any, into which the incoming changesets are written as a bundle that any Mercurial reads (bundle2, one changegroup of version 02); asked for
    /// once. It is whole when [`Push::approve`] is called, and without a changegroup where the push brought none.
    fn bundle(&mut self) -> io::Result<Option<File>> {
        Ok(None)
    }

    /// Is asked last, before the commit, once the observer has judged and the change is prepared. May write whole lines to `messages`, the client's stderr.
    ///
    /// # Errors
    /// Why the push is not taken: text for the client.
    fn approve(&mut self, _messages: &mut dyn Write) -> Result<(), String> {
        Ok(())
    }

    /// Commits a change. Blocks until it is refused, unknown, or applied; writes `stored as N` and the like to
    /// `messages` (the client's stderr, whole lines) as they become true.
    fn commit(self: Box<Self>, change: PreparedChange, messages: &mut dyn Write) -> Result<(), CommitError>;
}

/// Why a host can't serve a session's request.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// Nothing has happened; the text (whole lines) is for the client.
    #[error("{0}")]
    Refused(String),
    /// Nothing has happened; something that an operator must look at. The client reads a shorter text.
    #[error("{0}")]
    Failed(String),
}

/// How a commit ended, when not well. The texts are for the client.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Nothing was stored.
    #[error("{0}")]
    Refused(String),
    /// Nobody knows yet whether the change was stored; the session ends after its reply.
    #[error("{0}")]
    Unknown(String),
    /// The change is stored for good, but not applied here yet; the session ends after its reply.
    #[error("{0}")]
    Stored(String),
}
