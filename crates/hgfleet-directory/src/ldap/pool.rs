//! A few connections, kept open, to the first server that answers.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::connection::{Connection, Connector, Fault};
use super::search::{Entry, Request};
use super::settings::Server;
use crate::DirectoryError;

/// A connection older than this is replaced, so that the first server is used again once it is back.
const AGE_MAX: Duration = Duration::from_secs(300);
/// A server that failed is asked last for so long.
const SHUNNED: Duration = Duration::from_secs(30);
/// All pages of a search together may take so many times one question's limit.
const PAGES_FACTOR: u32 = 6;

/// Connections to one or more servers with the same content.
pub(super) struct Pool {
    servers: Vec<Server>,
    connector: Arc<Connector>,
    connect_limit: Duration,
    limit: Duration,
    idle: Mutex<Vec<Connection>>,
    permits: Semaphore,
    failed: Mutex<Vec<Option<Instant>>>,
}

impl Pool {
    pub(super) fn new(
        servers: Vec<Server>,
        connector: Arc<Connector>,
        connect_limit: Duration,
        limit: Duration,
        connections: usize,
    ) -> Pool {
        let failed = Mutex::new(vec![None; servers.len()]);
        let (idle, permits) = (Mutex::new(Vec::new()), Semaphore::new(connections));
        Pool { servers, connector, connect_limit, limit, idle, permits, failed }
    }

    /// Longest that [`Pool::perform`] may take once it has a connection's place.
    pub(super) fn patience(&self, request: &Request) -> Duration {
        let each = self.connect_limit + self.limit_of(request);
        self.limit_of(request) + each * u32::try_from(self.servers.len()).unwrap_or(u32::MAX)
    }

    /// Asks an open connection, else one server after the other until one answers.
    ///
    /// # Errors
    ///
    /// None of them did; what each said.
    pub(super) async fn perform(&self, request: &Request) -> Result<Vec<Entry>, DirectoryError> {
        let unreachable = |reason: String| DirectoryError::Unreachable { reason };
        let _place = self.permits.acquire().await.map_err(|error| unreachable(error.to_string()))?;
        if let Some(connection) = self.take().await
            && let Ok(entries) = self.ask(connection, request).await
        {
            return Ok(entries);
        }
        let mut reasons = Vec::new();
        for place in self.order() {
            let server = &self.servers[place];
            let opened = timeout(self.connect_limit, self.connector.open(server)).await;
            let answer = match opened {
                Ok(Ok(connection)) => self.ask(connection, request).await,
                Ok(Err(reason)) => Err(reason),
                Err(_) => Err(format!("no connection within {} s", self.connect_limit.as_secs())),
            };
            match answer {
                Ok(entries) => {
                    self.note(place, None);
                    return Ok(entries);
                }
                Err(reason) => {
                    tracing::warn!(%server, reason, "an LDAP server does not answer");
                    self.note(place, Some(Instant::now()));
                    reasons.push(format!("{server}: {reason}"));
                }
            }
        }
        Err(unreachable(reasons.join("; ")))
    }

    /// Asks, and keeps the connection unless it is of no use any more.
    async fn ask(&self, mut connection: Connection, request: &Request) -> Result<Vec<Entry>, String> {
        let limit = self.limit_of(request);
        match timeout(limit, connection.perform(request)).await {
            Ok(Ok(entries)) => {
                self.idle().push(connection);
                Ok(entries)
            }
            Ok(Err(Fault::Refused(reason))) => {
                self.idle().push(connection);
                Err(reason)
            }
            Ok(Err(Fault::Broken(reason))) => Err(reason),
            Err(_) => Err(format!("no answer within {} s", limit.as_secs())),
        }
    }

    async fn take(&self) -> Option<Connection> {
        loop {
            let connection = self.idle().pop()?;
            if connection.opened.elapsed() < AGE_MAX {
                return Some(connection);
            }
            connection.close().await;
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn limit_of(&self, request: &Request) -> Duration {
        match request {
            Request::Pages(_) => self.limit * PAGES_FACTOR,
            Request::Search(_) | Request::Modify { .. } => self.limit,
        }
    }

    fn note(&self, place: usize, failed: Option<Instant>) {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)[place] = failed;
    }

    fn order(&self) -> Vec<usize> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let mut order: Vec<usize> = (0..self.servers.len()).collect();
        order.sort_by_key(|place| failed[*place].is_some_and(|at| at.elapsed() < SHUNNED));
        order
    }
}
