//! The fleet's front door: HTTP that redirects, HTTPS spread over the mirrors at one position, and
//! SSH passed on to the master.

pub mod authority;
mod options;
pub mod tls;

use std::future::Future;

pub use options::{BalancerError, BalancerOptions, BalancerTimes, Identity, MirrorAddress};

/// Runs the balancer until `shutdown` completes, then ends it in an orderly way: no new
/// connections, those that run get `BalancerTimes::drain` to end.
///
/// # Errors
///
/// What keeps it from starting: certificate or key that can't be loaded, a listener that can't be used.
pub async fn run(options: BalancerOptions, shutdown: impl Future<Output = ()> + Send) -> Result<(), BalancerError> {
    let _ = (options, shutdown);
    todo!()
}
