//! The command line: every role and every tool is a subcommand of one binary.

mod fleet;
mod people;
mod repositories;
mod servers;

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

pub use fleet::{Drain, Failover, Log, LogForm, ReadOnly, Status, Wait};
pub use people::{Access, Account, AccountGroup, AccountKey, Policy, Token};
pub use repositories::{CloneBundle, OfRepository, PullBundle, Repo};
pub use servers::{AuthorizedKeys, Init, MachineKeys, Role, Serve, Session, Tunnel, Up, Web};

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

/// `hgfleet session` without the others.
#[derive(Debug, Parser)]
#[command(name = "hgfleet session")]
struct SessionAlone {
    #[command(flatten)]
    session: Session,
}
