//! A mirror: a read-only server with a disk of its own, fed by the log alone.
//!
//! The way of a record, in order: `follow` reads it from the log, checks that it is the one that
//! follows, and *stages* it (`staging`): durable on this mirror's disk, acknowledged to the master
//! (`membership`). Once the master says that the whole fleet may see it, `show` applies it to the
//! store and `serve` answers with it.
//!
//! Reads need only this process and its disk: with log, master and every other mirror gone it goes
//! on answering, marks its replies, and a restart changes nothing of that.
//!
//! What is damaged, or was trimmed from the log before it came here, is copied from another server
//! (`jump`, `host`, and the crate `hgfleet-resync`); all other repositories go on meanwhile.

mod drained;
mod follow;
mod host;
pub mod http;
mod jump;
mod membership;
mod options;
mod readers;
mod recover;
mod serve;
mod show;
mod staging;
mod told;
mod uploads;

use std::fs;
use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hgfleet_access::AccessControl;
use hgfleet_log::membership::MirrorService;
use hgfleet_log::{MirrorInView, sockets};
use hgfleet_replica::Replica;
use hgfleet_resync::{Resync, StopOnDrop};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{JoinSet, spawn_blocking};

pub use options::{MirrorError, MirrorOptions, MirrorTimes};
pub use serve::{ACCOUNT, MEMBERSHIP, POSITION, RETRY};
pub use staging::StagingError;

use crate::drained::Drained;
use crate::follow::{Following, Standing, remove_durable};
use crate::host::MirrorHost;
use crate::membership::Membership;
use crate::readers::{Accounts, KeptTokens, Readers};
use crate::recover::Records;
use crate::serve::{Door, Site};
use crate::show::Showing;
use crate::staging::Staging;
use crate::told::Told;

/// How often staged records are looked at for removal.
const REMOVE_EVERY: Duration = Duration::from_secs(1);

/// Runs one mirror until `shutdown` completes, then ends it in an orderly way: no new requests,
/// those that run get `MirrorTimes::drain` to end.
///
/// Needs a tokio runtime with more than one thread: applying and reading stores block.
///
/// # Errors
///
/// What keeps a mirror from starting: a folder that can't be used, a socket that can't be bound.
/// Later trouble (log away, master away, one repository damaged) is logged and lived with, but for a disk
/// that can't keep what was written: then the process must end, and the next one recovers.
pub async fn run(options: MirrorOptions, shutdown: impl Future<Output = ()> + Send) -> Result<(), MirrorError> {
    let fault = |what, path: &Path| {
        let (name, path) = (options.name.clone(), path.to_owned());
        move |source| MirrorError::Io { name, what, path, source }
    };
    // First the folder, which one process has at a time: a second one must not take the first one's socket away.
    let (staging, replica, showing) = open(&options).await?;
    let socket = options.run.join(format!("{}.sock", options.name));
    let door = sockets::bind(&socket).map_err(fault("bind", &socket))?;
    let network = match &options.listener {
        Some(listener) => {
            let used = use_listener(listener).map_err(fault("use the listener of", &options.data));
            Some(used?)
        }
        None => None,
    };
    let address = match network.as_ref().and_then(|listener| listener.local_addr().ok()) {
        Some(address) => address.to_string(),
        None => socket.display().to_string(),
    };
    let standing = Arc::new(Standing::default());
    let host = MirrorHost {
        name: options.name.clone(),
        replica: replica.clone(),
        staging: staging.clone(),
        showing: showing.clone(),
        standing: standing.clone(),
        runtime: Handle::current(),
    };
    let access = AccessControl::of(options.access.clone(), options.user_repositories)
        .map_err(|source| MirrorError::Access { name: options.name.clone(), source })?;
    let (resync, inner) = Resync::start(Arc::new(host), options.resync, Handle::current())
        .map_err(fault("bind the inner door in", &options.run))?;
    let repairing = StopOnDrop(resync.clone());
    let incarnation = replica.incarnation();
    let service = MirrorService::new(MirrorInView { name: options.name.clone(), incarnation });
    let membership = Arc::new(Membership {
        name: options.name.clone(),
        address,
        incarnation,
        run: options.run.clone(),
        heartbeat: options.times.heartbeat,
        replica: replica.clone(),
        staging: staging.clone(),
        showing: showing.clone(),
        standing: standing.clone(),
        resync: resync.clone(),
        service: Mutex::new(service),
        draining: Default::default(),
        leaving: Default::default(),
        turned: Default::default(),
        left: Default::default(),
        master: Default::default(),
        left_out: Default::default(),
        drained: Drained::open(&options.data),
    });
    let tokens = Arc::new(KeptTokens::open(options.data.join("tokens"), standing.clone(), options.tokens_stale));
    let following = Following {
        name: options.name.clone(),
        run: options.run.clone(),
        log: options.log.clone(),
        poll: options.times.poll,
        replica: replica.clone(),
        staging: staging.clone(),
        showing: showing.clone(),
        standing,
        resync: resync.clone(),
    };
    let site = Arc::new(Site {
        replica: replica.clone(),
        showing: showing.clone(),
        membership: membership.clone(),
        push_address: options.push_address.clone(),
        access,
        readers: Readers::new(tokens.clone(), Accounts::new(options.directory.clone())),
        wait: options.times.wait,
        bundle_cache: Arc::new(http::BundleCache::new(options.data.join("bundles"), options.bundle_cache_bytes)),
    });

    let mut tasks = JoinSet::new();
    showing.start_ready();
    tasks.spawn(following.run());
    let member = membership.clone();
    tasks.spawn(async move { member.stay().await });
    let member = membership.clone();
    tasks.spawn(async move { member.report().await });
    tasks.spawn(remove_durable(staging, replica.clone(), REMOVE_EVERY));
    tasks.spawn(resync.clone().serve(inner));
    tasks.spawn(tokens.clone().follow());
    tasks.spawn(tokens.tell_of_uses());
    let fatal = showing;

    let (stop, stopping) = watch::channel(false);
    let mut doors = JoinSet::new();
    let drain = options.times.drain;
    let balancer = Arc::new(Door { site: site.clone(), is_balancers: true });
    doors.spawn(http::serve(door, balancer, stopped(stopping.clone()), drain));
    if let Some(listener) = network {
        let everybody = Arc::new(Door { site, is_balancers: false });
        doors.spawn(http::serve(listener, everybody, stopped(stopping), drain));
    }
    tokio::select! {
        () = shutdown => {}
        source = fatal.fatal() => {
            return Err(MirrorError::Fatal { name: options.name, source });
        }
    }
    membership.start_draining();
    stop.send_replace(true);
    while doors.join_next().await.is_some() {}
    membership.leave().await;
    tasks.shutdown().await;
    drop(repairing);
    // What was applied is brought to disk, so that the next start has nothing to redo.
    if let Ok(Err(error)) = spawn_blocking(move || replica.sync()).await {
        tracing::error!(%error, "the stores could not be brought to disk");
    }
    Ok(())
}

/// Opens what lies on disk, and writes again what may lie half written.
async fn open(options: &MirrorOptions) -> Result<(Arc<Staging>, Arc<Replica>, Arc<Showing>), MirrorError> {
    let (data, log, name) = (options.data.clone(), options.log.clone(), options.name.clone());
    let runtime = Handle::current();
    let opening = spawn_blocking(move || {
        fs::create_dir_all(&data).map_err(|source| MirrorError::Io {
            name: name.clone(),
            what: "make",
            path: data.clone(),
            source,
        })?;
        let replica = Arc::new(Replica::open(&data).map_err(MirrorError::replica(&name))?);
        let staging = Staging::open(&data.join("staged"), replica.durable_position());
        let staging = Arc::new(staging.map_err(MirrorError::staging(&name))?);
        let records = Records::open(staging.clone(), &log, runtime);
        let path = data.join("told");
        let told =
            Told::open(&path).map_err(|source| MirrorError::Io { name: name.clone(), what: "open", path, source })?;
        // Nothing that was not told, or isn't staged, was ever begun.
        let visible = told.position().max(records.visible());
        let end = match staging.tail() {
            Some((_, tail)) => visible.min(Some(tail.sequence)),
            None => visible,
        };
        let recovery =
            replica.recover(end, &mut |sequence| records.get(sequence)).map_err(MirrorError::replica(&name))?;
        if recovery.redone > 0 || !recovery.quarantined.is_empty() {
            tracing::info!(redone = recovery.redone, quarantined = recovery.quarantined.len(), "recovered the stores");
        }
        let showing = Showing::new(replica.clone(), staging.clone(), told);
        showing.hear(visible);
        Ok((staging, replica, showing))
    });
    match opening.await {
        Ok(opened) => opened,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

fn use_listener(listener: &std::net::TcpListener) -> io::Result<TcpListener> {
    let listener = listener.try_clone()?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

async fn stopped(mut stopping: watch::Receiver<bool>) {
    // An error is the other side's death: an end as well.
    let _ = stopping.wait_for(|stop| *stop).await;
}
