//! The command line: every role and every tool is a subcommand of one binary.

use clap::{Args, Parser, Subcommand};
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;

/// A fleet of Mercurial servers that looks like one
#[derive(Debug, Parser)]
#[command(name = "hgfleet", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the whole fleet on this machine: a master, two mirrors and a balancer; makes what is missing
    Up(Up),
    /// Make a data folder's configuration, keys and directory, and start nothing
    Init(Init),
    /// Run the master, or with the name of a [[standby]] a server that takes over when the master is gone
    Master(Role),
    /// Run one mirror: follows the log, serves reads over HTTP
    Mirror(Role),
    /// Run the balancer: the front door for HTTP, HTTPS and SSH
    Balancer(Role),
    /// Carry the sockets of this machine's servers to the other machines of the fleet, over TLS
    Tunnel(Tunnel),
    /// Make a certificate and a key by which a machine of the fleet knows the others
    MachineKeys(MachineKeys),
    /// Serve repositories read-only over HTTP, without a fleet
    Web(Web),
    /// Speak the wire protocol for one repository on standard input and output, without a fleet
    Serve(Serve),
    /// Do one SSH session's work (started by an SSH door, not by hand)
    #[command(hide = true)]
    Session(Session),
    /// Print the lines that OpenSSH's server asks for with `AuthorizedKeysCommand`
    AuthorizedKeys(AuthorizedKeys),
    /// Create, import, list, verify and delete repositories
    #[command(subcommand)]
    Repo(Repo),
    /// Print the log's records
    #[command(subcommand)]
    Log(Log),
    /// The directory's accounts
    #[command(subcommand)]
    Account(Account),
    /// Who may do what with which repository
    #[command(subcommand)]
    Access(Access),
    /// What the checks of pushes would say
    #[command(subcommand)]
    Policy(Policy),
    /// Show whether the whole fleet is read only, or make it so, or end that
    ReadOnly(ReadOnly),
    /// What accounts show where they read over HTTPS
    #[command(subcommand)]
    Token(Token),
    /// Hand the lease over to a standby, so that no client notices
    Failover(Failover),
    /// Wait until a record is visible through every door
    Wait(Wait),
    /// Take a mirror out of service, until `undrain`
    Drain(Drain),
    /// Take a drained mirror into service again
    Undrain(Drain),
    /// Show the fleet at a glance: roles, lease, positions, lag, health
    Status(Status),
}

impl Cli {
    /// Reads this process's command line; ends the process where it is wrong, or asks for help.
    ///
    /// A session has a parser of its own: one is started for each connection, and what building the others takes of time and memory
    /// would be taken by each.
    pub fn of_this_process() -> Cli {
        let mut arguments = std::env::args_os().skip(1);
        match arguments.next() {
            Some(first) if first == "session" => {
                let SessionAlone { session } = SessionAlone::parse_from(std::iter::once(first).chain(arguments));
                Cli { command: Command::Session(session) }
            }
            _ => Cli::parse(),
        }
    }
}

impl Command {
    /// Whether it runs until it is told to stop, and logs what happens meanwhile. The others say on standard error
    /// what their caller, or the client of a session, is meant to read, and nothing else.
    pub fn is_a_server(&self) -> bool {
        matches!(
            self,
            Command::Up(_)
                | Command::Master(_)
                | Command::Mirror(_)
                | Command::Balancer(_)
                | Command::Tunnel(_)
                | Command::Web(_)
        )
    }
}

/// Where the configuration is
#[derive(Debug, Args)]
pub struct ConfigFile {
    /// Configuration file [default: ./hgfleet.toml, else ./hgfleet-data/hgfleet.toml]
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
}

/// `hgfleet up`
#[derive(Debug, Args)]
pub struct Up {
    /// Folder that holds everything: configuration, keys, log and stores
    #[arg(long, value_name = "DIR", default_value = "hgfleet-data")]
    pub data: PathBuf,
    /// Address of the SSH door [default: 127.0.0.1:2222]
    #[arg(long, value_name = "ADDR")]
    pub ssh: Option<SocketAddr>,
    /// Address that redirects to HTTPS [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    pub http: Option<SocketAddr>,
    /// Address of the HTTPS door [default: 127.0.0.1:8443]
    #[arg(long, value_name = "ADDR")]
    pub https: Option<SocketAddr>,
}

/// `hgfleet init`
#[derive(Debug, Args)]
pub struct Init {
    /// Folder that holds everything
    #[arg(long, value_name = "DIR", default_value = "hgfleet-data")]
    pub data: PathBuf,
}

/// `hgfleet master`, `mirror`, `balancer`
#[derive(Debug, Args)]
pub struct Role {
    #[command(flatten)]
    pub config: ConfigFile,
    /// Which entry of the configuration this server is, where there are several
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Public addresses other than the configuration's (`hgfleet up` passes its options on)
    #[command(flatten)]
    pub addresses: PublicAddresses,
}

/// Overrides of the configuration's public addresses
#[derive(Debug, Args)]
pub struct PublicAddresses {
    /// Address of the SSH door
    #[arg(long, value_name = "ADDR", hide = true)]
    pub ssh: Option<SocketAddr>,
    /// Address that redirects to HTTPS
    #[arg(long, value_name = "ADDR", hide = true)]
    pub http: Option<SocketAddr>,
    /// Address of the HTTPS door
    #[arg(long, value_name = "ADDR", hide = true)]
    pub https: Option<SocketAddr>,
}

/// `hgfleet tunnel`
#[derive(Debug, Args)]
pub struct Tunnel {
    /// Which [[machine]] of the configuration this one is
    #[arg(long, value_name = "NAME")]
    pub machine: String,
    #[command(flatten)]
    pub config: ConfigFile,
}

/// `hgfleet machine-keys`
#[derive(Debug, Args)]
pub struct MachineKeys {
    /// The machine's name, as in [[machine]]
    #[arg(value_name = "MACHINE")]
    pub machine: String,
    /// Folder for them, to be carried to that machine's `keys` [default: `keys` of this one]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub config: ConfigFile,
}

/// `hgfleet web`
#[derive(Debug, Args)]
pub struct Web {
    /// Address to listen on
    #[arg(short = 'a', long = "address", value_name = "ADDR", default_value = "127.0.0.1")]
    pub address: String,
    /// Port to listen on
    #[arg(short = 'p', long = "port", value_name = "PORT", default_value_t = 8000)]
    pub port: u16,
    /// A repository, or folders with repositories in them
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,
}

/// `hgfleet serve`
#[derive(Debug, Args)]
pub struct Serve {
    /// The repository to serve
    #[arg(short = 'R', long = "repository", value_name = "PATH")]
    pub repository: PathBuf,
    /// Speak SSH framing on standard input and output
    #[arg(long, required = true)]
    pub stdio: bool,
}

/// `hgfleet session`
#[derive(Debug, Args)]
pub struct Session {
    /// A server's folder of sockets; who is served is the first thing on standard input [default: `sshd` has started it]
    #[arg(long, value_name = "DIR")]
    pub run: Option<PathBuf>,
    #[command(flatten)]
    pub config: ConfigFile,
}

/// `hgfleet session` without the others.
#[derive(Debug, Parser)]
#[command(name = "hgfleet session")]
struct SessionAlone {
    #[command(flatten)]
    session: Session,
}

/// `hgfleet authorized-keys`
#[derive(Debug, Args)]
pub struct AuthorizedKeys {
    /// The login name (`%u`); alone, the mail address of an account, all of whose keys are printed
    #[arg(value_name = "USER")]
    pub user: String,
    /// Algorithm of the key that is offered (`%t`)
    #[arg(value_name = "TYPE", requires = "key")]
    pub algorithm: Option<String>,
    /// The key or certificate that is offered, in base64 (`%k`)
    #[arg(value_name = "KEY")]
    pub key: Option<String>,
    #[command(flatten)]
    pub config: ConfigFile,
}

/// `hgfleet repo`
#[derive(Debug, Subcommand)]
pub enum Repo {
    /// Create an empty repository
    Create {
        /// Name, such as `team/first`
        name: String,
        /// Keep pushed draft changesets draft
        #[arg(long)]
        non_publishing: bool,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Delete a repository; it is kept for a while, and its name is free at once
    Delete {
        /// Name
        name: String,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Bring back a deleted repository as it was
    Restore {
        /// The name that it had; of several, the one that was deleted last
        name: String,
        /// Another name to give it
        #[arg(long = "as", value_name = "NAME")]
        new_name: Option<String>,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Give a repository another name
    Rename {
        /// Name
        name: String,
        /// New name
        new_name: String,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Show a repository's `hgrc`, or change it on every server
    Config {
        /// Name
        name: String,
        /// Set a key, such as `phases.publish=False`; may be given several times
        #[arg(long, value_name = "SECTION.NAME=VALUE")]
        set: Vec<String>,
        /// Remove a key; may be given several times
        #[arg(long, value_name = "SECTION.NAME")]
        unset: Vec<String>,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Describe a repository in one line, for its page and for lists
    Describe {
        /// Name
        name: String,
        /// The description; empty: none
        text: String,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Show whether a repository is read only, or make it so, or end that
    ReadOnly {
        /// Name
        name: String,
        #[command(flatten)]
        options: ReadOnly,
    },
    /// Run a command that rewrites a repository (strip, censor, debugupgraderepo, …) on a copy, and exchange it on every
    /// server; pushes to it wait meanwhile
    Exec {
        /// Name
        name: String,
        #[command(flatten)]
        config: ConfigFile,
        /// The command: `-- hg …`
        #[arg(last = true, required = true, value_name = "COMMAND")]
        command: Vec<std::ffi::OsString>,
    },
    /// List the repositories
    List {
        /// Those that were deleted and can be brought back, with the times of both
        #[arg(long)]
        deleted: bool,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Take in an existing repository from a folder on this machine, or all that lie below a folder
    Import {
        /// The folder with the `.hg`, or one with such folders in it
        path: PathBuf,
        /// Name to give it [default: the folder's name]; of a folder of repositories, what their names begin with
        name: Option<String>,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Rebuild and hash every revision, check links, compare the digests of all servers; nothing waits for it
    Verify {
        /// Name
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        name: Option<String>,
        /// All repositories, one after the other
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Put a fresh copy of a repository in the place of what a server has
    Resync {
        /// Name
        name: String,
        /// The server that is to take the copy [default: each on which the repository is in quarantine]
        #[arg(long, value_name = "SERVER")]
        server: Option<String>,
        #[command(flatten)]
        config: ConfigFile,
    },
}

/// `hgfleet log`
#[derive(Debug, Subcommand)]
pub enum Log {
    /// Print the last records, or those from a sequence on, one a line
    List {
        /// The first record to print [default: so many before the end]
        #[arg(long, value_name = "SEQUENCE")]
        from: Option<NonZeroU64>,
        /// Most records to print
        #[arg(long, value_name = "COUNT", default_value_t = 50)]
        limit: u64,
        #[command(flatten)]
        form: LogForm,
    },
    /// Print all that one record says
    Show {
        /// The record, as in `stored as 1234`
        sequence: NonZeroU64,
        #[command(flatten)]
        form: LogForm,
    },
    /// Print the last ten records, and each that comes, until it is told to stop
    Tail {
        #[command(flatten)]
        form: LogForm,
    },
}

/// How records are printed
#[derive(Debug, Args)]
pub struct LogForm {
    /// Print each as a JSON object on a line of its own
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub config: ConfigFile,
}

/// `hgfleet access`
#[derive(Debug, Subcommand)]
pub enum Access {
    /// Say which rule decides what an account may do with a repository, and why
    Explain {
        /// The account's mail address; `-` for whoever has none
        mail: String,
        /// The repository's name; there need not be one
        repository: String,
        #[command(flatten)]
        config: ConfigFile,
    },
}

/// `hgfleet policy`
#[derive(Debug, Subcommand)]
pub enum Policy {
    /// Run the checks over pushes that the log has, and say which would be refused
    Test {
        /// How many of the repository's last pushes
        #[arg(long, value_name = "N", default_value = "20")]
        last: NonZeroU64,
        /// The repository's name
        repository: String,
        /// Rules to try, in place of those of the configuration
        #[arg(long, value_name = "FILE")]
        rules: Option<PathBuf>,
        #[command(flatten)]
        config: ConfigFile,
    },
}

/// `hgfleet token`
#[derive(Debug, Subcommand)]
pub enum Token {
    /// Make a token for an account, and print it, this once
    Create {
        /// The account's mail address
        mail: String,
        /// What it is for, in your words
        #[arg(long, value_name = "TEXT")]
        name: Option<String>,
        /// After how many days it ends [default: when it is revoked]
        #[arg(long, value_name = "DAYS")]
        expires: Option<u64>,
        /// The repositories that it is for, as patterns of the access rules [default: all]
        #[arg(long, value_name = "PATTERN", num_args = 1..)]
        repositories: Vec<String>,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// List the tokens: name, account, what for, when made, when they end, the day of the last use, for which repositories
    List {
        /// Those of this account alone
        mail: Option<String>,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Refuse a token from now on
    Revoke {
        /// Its name in the list, 12 hexadecimal digits
        id: String,
        #[command(flatten)]
        config: ConfigFile,
    },
}

/// `hgfleet account`
#[derive(Debug, Subcommand)]
pub enum Account {
    /// Add an account, or another key to an account
    Add {
        /// The account's mail address
        mail: String,
        /// File with the public key (OpenSSH's format, `.pub`)
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// List the accounts
    List {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Show an account: its state, its groups, its keys
    Show {
        /// The account's mail address
        mail: String,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// An account's keys
    #[command(subcommand)]
    Key(AccountKey),
    /// An account's groups
    #[command(subcommand)]
    Group(AccountGroup),
    /// Refuse an account's logins from now on
    Disable {
        /// The account's mail address
        mail: String,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Allow a disabled account's logins again
    Enable {
        /// The account's mail address
        mail: String,
        #[command(flatten)]
        config: ConfigFile,
    },
}

/// `hgfleet account key`
#[derive(Debug, Subcommand)]
pub enum AccountKey {
    /// Add a key to an account
    Add {
        /// The account's mail address
        mail: String,
        /// File with the public key (OpenSSH's format, `.pub`)
        file: PathBuf,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Take a key from an account
    Remove {
        /// The account's mail address
        mail: String,
        /// The key, as `account show` and `ssh-keygen -l` print it: `SHA256:…`
        fingerprint: String,
        #[command(flatten)]
        config: ConfigFile,
    },
}

/// `hgfleet account group`
#[derive(Debug, Subcommand)]
pub enum AccountGroup {
    /// Put an account into a group; the group is made where there is none
    Add {
        /// The account's mail address
        mail: String,
        /// The group's name
        group: String,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Take an account out of a group
    Remove {
        /// The account's mail address
        mail: String,
        /// The group's name
        group: String,
        #[command(flatten)]
        config: ConfigFile,
    },
}

/// `hgfleet read-only`, `hgfleet repo read-only`
#[derive(Debug, Args)]
pub struct ReadOnly {
    /// Refuse pushes from now on, and give whoever pushes this reason
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Take pushes again
    #[arg(long, conflicts_with = "reason")]
    pub off: bool,
    #[command(flatten)]
    pub config: ConfigFile,
}

/// `hgfleet failover`
#[derive(Debug, Args)]
pub struct Failover {
    /// The standby that becomes master [default: the one that lags least]
    #[arg(long, value_name = "NAME")]
    pub to: Option<String>,
    #[command(flatten)]
    pub config: ConfigFile,
}

/// `hgfleet wait`
#[derive(Debug, Args)]
pub struct Wait {
    /// The record, as in `stored as 1234`
    #[arg(value_name = "SEQUENCE")]
    pub sequence: NonZeroU64,
    /// How long to wait, in seconds
    #[arg(long, value_name = "S", default_value_t = 10)]
    pub timeout: u64,
    #[command(flatten)]
    pub config: ConfigFile,
}

/// `hgfleet drain`, `undrain`
#[derive(Debug, Args)]
pub struct Drain {
    /// The mirror
    pub name: String,
    #[command(flatten)]
    pub config: ConfigFile,
}

/// `hgfleet status`
#[derive(Debug, Args)]
pub struct Status {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub config: ConfigFile,
}
