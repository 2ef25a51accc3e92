//! What one server keeps while its role changes: log, stores, door.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hg_policy::PolicyControl;
use hgfleet_access::AccessControl;
use hgfleet_directory::Directory;
use hgfleet_log::{Access, DiskUse, Log, LogId, Member, Record, RepositoryName, Role, Sequence, ServerState, Tail};
use hgfleet_replica::{Replica, Theirs};
use tokio::task::JoinSet;

use super::again::again;
use super::epoch::Taken;
use super::listen::prepare_run_folder;
use super::peers::Peers;
use super::redo::LogSource;
use super::stores::{Kept, Stores};
use super::volume;
use crate::clock::unix_ms;
use crate::door::{Door, PassedOn, session_program};
use crate::login::Logins;
use crate::options::{MasterError, MasterOptions};
use crate::session::Limits;

/// Records applied at once.
const READ_MAX: usize = 256;
/// Where a server whose stores lie in a shared volume keeps how far it has read the log.
const NOTES: &str = "volume";

/// One server, master or standby.
pub(crate) struct Server {
    pub options: MasterOptions,
    /// The server's own folder of sockets, absolute.
    pub run: PathBuf,
    pub log: Arc<dyn Log>,
    pub log_id: LogId,
    /// What this server has on its own disk: its stores, or, where those lie in a shared volume, how far it has read the log.
    pub own: Arc<Replica>,
    /// The stores; with a shared volume none but as master.
    pub stores: Kept,
    /// Held while records are applied that are not tried again: a repair that must not miss one waits for it.
    applying: Arc<tokio::sync::Mutex<()>>,
    pub directory: Arc<dyn Directory>,
    pub access: Arc<AccessControl>,
    pub policy: Arc<PolicyControl>,
    pub peers: Peers,
    pub logins: Arc<Logins>,
    pub session_limits: Limits,
    pub passed_on: PassedOn,
    pub door: Arc<Door>,
    /// SSH connections. They outlive the role in which they were taken: their sessions find the next master.
    connections: Mutex<JoinSet<()>>,
}

impl Server {
    /// Opens log and stores, and redoes what a crash may have torn.
    pub(crate) async fn open(options: MasterOptions) -> Result<Arc<Server>, MasterError> {
        let run = prepare_run_folder(&options.run, &options.name)?;
        let directory = options.directory.open()?;
        let access = AccessControl::of(options.access.clone(), options.commands.user_repositories);
        let access = Arc::new(access.map_err(MasterError::Access)?);
        let policy = Arc::new(PolicyControl::of(options.policy.clone()).map_err(MasterError::Policy)?);
        let (log, own) = open(&options).await?;
        let peers = Peers::default();
        let limits = Limits {
            address_space_bytes: options.session.address_space_bytes,
            memory_bytes: options.session.memory_bytes,
            cpu_seconds: options.session.cpu_seconds,
            open_files: options.session.open_files,
        };
        let sessions = session_program(options.program.clone(), run.clone(), limits, peers.clone());
        let logins = Arc::new(Logins::open(&options.login, directory.clone())?);
        let door =
            Door::new(&options.host_key, options.ssh.clone(), options.landing.clone(), logins.clone(), sessions)?;
        let log_id = log.identity().await;
        let connections = Mutex::new(JoinSet::new());
        if options.volume.is_none() {
            recover(&log, &own).await?;
        } else {
            // Without stores there is nothing to redo.
            let notes = own.clone();
            blocking(move || notes.recover(None, &mut |_| Ok(None)).map(drop).map_err(stores)).await?;
        }
        let applying = Arc::new(tokio::sync::Mutex::new(()));
        let kept = Kept::default();
        if options.volume.is_none() {
            kept.set(Stores::start(&options, &log, own.clone(), &applying)?);
        }
        Ok(Arc::new(Server {
            options,
            run,
            log,
            log_id,
            own,
            stores: kept,
            applying,
            directory,
            access,
            policy,
            peers,
            logins,
            session_limits: limits,
            passed_on: PassedOn::default(),
            door,
            connections,
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

    /// The stores, or where there are none now, what stands for them.
    fn followed(&self) -> Arc<Replica> {
        self.stores.get().map_or_else(|| self.own.clone(), |stores| stores.replica.clone())
    }

    /// Applies records that follow on what was applied. A standby without stores takes notice of them.
    pub(crate) async fn apply(&self, records: Vec<Record>) -> Result<(), MasterError> {
        let _applying = self.applying.clone().lock_owned().await;
        let Some(kept) = self.stores.get() else {
            let own = self.own.clone();
            return blocking(move || records.iter().try_for_each(|record| own.pass(record)).map_err(stores)).await;
        };
        let source = LogSource::new(self.log.clone());
        blocking(move || records.iter().try_for_each(|record| apply_one(&kept.replica, &source, record))).await
    }

    /// Makes the stores those of an epoch that was taken: all that the log has up to its record is applied.
    pub(crate) async fn take_over(&self, taken: &Taken) -> Result<Arc<Stores>, MasterError> {
        if let (Some(options), Some(plan)) = (&self.options.volume, taken.plan) {
            let replica = volume::open(self, options, plan, taken).await?;
            self.stores.set(Stores::start(&self.options, &self.log, replica, &self.applying)?);
        }
        self.apply_through(taken.tail.sequence).await?;
        self.stores.get().ok_or_else(|| stores("there are none"))
    }

    /// Ends what was begun by [`Self::take_over`]: from here on this server writes to no tree.
    pub(crate) async fn leave(&self) -> Result<(), MasterError> {
        if self.options.volume.is_none() {
            return Ok(());
        }
        let Some(kept) = self.stores.take() else { return Ok(()) };
        blocking(move || kept.replica.sync().map_err(stores)).await
    }

    /// Applies what the log has up to `end` and the stores lack.
    pub(crate) async fn apply_through(&self, end: Sequence) -> Result<(), MasterError> {
        while let Some(from) = Sequence::after(self.followed().position()).filter(|from| *from <= end) {
            let read = again(|| self.log.read(from, READ_MAX));
            let mut records = read.await.map_err(|error| MasterError::Log(error.to_string()))?;
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
        let (replica, log) = (self.followed(), self.log_id);
        let _applying = self.applying.clone().lock_owned().await;
        let lacking = blocking(move || {
            replica.sync().map_err(stores)?;
            replica.jump(log, to, &theirs, &|name| later.contains(name)).map_err(stores)
        });
        let lacking = lacking.await?;
        if let Some(kept) = self.stores.get() {
            kept.resync.wake();
        }
        Ok(lacking)
    }

    /// Brings the stores to disk, at an orderly end.
    pub(crate) async fn sync(&self) -> Result<(), MasterError> {
        let (own, followed) = (self.own.clone(), self.followed());
        blocking(move || own.sync().and_then(|()| followed.sync()).map_err(stores)).await
    }

    /// How this server is.
    pub(crate) async fn member(&self, role: Role, state: ServerState, reason: String, lag: Duration) -> Member {
        let (kept, followed) = (self.stores.get(), self.followed());
        let reason = match (&kept, &self.options.volume) {
            _ if !reason.is_empty() => reason,
            (Some(kept), None) => kept.resync.summary().unwrap_or_default(),
            (Some(kept), Some(_)) => kept.resync.summary().unwrap_or_else(|| volume::summary(&followed)),
            (None, _) => String::new(),
        };
        let end = self.log.end().await.ok().flatten().map(|tail| tail.sequence);
        Member {
            name: self.name().to_owned(),
            role,
            state,
            address: self.options.address.clone(),
            pid: std::process::id(),
            incarnation: Some(self.own.incarnation()),
            // What a master has appended is durable in the log; a standby promises only what lies on its own disk.
            staged_position: if role == Role::Master { end } else { followed.durable_position() },
            position: followed.position(),
            lag_seconds: lag.as_secs_f64(),
            reason,
            at_ms: unix_ms(),
            disk: DiskUse {
                log_bytes: self.log.disk_bytes().await.unwrap_or(0),
                staged_bytes: 0,
                store_bytes: followed.store_bytes(),
                free_bytes: followed.free_bytes().unwrap_or(0),
            },
        }
    }
}

pub(super) fn stores(error: impl std::fmt::Display) -> MasterError {
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
    // Stores that it had before it shared a volume are left alone.
    let data = if options.volume.is_some() { options.data.join(NOTES) } else { options.data.clone() };
    let replica = blocking(move || Replica::open(&data).map_err(stores)).await?;
    Ok((log, Arc::new(replica)))
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, MasterError> + Send + 'static,
) -> Result<T, MasterError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(stores(error)))
}
