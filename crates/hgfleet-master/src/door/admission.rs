//! Who may come in: connections, logins and sessions, counted on this server.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::bans::Bans;
use super::counts::{Counts, Held};
use super::limits::SshLimits;
use super::newcomers::{Newcomer, Newcomers};
use super::refusal::Refusal;
use super::source::Source;

/// An account's connections for each of its sessions: a client may hold one open for the next command.
const CONNECTIONS_PER_SESSION: usize = 2;

#[derive(Debug)]
pub(super) struct Admission {
    connections: Arc<Semaphore>,
    newcomers: Arc<Newcomers>,
    waiting: Arc<Counts<Source>>,
    bans: Bans,
    account_connections: Arc<Counts<String>>,
    account_sessions: Arc<Counts<String>>,
    source_sessions: Arc<Counts<Source>>,
}

/// A connection's place.
#[derive(Debug)]
pub(super) struct Place(#[expect(dead_code, reason = "held")] OwnedSemaphorePermit);

/// Its place among those that have not logged in yet.
#[derive(Debug)]
pub(super) struct Waiting(
    #[expect(dead_code, reason = "held")] Newcomer,
    #[expect(dead_code, reason = "held")] Held<Source>,
);

/// A session's place.
#[derive(Debug)]
pub(crate) struct SessionPlace(
    #[expect(dead_code, reason = "held")] Held<String>,
    #[expect(dead_code, reason = "held")] Held<Source>,
);

/// A connection that was taken.
pub(super) struct Admitted {
    pub place: Place,
    pub waiting: Waiting,
    /// Says that it has to make room.
    pub ousted: oneshot::Receiver<()>,
}

impl Admission {
    pub(super) fn new(limits: &SshLimits) -> Admission {
        Admission {
            connections: Arc::new(Semaphore::new(limits.connections_max.min(Semaphore::MAX_PERMITS))),
            newcomers: Newcomers::new(limits.unauthenticated_max),
            waiting: Counts::new(limits.unauthenticated_per_address_max),
            bans: Bans::new(limits.bans.clone()),
            account_connections: Counts::new(limits.sessions_per_account_max.saturating_mul(CONNECTIONS_PER_SESSION)),
            account_sessions: Counts::new(limits.sessions_per_account_max),
            source_sessions: Counts::new(limits.sessions_per_address_max),
        }
    }

    /// Takes a connection, or says why not.
    pub(super) fn admit(&self, peer: SocketAddr, now: Instant) -> Result<Admitted, Refusal> {
        let source = Source::of(peer.ip());
        if let Some(left) = self.bans.remaining(source, now) {
            return Err(Refusal::Banned(source, left));
        }
        let place = self.connections.clone().try_acquire_owned().map_err(|_| Refusal::Connections)?;
        let held = self.waiting.enter(source).ok_or_else(|| Refusal::Address(source, self.waiting.bound()))?;
        let (newcomer, ousted) = self.newcomers.enter(now).ok_or(Refusal::Logins)?;
        Ok(Admitted { place: Place(place), waiting: Waiting(newcomer, held), ousted })
    }

    /// A connection's place among those of its account.
    pub(super) fn logged_in(&self, peer: SocketAddr, account: &str) -> Result<Held<String>, String> {
        self.bans.succeeded(peer.ip());
        self.account_connections.enter(account.to_owned()).ok_or_else(|| {
            let bound = self.account_connections.bound();
            format!("refused: {bound} connections are open already, of {account}. Try again when one has ended")
        })
    }

    /// A session's place, or what its client is told.
    pub(super) fn begin_session(&self, peer: SocketAddr, account: &str) -> Result<SessionPlace, String> {
        let refusal = |bound: usize, whose: &dyn std::fmt::Display| {
            format!("refused: {bound} sessions are open already, of {whose}. Try again when one has ended")
        };
        let source = Source::of(peer.ip());
        let of_account = self.account_sessions.enter(account.to_owned());
        let of_account = of_account.ok_or_else(|| refusal(self.account_sessions.bound(), &account))?;
        let of_source = self.source_sessions.enter(source);
        let of_source = of_source.ok_or_else(|| refusal(self.source_sessions.bound(), &source))?;
        Ok(SessionPlace(of_account, of_source))
    }

    /// A connection has ended without the login that it tried.
    pub(super) fn failed(&self, address: IpAddr, now: Instant) {
        if self.bans.failed(address, now) {
            let (source, seconds) = (Source::of(address), self.bans.seconds());
            tracing::warn!(%source, seconds, reason = "too-many-failed-logins", "ssh source banned");
        }
    }
}
