//! Several machines look like one: the sockets of each server in `run/` are there on every machine.
//!
//! Servers of a fleet speak to each other over Unix sockets. On each machine one *tunnel* binds, in the place of the sockets of
//! servers that live elsewhere, sockets of its own; whatever connects there it carries over TLS 1.3 to the tunnel of that server's machine, which
//! connects to the real one. Both sides show a certificate of the fleet's own authority ([`authority`]); nobody else is
//! let in. So servers need not know where the others are.
//!
//! A connection begins with one line, the socket's path below `run/`, and is that socket's from then on, in both directions.
//! Only sockets of servers that the configuration puts on the machine are connected to.
//!
//! ```no_run
//! # async fn example() -> Result<(), hgfleet_tunnel::TunnelError> {
//! use hgfleet_tunnel::{Identity, Machine, Served, ServerKind, TunnelOptions};
//!
//! let machine = |name: &str, address: &str, kind, server: &str| Machine {
//!     name: name.to_owned(),
//!     address: address.to_owned(),
//!     servers: vec![Served { name: server.to_owned(), kind }],
//! };
//! let options = TunnelOptions {
//!     machine: "m1".to_owned(),
//!     run: "/srv/hgfleet/run".into(),
//!     identity: Identity::below("/srv/hgfleet/keys".as_ref()),
//!     machines: vec![
//!         machine("m1", "10.0.0.1:7400", ServerKind::Master, "master"),
//!         machine("m2", "10.0.0.2:7400", ServerKind::Mirror, "mirror-1"),
//!     ],
//! };
//! hgfleet_tunnel::run(options, std::future::pending()).await
//! # }
//! ```

pub mod authority;
mod carry;
mod sockets;
mod tls;

pub use carry::run;
pub use sockets::{Served, ServerKind};
pub use tls::{Identity, TlsError};

use std::io;
use std::path::PathBuf;

/// What a tunnel is told.
#[derive(Debug, Clone)]
pub struct TunnelOptions {
    /// The machine that it runs on: one of `machines`.
    pub machine: String,
    /// The fleet's folder of sockets on this machine, mode 0700.
    pub run: PathBuf,
    /// This machine's certificate.
    pub identity: Identity,
    /// All machines of the fleet.
    pub machines: Vec<Machine>,
}

/// One machine of the fleet.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Its name, which its certificate is for: a host name's label.
    pub name: String,
    /// Where its tunnel listens: `host:port`.
    pub address: String,
    /// The servers with sockets on it.
    pub servers: Vec<Served>,
}

/// Why a tunnel can't start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TunnelError {
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The machine is not in the configuration.
    #[error("no machine is called {0}: name one of [[machine]] with --machine")]
    Unknown(String),
    /// A socket or port.
    #[error("cannot {verb} {what}: {source}")]
    Io {
        /// What was tried.
        verb: &'static str,
        /// On what.
        what: String,
        /// What the system said.
        source: io::Error,
    },
}
