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
pub mod login;
mod options;
mod protocol;
pub mod session;
mod session_event;
mod summary;

pub use door::{BanLimits, SshLimits};
pub use options::{
    CommandOptions, Fence, Landing, MasterError, MasterOptions, Retention, SessionLimits, StoreFormatName,
    VolumeOptions,
};
pub use summary::{PushSummary, decode_summary};

use std::future::Future;

/// Runs a master or standby until `shutdown` ends.
///
/// It follows the log, and takes the next epoch when nobody else gives a sign of life in the lease, or when the lease is handed to it;
/// then it serves, until another server has a newer epoch, and follows again. Returns an error where it could not start, and where
/// it must not go on (a failed fsync of the log, stores that can't be kept).
pub async fn run(options: MasterOptions, shutdown: impl Future<Output = ()> + Send) -> Result<(), MasterError> {
    daemon::run(options, shutdown).await
}
