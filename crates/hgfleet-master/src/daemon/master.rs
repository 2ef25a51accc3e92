//! What all sockets of the daemon share.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hg_policy::PolicyControl;
use hgfleet_access::AccessControl;
use hgfleet_directory::Directory;
use hgfleet_log::{Epoch, Log, LogError, Member, RecordId, RepositoryName, ServerState, StoreKind};
use hgfleet_replica::{ALTERED, Replica, ReplicaError, RepositorySnapshot};
use hgfleet_resync::Resync;
use tokio::sync::{Mutex, Semaphore};

use super::committer::Committer;
use super::digests::Digests;
use super::fate::Fate;
use super::lease::HeldLease;
use super::locks::{Locks, NoLock, WriteLock};
use super::outcome;
use super::peers::Peers;
use super::read_only::FleetReadOnly;
use super::refusals::Refusals;
use super::view::ViewSender;
use crate::door::{Door, PassedOn};
use crate::login::Logins;
use crate::options::{CommandOptions, Landing, StoreFormatName};
use crate::protocol::{Grant, Settled};
use crate::session::Limits;

/// Room on the disk that a push must leave, bytes.
pub(crate) const RESERVE_BYTES: u64 = 64 << 20;

/// How long a mirror may take to leave.
const DRAIN_WAIT: Duration = Duration::from_secs(6);

/// The daemon's state.
pub(crate) struct Master {
    pub name: String,
    pub run: PathBuf,
    pub epoch: Epoch,
    pub log: Arc<dyn Log>,
    pub replica: Arc<Replica>,
    pub resync: Arc<Resync>,
    pub locks: Locks,
    pub committer: Arc<Committer>,
    pub view: ViewSender,
    pub lease: Arc<HeldLease>,
    pub directory: Arc<dyn Directory>,
    pub access: Arc<AccessControl>,
    pub policy: Arc<PolicyControl>,
    pub peers: Peers,
    pub logins: Arc<Logins>,
    pub session_limits: Limits,
    pub passed_on: PassedOn,
    pub landing: Landing,
    pub door: Arc<Door>,
    pub digests: Digests,
    pub fate: Fate,
    /// Names are given one at a time: a name may collide with another that is just being given.
    pub naming: Mutex<()>,
    /// Held while the lease is handed over, until whoever asked for that was answered.
    pub handing: Mutex<()>,
    pub commands: CommandOptions,
    /// Slots of those who copy a repository.
    pub copying: Semaphore,
    /// Places of objects that are being uploaded.
    pub uploading: Semaphore,
    /// Why the whole fleet takes no pushes.
    pub fleet_read_only: FleetReadOnly,
    /// Why pushes were refused.
    pub refusals: Refusals,
    pub format: StoreFormatName,
    pub deletion_grace: Duration,
    pub lock_wait: Duration,
    pub lock_limit: Duration,
    pub push_bytes_max: u64,
}

/// Why something is not done: one line for the client.
pub(crate) struct No {
    pub text: String,
    pub kind: NoKind,
}

/// What whoever asked can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoKind {
    /// What the text says.
    Refused,
    /// The same, and an operator must look.
    Failed,
    /// Ask the master: this server isn't, or won't be for long.
    NotMaster,
}

impl No {
    pub(crate) fn refused(text: impl Into<String>) -> No {
        No { text: text.into(), kind: NoKind::Refused }
    }

    pub(crate) fn failed(text: impl Into<String>) -> No {
        No { text: text.into(), kind: NoKind::Failed }
    }

    pub(crate) fn not_master() -> No {
        let text = "refused: this server is not the master any more, on this request. Try again in a moment".to_owned();
        No { text, kind: NoKind::NotMaster }
    }
}

impl Master {
    /// The repository as of its last record here.
    pub(crate) fn grant(&self, name: &RepositoryName) -> Result<(Grant, [u8; 32]), No> {
        let RepositorySnapshot { path, index, state, sequence, digest, folder } =
            self.replica.snapshot(name).map_err(|error| refusal(name, &error))?;
        Ok((Grant { path, index, state, sequence: sequence.get(), folder }, digest))
    }

    /// Takes the write lock, and makes sure that the store has the repository's last record.
    pub(crate) async fn lock(&self, name: &RepositoryName) -> Result<(WriteLock, Grant, [u8; 32]), No> {
        if !self.takes_pushes() {
            return Err(No::not_master());
        }
        // What does not exist needs no lock.
        self.grant(name)?;
        self.check_room(name, 0)?;
        let lock = self.locks.take(name, self.lock_wait).await.map_err(|no| match no {
            NoLock::Closed => No::not_master(),
            NoLock::Held => {
                No::refused(format!("refused: other pushes hold the write lock, on {name}. Push again in a while"))
            }
        })?;
        let last = self.log.last_of(name).await.map_err(|error| {
            tracing::error!(%error, repository = %name, "the log can't be read");
            No::failed(format!("refused: the log can't be read, on {name}. Push again in a minute"))
        })?;
        let last = last.filter(|record| record.store().is_some_and(|store| store.kind != StoreKind::Delete));
        let Some(last) = last else { return Err(refusal(name, &ReplicaError::NotFound(name.clone()))) };
        self.look(name).await?;
        self.bring_here(name).await?;
        let (grant, digest) = self.grant(name)?;
        let after = last.store().and_then(|store| store.after);
        if grant.sequence != last.sequence.get() || after != Some(digest) {
            tracing::error!(repository = %name, store = grant.sequence, log = %last.sequence, "the store is not as the log says");
            return Err(No::failed(format!(
                "refused: the store has not caught up with the log, on {name}. Push again in a minute"
            )));
        }
        Ok((lock, grant, digest))
    }

    /// Whether it is sure to be the master still, and means to stay it.
    pub(crate) fn takes_pushes(&self) -> bool {
        !self.fate.has_ended() && !self.locks.are_closed() && self.lease.may_read()
    }

    /// Makes sure that nobody else wrote to the store: before anything is committed that could not be applied then.
    async fn look(&self, name: &RepositoryName) -> Result<(), No> {
        let (replica, of) = (self.replica.clone(), name.clone());
        let looked = tokio::task::spawn_blocking(move || replica.look(&of)).await;
        match looked {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                self.resync.wake();
                Err(refusal(name, &error))
            }
            Err(error) => Err(No::failed(error.to_string())),
        }
    }

    /// Copies a repository that lies in an older tree of a shared volume, before anything is committed that is written to it.
    async fn bring_here(&self, name: &RepositoryName) -> Result<(), No> {
        let Some(bytes) = self.replica.lies_elsewhere(name) else { return Ok(()) };
        self.check_room(name, bytes / 3)?;
        let (replica, of) = (self.replica.clone(), name.clone());
        let brought = tokio::task::spawn_blocking(move || replica.bring_here(&of)).await;
        brought.map_err(|error| No::failed(error.to_string()))?.map_err(|error| {
            tracing::error!(repository = %name, %error, "the repository can't be copied from an older tree");
            // A reading of all of it tells whether the original is damaged, which is then repaired.
            self.resync.suspect(name);
            No::failed(format!(
                "refused: the repository can't be copied for this master, {name}. Push again in a minute"
            ))
        })
    }

    /// Looks whether there is room for this many bytes more, in the log, in the stores and on the way.
    pub(crate) fn check_room(&self, name: &RepositoryName, bytes: u64) -> Result<(), No> {
        let needed = bytes.saturating_mul(3).saturating_add(RESERVE_BYTES);
        match self.replica.free_bytes() {
            Ok(free) if free < needed => {
                tracing::error!(repository = %name, free, needed, "the disk is full");
                Err(No::failed(format!(
                    "refused: the server's disk is full ({free} bytes are free and {needed} are needed), on {name}. Tell the administrators"
                )))
            }
            Ok(_) => Ok(()),
            Err(error) => {
                tracing::error!(%error, "free space is not known");
                Ok(())
            }
        }
    }

    /// What became of a push of an earlier daemon, or of this one.
    pub(crate) async fn outcome(&self, id: &RecordId, epoch: u64) -> Result<Settled, No> {
        if self.committer.is_in_flight(id) {
            return Ok(Settled::Pending);
        }
        outcome::settled(self.log.as_ref(), id, epoch).await.map_err(|error| {
            tracing::error!(%error, "the log can't be read");
            No::failed("refused: the log can't be read, on the master. Try again in a minute")
        })
    }

    /// Takes a mirror out of service, which is done when this returns; or lets it in again, which it has heard by then. Either
    /// outlives this server.
    pub(crate) async fn drain(&self, name: &str, drain: bool) -> Result<(), No> {
        let (answer, receiver) = tokio::sync::oneshot::channel();
        let _ = self.view.send(super::view::ViewInput::Drain { name: name.to_owned(), drain, answer });
        match receiver.await {
            Ok(asked) => asked.map_err(No::refused)?,
            Err(_) => return Err(No::not_master()),
        }
        let started = tokio::time::Instant::now();
        while started.elapsed() < DRAIN_WAIT {
            let failed = |error: LogError| No::failed(error.to_string());
            let view = self.log.view().await.map_err(failed)?;
            let is_in_view = view.is_some_and(|view| view.mirrors.iter().any(|mirror| mirror.name == name));
            let is_draining = |member: &Member| member.name == name && member.state == ServerState::Draining;
            if is_in_view != drain || (!drain && !self.log.members().await.map_err(failed)?.iter().any(is_draining)) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let what = if drain { "leave" } else { "serve again" };
        Err(No::failed(format!("{name} was asked to {what}, and has not answered. Look at `hgfleet status`")))
    }
}

/// What a client reads of a repository that can't be had.
pub(crate) fn refusal(name: &RepositoryName, error: &ReplicaError) -> No {
    match error {
        ReplicaError::NotFound(_) => No::refused(format!(
            "refused: the repository does not exist, {name}. Look at its spelling, or ask an administrator to create it"
        )),
        ReplicaError::Quarantined { reason, .. } => {
            tracing::error!(repository = %name, %error, "repository in quarantine");
            if reason.contains(ALTERED) {
                return No::failed(format!(
                    "refused: {ALTERED} on the master, {name}. Tell the administrators: `hgfleet repo resync {name}` puts a mirror's copy in its place"
                ));
            }
            No::failed(format!("refused: the repository is being repaired, {name}. Try again in a while"))
        }
        error => {
            tracing::error!(repository = %name, %error, "repository can't be served");
            No::failed(format!("refused: the repository can't be served now, {name}. Try again in a while"))
        }
    }
}
