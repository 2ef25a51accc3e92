//! What one server keeps while its role changes: log, stores, door.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hgfleet_directory::{Directory, LdifDirectory};
use hgfleet_log::{Access, DiskUse, Log, LogId, Member, Record, RepositoryName, Role, Sequence, ServerState, Tail};
use hgfleet_replica::{Replica, Theirs};
use hgfleet_resync::{Resync, StopOnDrop};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::host::MasterHost;
use super::listen::prepare_run_folder;
use super::peers::Peers;
use super::redo::LogSource;
use crate::clock::unix_ms;
use crate::door::{Door, session_program};
use crate::options::{MasterError, MasterOptions};
use crate::session::Limits;

/// Records applied at once.
const READ_MAX: usize = 256;

/// One server, master or standby.
pub(crate) struct Server {
    pub options: MasterOptions,
    /// The server's own folder of sockets, absolute.
    pub run: PathBuf,
    pub log: Arc<dyn Log>,
    pub log_id: LogId,
    pub replica: Arc<Replica>,
    pub resync: Arc<Resync>,
    /// Held while records are applied that are not tried again: a repair that must not miss one waits for it.
    applying: Arc<tokio::sync::Mutex<()>>,
    pub directory: Arc<dyn Directory>,
    pub peers: Peers,
    pub door: Arc<Door>,
    /// SSH connections. They outlive the role in which they were taken: their sessions find the next master.
    connections: Mutex<JoinSet<()>>,
    /// The inner door.
    _inner: JoinSet<()>,
    _repairing: StopOnDrop,
}

impl Server {
    /// Opens log and stores, and redoes what a crash may have torn.
    pub(crate) async fn open(options: MasterOptions) -> Result<Arc<Server>, MasterError> {
        let run = prepare_run_folder(&options.run, &options.name)?;
        let directory: Arc<dyn Directory> = {
            LdifDirectory::create(&options.directory)?;
            Arc::new(LdifDirectory::open(&options.directory)?)
        };
        let (log, replica) = open(&options).await?;
        let peers = Peers::default();
        let limits = Limits {
            address_space_bytes: options.session.address_space_bytes,
            memory_bytes: options.session.memory_bytes,
            cpu_seconds: options.session.cpu_seconds,
            open_files: options.session.open_files,
        };
        let sessions = session_program(options.program.clone(), run.clone(), limits, peers.clone());
        let door = Door::new(&options.host_key, options.ssh.clone(), directory.clone(), sessions)?;
        let log_id = log.identity().await;
        let connections = Mutex::new(JoinSet::new());
        recover(&log, &replica).await?;
        let applying = Arc::new(tokio::sync::Mutex::new(()));
        let host = MasterHost {
            name: options.name.clone(),
            log: log.clone(),
            replica: replica.clone(),
            applying: applying.clone(),
            runtime: Handle::current(),
        };
        let wrong = |error| MasterError::Io { verb: "open the inner door in", path: options.resync.run.clone(), error };
        let started = Resync::start(Arc::new(host), options.resync.clone(), Handle::current());
        let (resync, listener) = started.map_err(wrong)?;
        let mut inner = JoinSet::new();
        inner.spawn(resync.clone().serve(listener));
        Ok(Arc::new(Server {
            options,
            run,
            log,
            log_id,
            replica,
            applying,
            directory,
            peers,
            door,
            connections,
            _inner: inner,
            _repairing: StopOnDrop(resync.clone()),
            resync,
        }))
    }

    pub(crate) fn name(&self) -> &str {
        &self.options.name
    }

    /// Serves one SSH connection, beyond the end of this server's role if need be.
    pub(crate) fn spawn(&self, connection: impl Future<Output = ()> + Send + 'static) {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        while connections.try_join_next().is_some() {}
        connections.spawn(connection);
    }

    /// Ends all SSH connections.
    pub(crate) fn hang_up(&self) {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }

    /// Applies records that follow on what was applied.
    pub(crate) async fn apply(&self, records: Vec<Record>) -> Result<(), MasterError> {
        let (replica, source) = (self.replica.clone(), LogSource::new(self.log.clone()));
        let _applying = self.applying.clone().lock_owned().await;
        blocking(move || records.iter().try_for_each(|record| apply_one(&replica, &source, record))).await
    }

    /// Applies what the log has up to `end` and the stores lack.
    pub(crate) async fn apply_through(&self, end: Sequence) -> Result<(), MasterError> {
        while let Some(from) = Sequence::after(self.replica.position()).filter(|from| *from <= end) {
            let read = self.log.read(from, READ_MAX).await;
            let mut records = read.map_err(|error| MasterError::Log(error.to_string()))?;
            records.retain(|record| record.sequence <= end);
            if records.is_empty() {
                break;
            }
            self.apply(records).await?;
        }
        Ok(())
    }

    /// Goes on behind `to`, with what another server has there; see [`Replica::jump`]. Returns how many repositories have to be
    /// copied.
    pub(crate) async fn jump(
        &self,
        to: Tail,
        theirs: Vec<Theirs>,
        later: BTreeSet<RepositoryName>,
    ) -> Result<usize, MasterError> {
        let (replica, log) = (self.replica.clone(), self.log_id);
        let _applying = self.applying.clone().lock_owned().await;
        let lacking = blocking(move || {
            replica.sync().map_err(stores)?;
            replica.jump(log, to, &theirs, &|name| later.contains(name)).map_err(stores)
        });
        let lacking = lacking.await?;
        self.resync.wake();
        Ok(lacking)
    }

    /// Brings the stores to disk, at an orderly end.
    pub(crate) async fn sync(&self) -> Result<(), MasterError> {
        let replica = self.replica.clone();
        blocking(move || replica.sync().map_err(stores)).await
    }

    /// How this server is.
    pub(crate) async fn member(&self, role: Role, state: ServerState, reason: String, lag: Duration) -> Member {
        let reason = if reason.is_empty() { self.resync.summary().unwrap_or_default() } else { reason };
        let end = self.log.end().await.ok().flatten().map(|tail| tail.sequence);
        Member {
            name: self.name().to_owned(),
            role,
            state,
            address: self.options.address.clone(),
            pid: std::process::id(),
            incarnation: Some(self.replica.incarnation()),
            // What a master has appended is durable in the log; a standby promises only what lies on its own disk.
            staged_position: if role == Role::Master { end } else { self.replica.durable_position() },
            position: self.replica.position(),
            lag_seconds: lag.as_secs_f64(),
            reason,
            at_ms: unix_ms(),
            disk: DiskUse {
                log_bytes: self.log.disk_bytes().await.unwrap_or(0),
                staged_bytes: 0,
                store_bytes: self.replica.store_bytes(),
                free_bytes: self.replica.free_bytes().unwrap_or(0),
            },
        }
    }
}

fn stores(error: impl std::fmt::Display) -> MasterError {
    MasterError::Replica(error.to_string())
}

fn apply_one(replica: &Replica, source: &LogSource, record: &Record) -> Result<(), MasterError> {
    let change = source.change(record).map_err(|error| MasterError::Log(error.to_string()))?;
    replica.apply(record, (*change).as_ref()).map_err(stores)?;
    Ok(())
}

/// Redoes what a crash may have torn.
async fn recover(log: &Arc<dyn Log>, replica: &Arc<Replica>) -> Result<(), MasterError> {
    let end = log.end().await.map_err(|error| MasterError::Log(error.to_string()))?;
    let end = end.map(|tail| tail.sequence);
    let (replica, mut source) = (replica.clone(), LogSource::new(log.clone()));
    blocking(move || {
        let recovery = replica.recover(end, &mut |sequence| source.get(sequence)).map_err(stores)?;
        for (name, why) in &recovery.quarantined {
            tracing::error!(repository = %name, why, "in quarantine");
        }
        if recovery.redone > 0 {
            tracing::info!(records = recovery.redone, "redone");
        }
        Ok(())
    })
    .await
}

/// Opens the log for appending, and the stores.
async fn open(options: &MasterOptions) -> Result<(Arc<dyn Log>, Arc<Replica>), MasterError> {
    let log = options.log.open(Access::Append).await.map_err(|error| MasterError::Log(error.to_string()))?;
    let data = options.data.clone();
    let replica = blocking(move || Replica::open(&data).map_err(stores)).await?;
    Ok((log, Arc::new(replica)))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, MasterError> + Send + 'static,
) -> Result<T, MasterError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(stores(error)))
}
