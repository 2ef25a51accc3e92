//! The one server of a fleet that takes pushes: SSH door, sessions, write locks, commit, apply.
//!
//! [`run`] is the daemon behind `hgfleet master`. [`session::run`] is the process that serves one SSH connection's
//! command; it is started by the door and talks to the daemon over `run/session.sock`. [`client`] is what
//! `hgfleet repo` calls.

pub mod client;
mod clock;
pub mod commit;
mod daemon;
mod door;
mod frame;
mod options;
mod protocol;
pub mod session;

pub use options::{MasterError, MasterOptions, SessionLimits, SshLimits, SshListener, StoreFormatName};

use std::future::Future;

/// Runs the master until `shutdown` ends or it is fenced.
///
/// Takes the next epoch of the log, redoes what the log has and the stores lack, and then serves. Returns an error
/// where it could not start, and where it must not go on (a newer epoch, a failed fsync of the log).
pub async fn run(options: MasterOptions, shutdown: impl Future<Output = ()> + Send) -> Result<(), MasterError> {
    daemon::run(options, shutdown).await
}
