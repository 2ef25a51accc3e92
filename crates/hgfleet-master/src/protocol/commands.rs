//! What a session asks the daemon in the name of a person, besides what the wire protocol needs.

use hgfleet_log::RecordId;
use serde::{Deserialize, Serialize};

/// A question, or something to do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum CommandRequest {
    /// What the account may do.
    About,
    /// The names of the repositories that it may write.
    Writable,
    /// The names of the repositories that it may copy: those that it may read, one or two parts deep, nobody's own.
    Sources,
    /// The groups whose members may write a repository.
    Groups {
        /// Its name.
        repository: String,
    },
    /// A repository's `hgrc`.
    Config {
        /// Its name.
        repository: String,
    },
    /// What is known of a repository's last record, and of the servers that have it.
    Status {
        /// Its name.
        repository: String,
    },
    /// The account's keys.
    Keys,
    /// Give the account another key: a line of a `.pub` file.
    AddKey {
        /// The line.
        line: Vec<u8>,
    },
    /// Take a key from the account.
    RemoveKey {
        /// As `ssh-keygen -l` prints it.
        fingerprint: String,
    },
    /// Where a repository of the account's own would lie, and whether it is there.
    Own {
        /// Its name below the account's folder.
        name: String,
    },
    /// Change a repository of the account's own.
    ChangeOwn {
        /// The record's name, chosen by the session: it asks for the outcome by it where the daemon is lost.
        id: RecordId,
        /// The repository's name below the account's folder.
        name: String,
        /// What is to happen.
        change: OwnChange,
    },
}

/// What an account does with a repository of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum OwnChange {
    /// Make it, empty or as a copy of another.
    Create {
        /// The other one's name.
        source: Option<String>,
    },
    /// Delete it; it is kept for a while.
    Delete,
    /// Describe it in one line.
    Describe(String),
    /// Whether pushed changesets become public.
    Publishing(bool),
    /// Whether obsolescence markers are exchanged.
    Obsolescence(bool),
}

/// To a [`CommandRequest`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum CommandReply {
    /// To `About`.
    About(About),
    /// To `Writable`, `Sources` and `Groups`.
    Names(Vec<String>),
    /// To `Config`.
    Config(Vec<u8>),
    /// To `Status`.
    Status(StatusAnswer),
    /// To `Keys`.
    Keys(Vec<KeyLine>),
    /// To `AddKey`: its fingerprint; to `RemoveKey`.
    KeyChanged(String),
    /// To `Own`.
    Own(OwnPlace),
    /// To `ChangeOwn`: the record; none where it was so already.
    Stored(Option<u64>),
}

/// What an account may do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct About {
    /// Families of repositories that it may write.
    pub writes: Vec<String>,
    /// Those that it may not.
    pub writes_not: Vec<String>,
    /// Commands that are served, one line each.
    pub commands: Vec<String>,
}

/// Where a repository of an account's own lies.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct OwnPlace {
    /// Its whole name.
    pub repository: String,
    /// Whether it is there.
    pub is_there: bool,
}

/// What `status` prints.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StatusAnswer {
    /// The last record.
    pub sequence: u64,
    /// What it is: `push`, `settings`, or the kind of record.
    pub kind: String,
    /// Whose it is.
    pub who: String,
    /// When it was made: Unix time in milliseconds.
    pub at_ms: u64,
    /// Up to where the whole fleet shows the log.
    pub visible: Option<u64>,
    /// The mirrors, by name.
    pub mirrors: Vec<MirrorLine>,
    /// Why nothing can be pushed, where that is so.
    pub read_only: Option<String>,
    /// The last push that was refused, for those who may push.
    pub refused: Option<RefusedPush>,
}

/// A mirror in [`StatusAnswer`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct MirrorLine {
    /// Its name.
    pub name: String,
    /// How it is, as `status` says it.
    pub state: String,
    /// How far it lags, in seconds.
    pub lag_seconds: f64,
    /// Whether it has the repository's last record.
    pub has_it: bool,
}

/// A push that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RefusedPush {
    /// Whose it was.
    pub who: String,
    /// When: Unix time in milliseconds.
    pub at_ms: u64,
    /// What the client was told.
    pub text: String,
}

/// A key in `keys list`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct KeyLine {
    /// As `ssh-keygen -l` prints it.
    pub fingerprint: String,
    /// Its algorithm's name.
    pub algorithm: String,
}
