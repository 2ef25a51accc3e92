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
