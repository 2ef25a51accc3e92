//! The fleet's front door: HTTP that redirects, HTTPS spread over the mirrors at one position, and
//! SSH passed on to the master.
//!
//! # One door never goes back
//!
//! The balancer keeps a *floor*: the highest position that any reply or view has named. It tags each
//! request with it, and a mirror answers at the tag or above, or says at once that it can't; then the
//! next one is asked, before the client has seen the first byte. A reply below the floor is not
//! passed on. Nothing waits for a balancer, and it keeps nothing on disk: after a restart the view in
//! the log gives the floor.
//!
//! # Limitations
//!
//! HTTP/1.1 only. Connections are bounded in number, not for each source: for SSH the master does that, which knows who has logged in.

pub mod authority;
mod body;
mod closing;
mod fleet;
mod floor;
mod follow;
mod forward;
mod framing;
mod guard;
pub mod headers;
mod masters;
mod mirror;
mod options;
mod redirect;
mod serve;
mod site;
mod ssh;
pub mod tls;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use client_address::Trusted;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

pub use headers::TrustedProxy;
pub use options::{BalancerError, BalancerOptions, BalancerTimes, Identity, MasterAddress, MirrorAddress};

use crate::closing::closing;
use crate::fleet::Fleet;
use crate::follow::Following;
use crate::masters::Masters;
use crate::site::Site;

/// How long a start waits for the log's view, so that the first request already carries a tag.
const FIRST_VIEW: Duration = Duration::from_secs(1);

/// Runs the balancer until `shutdown` completes, then ends it in an orderly way: no new
/// connections, those that run get `BalancerTimes::drain` to end.
///
/// # Errors
///
/// What keeps it from starting: certificate or key that can't be loaded, a listener that can't be used.
pub async fn run(options: BalancerOptions, shutdown: impl Future<Output = ()> + Send) -> Result<(), BalancerError> {
    let https = match (&options.https, &options.identity) {
        (Some(listener), Some(identity)) => {
            let config = tls::server_config(identity)?;
            Some((use_listener("HTTPS listener", listener)?, config))
        }
        (Some(_), None) => return Err(BalancerError::NoIdentity),
        (None, _) => None,
    };
    let http = options.http.as_ref();
    let http = http.map(|l| use_listener("HTTP listener", l)).transpose()?;
    let ssh = options.ssh.as_ref();
    let ssh = ssh.map(|l| use_listener("SSH listener", l)).transpose()?;
    let address = https
        .as_ref()
        .and_then(|(listener, _)| listener.local_addr().ok())
        .map_or_else(String::new, |address| address.to_string());

    let fleet = Fleet::new(options.run.clone(), options.mirrors.clone());
    let site = Site::new(&options, fleet.clone());
    let masters = Masters::new(options.run.clone(), options.masters.clone());
    let following = Arc::new(Following {
        fleet: fleet.clone(),
        masters: masters.clone(),
        log: options.log.clone(),
        name: options.name.clone(),
        address,
        poll: options.times.poll,
        heartbeat: options.times.heartbeat,
        told: AtomicBool::new(false),
        asked: watch::Sender::new(false),
    });
    let mut viewed = following.asked.subscribe();
    let mut tasks = JoinSet::new();
    let reader = following.clone();
    tasks.spawn(async move { reader.read_views().await });
    tasks.spawn(async move { following.stay_connected().await });
    let probed = fleet.clone();
    tasks.spawn(async move { probed.probe().await });

    let trusted = Arc::new(Trusted { from: options.trusted.clone(), time: options.times.header });
    let (closing, serving) = closing();
    let serve = async {
        if let Some(listener) = ssh {
            let wait = options.times.master_wait;
            let (serving, trusted) = (serving.clone(), trusted.clone());
            tasks.spawn(async move { match serve::ssh(listener, trusted, masters, wait, serving).await {} });
        }
        let _ = timeout(FIRST_VIEW, viewed.wait_for(|asked| *asked)).await;
        if let Some((listener, config)) = https {
            let (trusted, site, serving) = (trusted.clone(), site.clone(), serving.clone());
            tasks.spawn(async move { match serve::https(listener, config, trusted, site, serving).await {} });
        }
        if let Some(listener) = http {
            tasks.spawn(async move { match serve::http(listener, trusted, site, serving).await {} });
        }
        std::future::pending::<()>().await
    };
    tokio::select! {
        () = shutdown => {}
        () = serve => {}
    }
    // Listeners close first; what runs may end.
    tasks.shutdown().await;
    closing.close(options.times.drain).await;
    Ok(())
}

fn use_listener(what: &'static str, listener: &std::net::TcpListener) -> Result<TcpListener, BalancerError> {
    listener
        .try_clone()
        .and_then(|listener| {
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        })
        .map_err(|source| BalancerError::Listener { what, source })
}
