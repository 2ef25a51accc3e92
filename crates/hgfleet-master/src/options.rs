//! What the daemon is told when it starts.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use hgfleet_directory::{DirectoryLocation, Mail};
use hgfleet_resync::ResyncOptions;

use hgfleet_log::LogLocation;

use crate::door::SshLimits;
use crate::login::{AuthoritiesError, LoginOptions};

/// Everything that a master or standby needs to know. Paths are absolute or relative to the working directory.
#[derive(Debug)]
pub struct MasterOptions {
    /// The server's name: the holder in its epoch records, its name in the view.
    pub name: String,
    /// The server's own folder (`DATA/master`): stores and what is known about them.
    pub data: PathBuf,
    /// The volume that has the stores instead, shared by all servers that can be master.
    pub volume: Option<VolumeOptions>,
    /// The fleet's log.
    pub log: LogLocation,
    /// Folder of the fleet's sockets (`DATA/run`, mode 0700); this server's own, and its pushes on their way, lie in `NAME/`
    /// below it.
    pub run: PathBuf,
    /// The accounts: `DATA/directory.ldif`, or LDAP servers.
    pub directory: DirectoryLocation,
    /// Which name clients log in by, and which certificates count.
    pub login: LoginOptions,
    /// The access rules; none: everybody reads, every account writes.
    pub access: Option<PathBuf>,
    /// The rules of what a push may bring; none: the default for all repositories.
    pub policy: Option<PathBuf>,
    /// The SSH host key, an ed25519 private key in OpenSSH's format (`DATA/keys/...`). The daemon does not make it.
    pub host_key: PathBuf,
    /// SSH ports of its own, bound while it is master; none where only the balancer hands connections over its `ssh.sock`.
    pub ssh_addresses: Vec<SocketAddr>,
    /// The `sshd` that gets what the balancer hands over, in place of the built-in door.
    pub ssh_backend: Option<SocketAddr>,
    /// The program whose `session` subcommand serves a connection: this binary.
    pub program: PathBuf,
    /// Whether it takes a log at once that no server ever held. One server of a fleet does, the others wait a lease time.
    pub first: bool,
    /// What `status` shows as the server's address, e.g. `127.0.0.1:2222`.
    pub address: String,
    /// Who may push for others.
    pub landing: Landing,
    /// Limits of the SSH door.
    pub ssh: SshLimits,
    /// Limits of each session's process.
    pub session: SessionLimits,
    /// Which commands are served to people.
    pub commands: CommandOptions,
    /// What a new store is made like.
    pub format: StoreFormatName,
    /// How long an answer to a push waits for the mirrors, at most. Default 5 s.
    pub told_wait: Duration,
    /// How long a push waits for an append whose outcome is not known. Default 30 s.
    pub append_wait: Duration,
    /// How long a push waits for another one's write lock. Default 60 s.
    pub lock_wait: Duration,
    /// How long a push may hold its lock before it hands its change over. Default 1 h.
    pub lock_limit: Duration,
    /// Lease time: how long the master's sign of life must stay away before a standby tries for the next epoch. Default 5 s.
    pub lease: Duration,
    /// A mirror that lags by more is left out of service, unless it is the last one. Default 15 s.
    pub lag_max: Duration,
    /// So is one that lacks more records than this. Default 10,000.
    pub lag_records_max: u64,
    /// What the log keeps.
    pub retention: Retention,
    /// How it takes copies from mirrors, and scrubs its stores.
    pub resync: ResyncOptions,
    /// How long a deleted repository is kept, and can be brought back. Default 7 days.
    pub deletion_grace: Duration,
    /// Largest push, in bytes of its bundle and of its change. Default 4 GiB.
    pub push_bytes_max: u64,
}

/// A volume that master and standbys share.
#[derive(Debug, Clone)]
pub struct VolumeOptions {
    /// Where it is mounted. It must be there.
    pub path: PathBuf,
    /// How a server is kept from writing to it; none: each epoch writes to a tree of its own.
    pub fence: Option<Fence>,
    /// How long what is of no use any more stays in old trees, at least, for who reads it still. Default 1 day.
    pub keep: Duration,
}

/// A command that keeps another server from writing to the volume.
#[derive(Debug, Clone)]
pub struct Fence {
    /// Program and arguments; the server's name is added. Status 0 says that it can't write any more, whatever it does.
    pub command: Vec<String>,
    /// How long it may take. Default 60 s.
    pub wait: Duration,
}

/// Which requirements a new store has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StoreFormatName {
    /// As `hg init` of 7.x: `share-safe`, zstd.
    #[default]
    Current,
    /// Read by any Mercurial since 4.9.
    Since49,
}

/// What the log keeps beyond what its servers still need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// The newest records, so many, are never trimmed. Default 100,000.
    pub records_min: u64,
    /// A server that has said nothing for longer is not waited for: it takes copies when it comes back. Default 1 day.
    pub silent_max: Duration,
    /// How often it is looked whether there is something to trim, and how old a record is at least that goes. Default 10 minutes: a
    /// client whose push was left open asks the log for its outcome much sooner.
    pub every: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Retention { records_min: 100_000, silent_max: Duration::from_secs(86_400), every: Duration::from_secs(600) }
    }
}

/// Accounts that push for others: services that land what somebody asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Landing {
    /// The accounts. Default: none.
    pub accounts: Vec<Mail>,
    /// The variable by which a client of theirs names who asked, by an `env` request of SSH. Default `AUTOLAND_REQUEST_USER`.
    pub variable: String,
}

/// Letters of a requester that are looked at: more than a mail address has, so that a longer one is refused as none.
pub(crate) const REQUESTER_CHARS_MAX: usize = 300;

impl Landing {
    /// Whom a client of this account names as who asked; nobody where it is no landing account.
    pub(crate) fn requester(&self, account: &Mail, value: &str) -> Option<String> {
        self.accounts.contains(account).then(|| value.chars().take(REQUESTER_CHARS_MAX).collect())
    }
}

impl Default for Landing {
    fn default() -> Self {
        Landing { accounts: Vec::new(), variable: "AUTOLAND_REQUEST_USER".to_owned() }
    }
}

/// Limits of one session's process.
#[derive(Debug, Clone)]
pub struct SessionLimits {
    /// Address space, bytes. Mapped store files count. Default 64 GiB.
    pub address_space_bytes: u64,
    /// Heap and anonymous memory (`RLIMIT_DATA`), bytes. Default 4 GiB.
    pub memory_bytes: u64,
    /// CPU time, seconds. Default 3600.
    pub cpu_seconds: u64,
    /// Open files. Default 256.
    pub open_files: u64,
}

impl Default for SessionLimits {
    fn default() -> Self {
        SessionLimits { address_space_bytes: 64 << 30, memory_bytes: 4 << 30, cpu_seconds: 3600, open_files: 256 }
    }
}

/// Which commands are served to people who come by SSH.
#[derive(Debug, Clone, Copy)]
pub struct CommandOptions {
    /// `clone` and `edit`: each account makes repositories of its own, which belong to it. Default: no.
    pub user_repositories: bool,
    /// Repositories that one account may have. Default 100.
    pub user_repositories_max: usize,
    /// `repo-group`. Default: no.
    pub repo_group: bool,
    /// `repo-config`. Default: no.
    pub repo_config: bool,
    /// `keys add` and `keys remove`, where the directory can be written to by these servers. Default: no.
    pub own_keys: bool,
}

impl Default for CommandOptions {
    fn default() -> Self {
        CommandOptions {
            user_repositories: false,
            user_repositories_max: 100,
            repo_group: false,
            repo_config: false,
            own_keys: false,
        }
    }
}

/// Why the master could not start, or must not go on.
#[derive(Debug, thiserror::Error)]
pub enum MasterError {
    /// A file, folder or socket that it needs.
    #[error("cannot {verb} {}: {error}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        error: std::io::Error,
    },
    /// The host key is missing, or no ed25519 key.
    #[error("SSH host key {}: {what}", path.display())]
    HostKey {
        /// The key file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The directory is unreadable at start.
    #[error("directory: {0}")]
    Directory(#[from] hgfleet_directory::DirectoryError),
    /// The certificate authorities are unreadable at start.
    #[error("certificate authorities: {0}")]
    Authorities(#[from] watched_file::WatchError<AuthoritiesError>),
    /// The access rules are unreadable at start.
    #[error("access rules: {0}")]
    Access(#[source] watched_file::WatchError<hgfleet_access::RulesError>),
    /// The rules of pushes are unreadable at start.
    #[error("policy: {0}")]
    Policy(#[source] watched_file::WatchError<hgfleet_access::RulesError>),
    /// Another server holds a newer epoch, and a push of this one's does not come to its end: the next process is standby.
    #[error("another master holds epoch {epoch}; this process stops")]
    Fenced {
        /// The newer epoch.
        epoch: u64,
    },
    /// The log failed; the next start settles what was under way.
    #[error("log: {0}")]
    Log(String),
    /// The server's stores could not be opened.
    #[error("stores: {0}")]
    Replica(String),
}
