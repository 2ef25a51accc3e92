//! The daemon behind `hgfleet master`: as master it alone appends to the log and applies to its stores; as standby it
//! follows, until the lease has run out or is handed to it.

mod again;
mod bundle_files;
mod change_file;
mod clone_bundles;
mod command_log;
mod commands;
mod committer;
mod descriptors;
mod digests;
mod driver;
mod epoch;
mod fate;
mod handover;
mod hgrc;
mod host;
mod lease;
mod listen;
mod locks;
mod master;
mod master_socket;
mod mirrors;
mod names;
mod outcome;
mod peers;
mod pull_bundles;
mod read_only;
mod redo;
mod refusals;
mod repositories;
mod rewrite;
mod rights;
mod server;
mod session_socket;
mod sshd_session;
mod standby;
mod stores;
mod term;
#[cfg(test)]
mod tests;
mod trees;
mod trim;
mod uploads;
mod view;
mod volume;

pub(crate) use peers::{Client, Peers};

use std::future::Future;
use std::pin::pin;

use self::server::Server;
use self::term::Ended;
use crate::options::{MasterError, MasterOptions};

/// See [`crate::run`].
pub(crate) async fn run(options: MasterOptions, shutdown: impl Future<Output = ()> + Send) -> Result<(), MasterError> {
    let mut shutdown = pin!(shutdown);
    let mut eager = options.first;
    let server = tokio::select! {
        server = Server::open(options) => server?,
        () = &mut shutdown => return Ok(()),
    };
    loop {
        let taken = tokio::select! {
            taken = standby::until_master(&server, eager) => taken?,
            () = &mut shutdown => break,
        };
        eager = false;
        match term::serve(&server, taken, shutdown.as_mut()).await? {
            Ended::Stopped => break,
            Ended::Followed => {}
        }
    }
    server.hang_up();
    server.sync().await
}
