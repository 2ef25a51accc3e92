//! One term as master: from an epoch that was taken to the newer one.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hgfleet_log::holder::{MIRRORS_SOCKET, SSH_SOCKET};
use hgfleet_log::membership::KeeperTimes;
use hgfleet_log::stop_at;
use tokio::task::JoinSet;

use super::committer::Committer;
use super::digests::Digests;
use super::epoch::Taken;
use super::fate::{End, Fate};
use super::lease::{self, HeldLease};
use super::listen::{accept, accept_tcp, bind, bind_tcp};
use super::locks::Locks;
use super::master::Master;
use super::read_only::FleetReadOnly;
use super::refusals::Refusals;
use super::server::Server;
use super::{commands, master_socket, mirrors, names, session_socket, trees, trim, uploads, view};
use crate::options::MasterError;
use crate::protocol::{MASTER_SOCKET, SESSION_SOCKET};

/// How long an end waits for the pushes that were handed over, beyond the time that their mirrors have.
const STOP_WAIT: Duration = Duration::from_secs(5);
/// How long the answer to whoever asked for the hand-over may take.
const ANSWER_WAIT: Duration = Duration::from_secs(1);

/// Why a term has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// This server was told to stop.
    Stopped,
    /// Another one is master.
    Followed,
}

/// Serves as master until another one is, or this server is told to stop.
pub(crate) async fn serve<S>(
    server: &Arc<Server>,
    taken: Taken,
    mut shutdown: Pin<&mut S>,
) -> Result<Ended, MasterError>
where
    S: Future<Output = ()> + Send,
{
    let fate = Fate::new();
    let mut tasks = JoinSet::new();
    let begun = tokio::select! {
        begun = begin(server, taken, &fate, &mut tasks) => begun?,
        () = &mut shutdown => return Ok(Ended::Stopped),
    };
    let ended = tokio::select! {
        () = shutdown => {
            tracing::info!("master stops");
            None
        }
        end = fate.ended() => Some(end),
    };
    // What was handed over is brought to its end, and the clients are told.
    let wait = STOP_WAIT + server.options.told_wait;
    let is_idle = tokio::time::timeout(wait, begun.committer.idle()).await.is_ok();
    let _ = tokio::time::timeout(ANSWER_WAIT, begun.handing.lock()).await;
    tasks.shutdown().await;
    for socket in [MIRRORS_SOCKET, SSH_SOCKET] {
        // Whoever connects from now on is to look for the next master.
        let _ = std::fs::remove_file(server.run.join(socket));
    }
    drop(begun);
    let left = server.leave().await;
    match ended {
        None => left.map(|()| Ended::Stopped),
        Some(End::Failed(what)) => Err(MasterError::Log(what)),
        // A push whose end does not come must not meet the standby in the same stores.
        Some(End::Fenced(epoch) | End::HandedOver(epoch)) if !is_idle => {
            Err(MasterError::Fenced { epoch: epoch.get() })
        }
        Some(End::Fenced(epoch) | End::HandedOver(epoch)) => {
            left?;
            tracing::info!(epoch = epoch.get(), "another server is master; this one is standby");
            Ok(Ended::Followed)
        }
    }
}

/// Makes the new epoch's view, applies what the stores lack, and opens the doors, in this order.
async fn begin(
    server: &Arc<Server>,
    taken: Taken,
    fate: &Fate,
    tasks: &mut JoinSet<()>,
) -> Result<Arc<Master>, MasterError> {
    let started = Instant::now();
    let Taken { epoch, tail, .. } = taken;
    let (log, options) = (&server.log, &server.options);
    tracing::info!(epoch = epoch.get(), sequence = tail.sequence.get(), log = %server.log_id, "epoch taken");
    stop_at(&format!("{}.takeover.epoch", server.name()));
    let lease = Arc::new(HeldLease::new(server.clone(), &taken));
    // At once, and while the rest is done: nobody else shall judge it lapsed.
    if let Err(newer) = lease.renew().await {
        fate.fenced(newer);
    }
    tasks.spawn(lease::keep(lease.clone(), fate.clone()));
    let times = KeeperTimes {
        told_wait: options.told_wait,
        lag_max: options.lag_max,
        lag_records_max: options.lag_records_max,
        ..KeeperTimes::default()
    };
    let view = view::start(log.clone(), epoch, tail.sequence, lease.clone(), times, fate.clone()).await;
    let view = view.map_err(|error| MasterError::Log(error.to_string()))?;
    stop_at(&format!("{}.takeover.view", server.name()));
    let stores = server.take_over(&taken).await?;
    stop_at(&format!("{}.takeover.applied", server.name()));
    let committer = Committer::new(
        log.clone(),
        server.log_id,
        stores.replica.clone(),
        epoch,
        tail,
        view.clone(),
        fate.clone(),
        options.append_wait,
    );
    let fleet_read_only = FleetReadOnly::read(log.as_ref()).await;
    let fleet_read_only = fleet_read_only.map_err(|error| MasterError::Log(error.to_string()))?;
    let master = Arc::new(Master {
        name: server.name().to_owned(),
        run: server.run.clone(),
        epoch,
        locks: Locks::new(epoch),
        log: log.clone(),
        replica: stores.replica.clone(),
        resync: stores.resync.clone(),
        committer,
        view,
        lease,
        directory: server.directory.clone(),
        access: server.access.clone(),
        policy: server.policy.clone(),
        peers: server.peers.clone(),
        logins: server.logins.clone(),
        session_limits: server.session_limits,
        passed_on: server.passed_on.clone(),
        landing: options.landing.clone(),
        door: server.door.clone(),
        digests: Digests::default(),
        fate: fate.clone(),
        naming: tokio::sync::Mutex::new(()),
        handing: tokio::sync::Mutex::new(()),
        commands: options.commands,
        copying: commands::copy_slots(),
        uploading: uploads::places(),
        fleet_read_only,
        refusals: Refusals::default(),
        format: options.format,
        deletion_grace: options.deletion_grace,
        lock_wait: options.lock_wait,
        lock_limit: options.lock_limit,
        push_bytes_max: options.push_bytes_max,
    });
    listen(server, &master, tasks).await?;
    tasks.spawn(trim::keep(server.clone()));
    if let Some(volume) = &options.volume {
        tasks.spawn(trees::keep(server.clone(), volume.clone()));
    }
    tasks.spawn(names::purge_expired(master.clone()));
    tracing::info!(milliseconds = started.elapsed().as_millis() as u64, "master ready");
    Ok(master)
}

/// Opens the doors.
async fn listen(server: &Arc<Server>, master: &Arc<Master>, tasks: &mut JoinSet<()>) -> Result<(), MasterError> {
    let run = &server.run;
    let shared = master.clone();
    accept(tasks, bind(&run.join(SESSION_SOCKET))?, "session.sock", move |stream| {
        session_socket::serve(shared.clone(), stream)
    });
    let shared = master.clone();
    accept(tasks, bind(&run.join(MASTER_SOCKET))?, "master.sock", move |stream| {
        master_socket::serve(shared.clone(), stream)
    });
    let (shared, log) = (master.clone(), server.log_id);
    accept(tasks, bind(&run.join(MIRRORS_SOCKET))?, "mirrors.sock", move |stream| {
        let (input, output) = stream.into_split();
        mirrors::serve(shared.clone(), log, input, output)
    });
    let (shared, balanced) = (server.clone(), master.clone());
    accept(tasks, bind(&run.join(SSH_SOCKET))?, "ssh.sock", move |stream| {
        // A balancer that is turned away before the first byte looks for the master again.
        if balanced.takes_pushes() {
            let door = shared.door.clone();
            match shared.options.ssh_backend {
                None => shared.spawn(door.serve_handed_over(stream)),
                Some(sshd) => shared.spawn(door.pass_on_handed_over(stream, shared.passed_on.clone(), sshd)),
            }
        }
        std::future::ready(())
    });
    for address in &server.options.ssh_addresses {
        let shared = server.clone();
        accept_tcp(tasks, bind_tcp(*address).await?, move |stream, address| {
            shared.spawn(shared.door.clone().serve(stream, address));
        });
    }
    Ok(())
}
