//! What a balancer is given to start with, and why it can't.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use hgfleet_log::LogLocation;
use ipnet::IpNet;

use crate::headers::TrustedProxy;
use crate::tls::TlsError;

/// The balancer's listeners, the fleet behind it, and its times.
#[derive(Debug)]
pub struct BalancerOptions {
    /// Its name in `status`: `balancer`.
    pub name: String,
    /// The fleet's log; opened for reading: the view lies there.
    pub log: LogLocation,
    /// The fleet's socket folder, `DATA/run`: each mirror's `NAME.sock`, and in `NAME/` the sockets of each server that can be master.
    pub run: PathBuf,
    /// Plain HTTP, already bound; answered with redirects only.
    pub http: Option<TcpListener>,
    /// HTTPS, already bound.
    pub https: Option<TcpListener>,
    /// SSH, already bound; passed on to the master.
    pub ssh: Option<TcpListener>,
    /// Certificate and key for HTTPS; needed where `https` is.
    pub identity: Option<Identity>,
    /// The host name of links and redirects: `localhost`.
    pub host: String,
    /// Other names and addresses by which clients may ask, without port: a redirect keeps one of
    /// these, and sends everything else to `host`.
    pub hosts: Vec<String>,
    /// The port that redirects name; the one clients reach, which may differ from the one bound.
    pub https_port: u16,
    /// SSH doors of masters and standbys that are not on this machine; every other one is at `run/NAME/ssh.sock`.
    pub masters: Vec<MasterAddress>,
    /// Addresses of mirrors that are not on this machine; every other one is at `run/NAME.sock`.
    pub mirrors: Vec<MirrorAddress>,
    /// An authenticating proxy whose word counts.
    pub trusted_proxy: Option<TrustedProxy>,
    /// Servers that say by a header of the PROXY protocol where their clients are, on all three ports, and have to. None: each
    /// client is where its connection comes from.
    pub trusted: Vec<IpNet>,
    /// Times and bounds; `BalancerTimes::default()` serve.
    pub times: BalancerTimes,
}

/// Where a certificate and its key lie, both in PEM.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The certificate, followed by those that lead to a root.
    pub certificate: PathBuf,
    /// The private key: PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
}

/// Where the SSH door of a master or standby on another machine is reached.
#[derive(Debug, Clone)]
pub struct MasterAddress {
    /// The server's name in the lease.
    pub name: String,
    /// Its address.
    pub address: SocketAddr,
}

/// Where a mirror on another machine is reached.
#[derive(Debug, Clone)]
pub struct MirrorAddress {
    /// The mirror's name in the view.
    pub name: String,
    /// Its address.
    pub address: SocketAddr,
}

/// The times a balancer lives by.
#[derive(Debug, Clone)]
pub struct BalancerTimes {
    /// How long a client may take to send a request's header, or to finish TLS; and a trusted server to say whose connection it is.
    pub header: Duration,
    /// How long a connection may lie idle between requests, or make no progress in one.
    pub idle: Duration,
    /// How long a request may look for a mirror that answers.
    pub attempt: Duration,
    /// How long an SSH connection waits for a master where there is none: longer than a takeover takes.
    pub master_wait: Duration,
    /// How often the view is read when no message brings it.
    pub poll: Duration,
    /// How often a heartbeat goes to the master, for `status`.
    pub heartbeat: Duration,
    /// How long running requests may take to end after a shutdown was asked for.
    pub drain: Duration,
}

impl Default for BalancerTimes {
    fn default() -> Self {
        Self {
            header: Duration::from_secs(10),
            idle: Duration::from_secs(120),
            attempt: Duration::from_secs(10),
            master_wait: Duration::from_secs(15),
            poll: Duration::from_millis(20),
            heartbeat: Duration::from_secs(1),
            drain: Duration::from_secs(5),
        }
    }
}

/// Why a balancer could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BalancerError {
    /// A certificate or key could not be loaded.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// There is a listener for HTTPS, and no certificate for it.
    #[error("the balancer has an address for HTTPS and no certificate: set `certificate` and `key` in [http]")]
    NoIdentity,
    /// A listener could not be used.
    #[error("{what}: {source}")]
    Listener {
        /// Which: `HTTPS listener`.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}
