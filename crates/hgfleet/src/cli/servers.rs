//! Servers, and what they are started by.

use super::ConfigFile;
use clap::Args;
use std::net::SocketAddr;
use std::path::PathBuf;

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

/// `hgfleet web`: the options of `hg serve`, and paths
#[derive(Debug, Args)]
pub struct Web {
    /// Address to listen on [default: 127.0.0.1; without PATH all interfaces, as `hg serve` does]
    #[arg(short = 'a', long = "address", value_name = "ADDR")]
    pub address: Option<String>,
    /// Port to listen on; 0: a free one, which is printed [default: 8000]
    #[arg(short = 'p', long = "port", value_name = "PORT")]
    pub port: Option<String>,
    /// The repository to serve [default: the one in which this folder lies]
    #[arg(short = 'R', long = "repository", alias = "repo", value_name = "PATH", conflicts_with_all = ["paths", "web_conf"])]
    pub repository: Option<PathBuf>,
    /// File to note requests in; `-`: standard output
    #[arg(short = 'A', long = "accesslog", value_name = "FILE")]
    pub access_log: Option<PathBuf>,
    /// File to write errors to
    #[arg(short = 'E', long = "errorlog", value_name = "FILE")]
    pub error_log: Option<PathBuf>,
    /// Go on in the background, once it listens
    #[arg(short = 'd', long = "daemon")]
    pub daemon: bool,
    /// Used by `-d`
    #[arg(long = "daemon-child", hide = true, requires = "daemon")]
    pub daemon_child: bool,
    /// File to write the process's id to
    #[arg(long = "pid-file", value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// Path below which everything is served
    #[arg(long = "prefix", value_name = "PREFIX")]
    pub prefix: Option<String>,
    /// Name to show on pages
    #[arg(short = 'n', long = "name", value_name = "NAME")]
    pub name: Option<String>,
    /// Configuration as for `hgweb`: sections [paths], [collections], [web]
    #[arg(long = "web-conf", alias = "webdir-conf", value_name = "FILE", conflicts_with = "paths")]
    pub web_conf: Option<PathBuf>,
    /// IPv6 in the place of IPv4
    #[arg(short = '6', long = "ipv6")]
    pub ipv6: bool,
    /// Certificate and private key, in one file in PEM: serve HTTPS
    #[arg(long = "certificate", value_name = "FILE")]
    pub certificate: Option<PathBuf>,
    /// Print the address alone
    #[arg(long = "print-url", conflicts_with = "verbose")]
    pub print_url: bool,
    /// Set a key of the configuration, over all files; may be given several times
    #[arg(long = "config", value_name = "SECTION.NAME=VALUE")]
    pub config: Vec<String>,
    /// Folder to go to first
    #[arg(long = "cwd", value_name = "DIR")]
    pub cwd: Option<PathBuf>,
    /// Say nothing
    #[arg(short = 'q', long = "quiet")]
    pub quiet: bool,
    /// Say where it listens
    #[arg(short = 'v', long = "verbose")]
    pub verbose: bool,
    /// A repository, or folders with repositories in them
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
}

/// `hgfleet serve`
#[derive(Debug, Args)]
pub struct Serve {
    /// The repository to serve
    #[arg(short = 'R', long = "repository", value_name = "PATH")]
    pub repository: PathBuf,
    /// Set a key of the configuration, over all files; may be given several times
    #[arg(long = "config", value_name = "SECTION.NAME=VALUE")]
    pub config: Vec<String>,
    /// Speak SSH framing on standard input and output
    #[arg(long, required = true)]
    pub stdio: bool,
    /// The client asks for hidden changesets; `experimental.server.allow-hidden-access` says who gets them
    #[arg(long)]
    pub hidden: bool,
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
