//! The daemon behind `hgfleet master`: it alone appends to the log and applies to the master's stores.

mod change_file;
mod committer;
mod descriptors;
mod digests;
mod driver;
mod epoch;
mod fate;
mod lease;
mod locks;
mod master;
mod master_socket;
mod mirrors;
mod peers;
mod redo;
mod repositories;
mod session_socket;
#[cfg(test)]
mod tests;
mod view;

pub(crate) use peers::{Client, Peers};

use std::future::Future;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hgfleet_directory::{Directory, LdifDirectory};
use hgfleet_log::{Access, Log, LogId, Sequence};
use hgfleet_replica::Replica;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::task::JoinSet;

use self::committer::Committer;
use self::digests::Digests;
use self::fate::Fate;
use self::lease::{Itself, LeaseState};
use self::locks::Locks;
use self::master::Master;
use self::redo::LogSource;
use crate::door::{Door, FromBalancer, Peer, session_program};
use crate::options::{MasterError, MasterOptions};
use crate::protocol::{MASTER_SOCKET, MIRRORS_SOCKET, SESSION_SOCKET, SSH_SOCKET};
use crate::session::Limits;

/// How long an orderly stop waits for the pushes that were handed over.
const STOP_WAIT: Duration = Duration::from_secs(5);
/// Records applied at once at a start.
const READ_MAX: usize = 256;

/// See [`crate::run`].
pub(crate) async fn run(options: MasterOptions, shutdown: impl Future<Output = ()> + Send) -> Result<(), MasterError> {
    let started = Instant::now();
    let run = prepare_run_folder(&options.run)?;
    let directory: Arc<dyn Directory> = {
        LdifDirectory::create(&options.directory)?;
        Arc::new(LdifDirectory::open(&options.directory)?)
    };
    let (log, replica) = open(&options).await?;
    let log_id = log.identity().await;
    let taken = epoch::take(&log, log_id, &replica, &options.name, options.lease).await?;
    tracing::info!(epoch = taken.epoch.get(), sequence = taken.tail.sequence.get(), log = %log_id, "epoch taken");
    catch_up(&log, &replica, taken.tail.sequence).await?;

    let fate = Fate::new();
    let lease = Arc::new(LeaseState::new(options.lease));
    let (end, wait) = (taken.tail.sequence, options.told_wait);
    let view = view::start(log.clone(), taken.epoch, end, lease.clone(), wait, fate.clone()).await;
    let view = view.map_err(|error| MasterError::Log(error.to_string()))?;
    let committer = Committer::new(
        log.clone(),
        log_id,
        replica.clone(),
        taken.epoch,
        taken.tail,
        view.clone(),
        fate.clone(),
        options.append_wait,
    );
    let itself = Itself { name: options.name.clone(), address: options.address.clone(), replica: replica.clone() };
    let mut tasks = JoinSet::new();
    tasks.spawn(lease::keep(log.clone(), taken.epoch, taken.counter, lease.clone(), itself, fate.clone()));
    let peers = Peers::default();
    let master = Arc::new(Master {
        run: run.clone(),
        epoch: taken.epoch,
        locks: Locks::new(taken.epoch),
        log,
        replica: replica.clone(),
        committer: committer.clone(),
        view,
        lease,
        directory: directory.clone(),
        peers: peers.clone(),
        digests: Digests::default(),
        fate: fate.clone(),
        naming: tokio::sync::Mutex::new(()),
        format: options.format,
        lock_wait: options.lock_wait,
        lock_limit: options.lock_limit,
        push_bytes_max: options.push_bytes_max,
    });
    let limits = Limits {
        address_space_bytes: options.session.address_space_bytes,
        memory_bytes: options.session.memory_bytes,
        cpu_seconds: options.session.cpu_seconds,
        open_files: options.session.open_files,
    };
    let sessions = session_program(options.program.clone(), run.clone(), limits, peers);
    let door = Door::new(&options.host_key, options.ssh.clone(), directory, sessions)?;
    listen(&mut tasks, &run, &options, master, door, log_id)?;
    tracing::info!(milliseconds = started.elapsed().as_millis() as u64, "master ready");

    tokio::select! {
        () = shutdown => tracing::info!("master stops"),
        end = fate.ended() => return Err(end),
    }
    // What was handed over is brought to its end.
    let _ = tokio::time::timeout(STOP_WAIT, committer.idle()).await;
    tasks.shutdown().await;
    let synced = tokio::task::spawn_blocking(move || replica.sync()).await;
    if let Ok(Err(error)) = synced {
        return Err(MasterError::Replica(error.to_string()));
    }
    Ok(())
}

/// Opens the log for appending, and the stores.
async fn open(options: &MasterOptions) -> Result<(Arc<dyn Log>, Arc<Replica>), MasterError> {
    let log = options.log.open(Access::Append).await.map_err(|error| MasterError::Log(error.to_string()))?;
    let data = options.data.clone();
    let replica = match tokio::task::spawn_blocking(move || Replica::open(&data)).await {
        Ok(opened) => opened.map_err(|error| MasterError::Replica(error.to_string()))?,
        Err(error) => return Err(MasterError::Replica(error.to_string())),
    };
    Ok((log, Arc::new(replica)))
}

/// Redoes what a crash may have torn, then applies what the log has and the stores lack.
async fn catch_up(log: &Arc<dyn Log>, replica: &Arc<Replica>, end: Sequence) -> Result<(), MasterError> {
    let wrong = |error: &dyn std::fmt::Display| MasterError::Replica(error.to_string());
    let (log, replica) = (log.clone(), replica.clone());
    let runtime = tokio::runtime::Handle::current();
    let done = tokio::task::spawn_blocking(move || {
        let mut source = LogSource::new(log.clone());
        let recovery =
            replica.recover(Some(end), &mut |sequence| source.get(sequence)).map_err(|error| wrong(&error))?;
        for (name, why) in &recovery.quarantined {
            tracing::error!(repository = %name, why, "in quarantine");
        }
        if recovery.redone > 0 {
            tracing::info!(records = recovery.redone, "redone");
        }
        let mut due = Sequence::after(replica.position());
        while let Some(from) = due.filter(|from| *from <= end) {
            let records = runtime.block_on(log.read(from, READ_MAX)).map_err(|error| wrong(&error))?;
            if records.is_empty() {
                break;
            }
            for record in records {
                let change = source.change(&record).map_err(|error| wrong(&error))?;
                let bytes: &[u8] = (*change).as_ref();
                replica.apply(&record, bytes).map_err(|error| wrong(&error))?;
                due = record.sequence.next();
            }
        }
        Ok(())
    });
    done.await.unwrap_or_else(|error| Err(MasterError::Replica(error.to_string())))
}

/// Opens the sockets and serves them in these tasks.
fn listen(
    tasks: &mut JoinSet<()>,
    run: &Path,
    options: &MasterOptions,
    master: Arc<Master>,
    door: Arc<Door>,
    log: LogId,
) -> Result<(), MasterError> {
    let sessions = bind(&run.join(SESSION_SOCKET))?;
    let operators = bind(&run.join(MASTER_SOCKET))?;
    let mirrors = bind(&run.join(MIRRORS_SOCKET))?;
    let ssh = bind(&run.join(SSH_SOCKET))?;
    let shared = master.clone();
    accept(tasks, sessions, "session.sock", move |stream| session_socket::serve(shared.clone(), stream));
    let (shared, name) = (master.clone(), options.name.clone());
    accept(tasks, operators, "master.sock", move |stream| master_socket::serve(shared.clone(), name.clone(), stream));
    let name = options.name.clone();
    accept(tasks, mirrors, "mirrors.sock", move |stream| {
        let (input, output) = stream.into_split();
        mirrors::serve(master.clone(), log, name.clone(), input, output)
    });
    let balanced = door.clone();
    accept(tasks, ssh, "ssh.sock", move |stream| {
        let peer = Peer::unknown();
        balanced.clone().serve(FromBalancer::new(stream, peer.clone()), peer)
    });
    for listener in &options.ssh_listeners {
        let wrong = |error| MasterError::Io { verb: "listen on", path: PathBuf::from("the SSH port"), error };
        let listener = listener.try_clone().map_err(wrong)?;
        listener.set_nonblocking(true).map_err(wrong)?;
        let listener = TcpListener::from_std(listener).map_err(wrong)?;
        accept_tcp(tasks, listener, door.clone());
    }
    Ok(())
}

/// Accepts until it is aborted; the connections end with it.
fn accept<F>(
    tasks: &mut JoinSet<()>,
    listener: UnixListener,
    name: &'static str,
    serve: impl Fn(UnixStream) -> F + Send + 'static,
) where
    F: Future<Output = ()> + Send + 'static,
{
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(serve(stream));
                    }
                    Err(error) => pause(name, &error).await,
                },
                Some(_) = connections.join_next() => {}
            }
        }
    });
}

fn accept_tcp(tasks: &mut JoinSet<()>, listener: TcpListener, door: Arc<Door>) {
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, address)) => {
                        let _ = stream.set_nodelay(true);
                        connections.spawn(door.clone().serve(stream, Peer::known(address)));
                    }
                    Err(error) => pause("SSH port", &error).await,
                },
                Some(_) = connections.join_next() => {}
            }
        }
    });
}

/// Out of descriptors, mostly: connections that end make room.
async fn pause(name: &str, error: &std::io::Error) {
    tracing::error!(%error, socket = name, "a connection could not be accepted");
    tokio::time::sleep(Duration::from_millis(100)).await;
}

/// Makes the folder of the sockets, for this user alone. Returns its absolute path.
fn prepare_run_folder(path: &Path) -> Result<PathBuf, MasterError> {
    let wrong = |verb, error| MasterError::Io { verb, path: path.to_owned(), error };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| wrong("make", error))?;
    let private = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(path, private).map_err(|error| wrong("protect", error))?;
    path.canonicalize().map_err(|error| wrong("find", error))
}

/// Binds a socket in place of one that a dead daemon left.
fn bind(path: &Path) -> Result<UnixListener, MasterError> {
    let wrong = |verb, error| MasterError::Io { verb, path: path.to_owned(), error };
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(wrong("remove", error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(|error| wrong("listen on", error))?;
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(path, private).map_err(|error| wrong("protect", error))?;
    Ok(listener)
}
