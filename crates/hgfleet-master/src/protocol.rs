//! What is said on `run/session.sock` and `run/master.sock`.
//!
//! Both ends are the same binary, but a session may outlive a restart into a newer one: the first message names the version.

use hg_policy::Rule;
use hg_store::SnapshotState;
use hgfleet_log::RecordId;
use hgfleet_replica::FolderId;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

mod commands;
mod ended;

pub(crate) use commands::{
    About, CommandReply, CommandRequest, KeyLine, MirrorLine, OwnChange, OwnPlace, RefusedPush, StatusAnswer,
};

pub(crate) use ended::{SessionEnding, Usage, WireCommand, WireOutcome};

use crate::client::{
    CloneBundlesAnswer, ConfigAnswer, DeletedLine, NewCloneBundle, NewPullBundle, PullBundlesAnswer, RepositoryLine,
    VerifyAnswer,
};
use crate::session::Identity;

/// Version of these messages.
pub(crate) const VERSION: u16 = 6;
/// What a session is told that speaks another version.
pub(crate) const UPGRADED: &str = "refused: the server was upgraded, within this session. Connect again";
/// Longest message to the daemon, bytes: a push's summary takes most of it.
pub(crate) const REQUEST_BYTES_MAX: usize = 8 << 20;
/// Longest message from the daemon, bytes: a snapshot carries the small files of a store.
pub(crate) const REPLY_BYTES_MAX: usize = 256 << 20;
/// Name of the sessions' socket in each server's folder below `run`.
pub(crate) const SESSION_SOCKET: &str = "session.sock";
/// Name of the operator's socket there.
pub(crate) const MASTER_SOCKET: &str = "master.sock";

/// From a session.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum SessionRequest {
    /// First of all.
    Hello {
        /// [`VERSION`].
        version: u16,
        /// Whom it serves. The daemon believes its own door first.
        account: String,
        /// Where the client is.
        address: String,
        /// For whom the account pushes, where it is a landing account.
        requester: Option<String>,
    },
    /// Whom this session serves, which OpenSSH's `sshd` has started: the owner of this key or certificate (as it goes over the
    /// wire), of which `sshd` says that the client holds the private half. The connection stands for as long as the session.
    Login(LoginRequest),
    /// The session of this connection's login is over. There is no answer.
    Ending(SessionEnding),
    /// The lines of `authorized_keys` for what `user` offers, or for all keys of the account `user`.
    AuthorizedKeys { user: String, offered: Option<Vec<u8>> },
    /// The repository as of its last record here.
    Snapshot { repository: String },
    /// The write lock.
    Lock { repository: String },
    /// The lock is not needed any more.
    Unlock,
    /// The change, whose descriptor comes with this message. From here on the daemon owns the push.
    Append(AppendRequest),
    /// What became of a push whose daemon was lost.
    Outcome {
        id: RecordId,
        /// The epoch of the lock under which it was handed over.
        epoch: u64,
    },
    /// A person's command.
    Command(CommandRequest),
    /// A push was refused within the session, and this is what its client was told. There is no answer.
    PushRefused { repository: String, text: String },
    /// A command of the wire protocol has ended. There is no answer.
    Ran(WireCommand),
}

/// What `sshd` says of a client that has logged in, and what the client wants.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LoginRequest {
    /// The key or certificate.
    pub proof: Vec<u8>,
    /// The command line, as the client sent it.
    pub command: Option<Vec<u8>>,
    /// For whom it pushes, as the client says.
    pub requester: Option<String>,
}

/// A push, handed over.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AppendRequest {
    /// Chosen by the session.
    pub id: RecordId,
    /// The lock under which it was prepared.
    pub token: Token,
    /// Length of the change.
    pub bytes: u64,
    /// Encoded summary for the record.
    pub summary: Vec<u8>,
    /// How long the session took, for the ledger.
    pub times: SessionTimes,
}

/// A session's part of the ledger of a push, milliseconds.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct SessionTimes {
    /// Until the bundle was there.
    pub receive_ms: f64,
    /// Until the lock was there.
    pub lock_ms: f64,
    /// Until the change was prepared.
    pub prepare_ms: f64,
}

/// Names a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Token {
    /// The epoch in which it was given.
    pub epoch: u64,
    /// Which one.
    pub number: u64,
}

/// A repository as of one sequence.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Grant {
    /// Its folder.
    pub path: PathBuf,
    /// The folder of what speeds reading it up.
    pub index: PathBuf,
    /// Lengths and small files.
    pub state: SnapshotState,
    /// Its last record.
    pub sequence: u64,
    /// Which `.hg` all this is of.
    pub folder: FolderId,
}

/// What a push is checked by.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Policy {
    /// The rule that counts for the repository.
    pub rule: Box<Rule>,
    /// The groups of whoever pushes.
    pub groups: Vec<String>,
}

/// To a session.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum SessionReply {
    /// To `Hello`.
    Welcome {
        /// The newest epoch that the daemon knows; 0 where it knows none.
        epoch: u64,
        /// Whether it is the master, and means to stay it.
        is_master: bool,
        /// Largest push, bytes.
        push_bytes_max: u64,
    },
    /// To `Login`.
    LoggedIn(Identity),
    /// To `AuthorizedKeys`: one at least.
    AuthorizedKeys(Vec<String>),
    /// To `Snapshot`.
    Snapshot(Grant),
    /// To `Lock`.
    Locked { token: Token, grant: Grant, policy: Policy },
    /// To `Unlock`.
    Unlocked,
    /// While a push is under way: a line for the client.
    Told(String),
    /// A push is over.
    Ended(PushEnd),
    /// To `Outcome`.
    Outcome(Settled),
    /// To `Command`.
    Command(CommandReply),
    /// No; a line for the client.
    Refused(String),
    /// No, and an operator must look; a line for the client.
    Failed(String),
    /// Another server is the master, or will be in a moment: ask that one.
    NotMaster,
}

/// How a push ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PushEnd {
    /// Stored and applied.
    Done,
    /// Nothing was stored.
    Refused(String),
    /// Nobody knows yet.
    Unknown(String),
    /// Stored, and not applied here.
    Stored(String),
}

/// What became of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Settled {
    /// The log has it.
    Stored(u64),
    /// It has not, and never will.
    NotStored,
    /// That is not settled.
    Pending,
}

/// From the operator's commands.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum MasterRequest {
    /// Is this the master?
    Who,
    /// Take a mirror out of service, or let it in again.
    Drain { name: String, drain: bool },
    /// Hand the lease over, to this standby or to any.
    Failover { to: Option<String> },
    /// Make an empty repository.
    Create { name: String, non_publishing: bool },
    /// Delete one.
    Delete { name: String },
    /// All of them.
    List,
    /// Those that were deleted and are kept.
    ListDeleted,
    /// Bring one back, under this name or its own.
    Restore { name: String, new_name: Option<String> },
    /// Give one another name.
    Rename { name: String, new_name: String },
    /// Show its `hgrc`, having set and unset these keys: `section.name` each.
    Config { name: String, set: Vec<(String, String)>, unset: Vec<String> },
    /// Show its clone bundles, having added or removed one.
    CloneBundles { name: String, change: Option<CloneBundlesChange> },
    /// Show its pull bundles, having added or removed one.
    PullBundles { name: String, change: Option<PullBundlesChange> },
    /// Show why it takes no pushes, or without a name why none does, having set or removed the reason.
    ReadOnly { name: Option<String>, change: Option<Option<String>> },
    /// Copy it for a command that rewrites it.
    Rewrite { name: String },
    /// That command has ended well: exchange the repository for the copy. On the same connection.
    Publish,
    /// Take a folder in.
    Import { path: PathBuf, name: String },
    /// Rebuild, hash, compare.
    Verify { name: String },
}

/// What becomes of a repository's clone bundles.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum CloneBundlesChange {
    /// One more.
    Add(NewCloneBundle),
    /// The one of this URL, or of this file name, no more.
    Remove(String),
}

/// What becomes of a repository's pull bundles.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum PullBundlesChange {
    /// One more.
    Add(NewPullBundle),
    /// The one of this file name no more.
    Remove(String),
}

/// To the operator's commands.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum MasterReply {
    /// To `Who`.
    Who { is_master: bool, epoch: u64 },
    /// To `Failover`: who has which epoch now, and how long that took.
    HandedOver { to: String, epoch: u64, milliseconds: u64 },
    /// Another server is the master, or will be in a moment: ask that one.
    NotMaster,
    /// Done.
    Done,
    /// Done, under this sequence.
    Stored(u64),
    /// To `List`.
    List(Vec<RepositoryLine>),
    /// To `Verify`.
    Verified(VerifyAnswer),
    /// To `ListDeleted`.
    Deleted(Vec<DeletedLine>),
    /// To `Config`.
    Config(ConfigAnswer),
    /// To `CloneBundles`.
    CloneBundles(CloneBundlesAnswer),
    /// To `PullBundles`.
    PullBundles(PullBundlesAnswer),
    /// To `ReadOnly`: the reason.
    ReadOnly(Option<String>),
    /// To `Rewrite`: where the copy is. The connection holds the write lock.
    Copied { folder: PathBuf },
    /// To `Publish`: there is nothing to publish.
    Unchanged,
    /// No; whole sentences.
    Refused(String),
}
