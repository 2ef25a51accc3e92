//! Requests to the cluster: each is sent once, and what is not known of its outcome is said.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::{HeaderMap, Message, Request, RequestErrorKind};
use bytes::Bytes;
use serde_json::Value;
use tokio::sync::{Mutex, watch};

use super::Options;
use super::options::shown;
use super::session::Session;
use crate::ids::Sequence;
use crate::log::LogError;

/// How long a request may take.
const REQUEST_TIME: Duration = Duration::from_secs(5);
/// "wrong last sequence", of a stream or of a subject: with the last one's number, and without.
const WRONG_LAST_SEQUENCE: [u64; 2] = [10071, 10164];
/// "no message found" and "stream not found".
const NO_MESSAGE: u64 = 10037;
const NO_STREAM: u64 = 10059;

/// Why a request came to nothing, and what is certain then.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// It was never sent, or nobody was there to get it: nothing has happened.
    #[error("{0}")]
    NotSent(String),
    /// It may have been done or not.
    #[error("{0}")]
    Unknown(String),
    /// The expected sequence is not the last one. Nothing was stored.
    #[error("wrong last sequence")]
    WrongLastSequence,
    /// There is no such message or stream.
    #[error("not found")]
    Absent,
    /// The server said no.
    #[error("{description} (error {code})")]
    Refused {
        /// JetStream's error code.
        code: u64,
        /// What it says.
        description: String,
    },
}

impl Trouble {
    /// Folds it into the error of a log, naming what was asked.
    pub(super) fn of(what: &'static str) -> impl Fn(Trouble) -> LogError {
        move |trouble| LogError::Server { what, why: trouble.to_string() }
    }
}

/// The way to the cluster: one connection at a time, another server when one doesn't answer.
#[derive(Debug)]
pub(super) struct Link {
    options: Options,
    hints_subject: String,
    hints: watch::Sender<Option<Sequence>>,
    session: Mutex<Option<Arc<Session>>>,
    next_server: AtomicUsize,
}

impl Link {
    pub(super) fn new(options: Options, hints_subject: String, hints: watch::Sender<Option<Sequence>>) -> Link {
        // Servers of one fleet don't all begin with the same one.
        let next_server = AtomicUsize::new(std::process::id() as usize);
        Link { options, hints_subject, hints, session: Mutex::new(None), next_server }
    }

    /// Returns a connection, the one that there is or a new one.
    pub(super) async fn session(&self) -> Result<Arc<Session>, Trouble> {
        let mut current = self.session.lock().await;
        if let Some(session) = current.as_ref().filter(|session| session.is_usable()) {
            return Ok(session.clone());
        }
        *current = None;
        let mut why = String::new();
        for _ in &self.options.servers {
            let at = self.next_server.fetch_add(1, Ordering::Relaxed) % self.options.servers.len();
            let server = &self.options.servers[at];
            match Session::dial(&self.options, server, self.hints_subject.clone(), self.hints.clone()).await {
                Ok(session) => {
                    tracing::debug!(server = session.server, "connected to a server of the log");
                    let session = Arc::new(session);
                    *current = Some(session.clone());
                    return Ok(session);
                }
                Err(error) => {
                    let separator = if why.is_empty() { "" } else { "; " };
                    why = format!("{why}{separator}{}: {error}", shown(server));
                }
            }
        }
        Err(Trouble::NotSent(format!("no server of the log can be reached: {why}")))
    }

    /// Asks once and returns the answer as it came.
    pub(super) async fn ask(
        &self,
        subject: String,
        headers: Option<HeaderMap>,
        payload: Bytes,
    ) -> Result<Message, Trouble> {
        let session = self.session().await?;
        let request = Request { payload: Some(payload), headers, timeout: Some(Some(REQUEST_TIME)), inbox: None };
        let answer = tokio::select! {
            answer = session.client.send_request(subject, request) => answer,
            () = session.lost() => return Err(Trouble::Unknown(format!("the connection to {} is lost", session.server))),
        };
        let error = match answer {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        match error.kind() {
            // No stream has a leader that listens: nobody got it.
            RequestErrorKind::NoResponders => {
                session.retire();
                Err(Trouble::NotSent(format!("no stream of the log answers at {}", session.server)))
            }
            RequestErrorKind::InvalidSubject | RequestErrorKind::MaxPayloadExceeded => {
                Err(Trouble::NotSent(error.to_string()))
            }
            RequestErrorKind::TimedOut | RequestErrorKind::Other => {
                session.retire();
                Err(Trouble::Unknown(format!("{}: {error}", session.server)))
            }
        }
    }

    /// Asks JetStream's interface; `Ok` is an answer that is no error.
    pub(super) async fn api(&self, call: &str, payload: &Value) -> Result<Value, Trouble> {
        let answer = self.ask(format!("$JS.API.{call}"), None, payload.to_string().into()).await?;
        read_answer(&answer)
    }

    /// Publishes to a stream and returns the sequence that the message got there.
    pub(super) async fn publish(&self, subject: String, headers: HeaderMap, payload: Bytes) -> Result<u64, Trouble> {
        let answer = read_answer(&self.ask(subject, Some(headers), payload).await?)?;
        match answer.get("seq").and_then(Value::as_u64) {
            Some(sequence) if answer.get("duplicate").and_then(Value::as_bool) != Some(true) => Ok(sequence),
            _ => Err(Trouble::Unknown(format!("an answer that acknowledges nothing: {answer}"))),
        }
    }

    /// Says on the connection that there is that the log has grown. Nothing depends on it.
    pub(super) async fn hint(&self, sequence: Sequence) {
        let current = self.session.try_lock().ok().and_then(|current| current.clone());
        if let Some(session) = current.filter(|session| session.is_usable()) {
            let number = Bytes::from(sequence.to_string());
            if let Err(error) = session.client.publish(self.hints_subject.clone(), number).await {
                tracing::debug!(%error, "followers were not told of an append");
            }
        }
    }

    /// Returns what is known of the log's end, to be raised and watched.
    pub(super) fn hints(&self) -> &watch::Sender<Option<Sequence>> {
        &self.hints
    }
}

fn read_answer(answer: &Message) -> Result<Value, Trouble> {
    let value: Value = serde_json::from_slice(&answer.payload)
        .map_err(|error| Trouble::Unknown(format!("an answer that is none: {error}")))?;
    let Some(error) = value.get("error").filter(|error| !error.is_null()) else { return Ok(value) };
    let code = error.get("err_code").and_then(Value::as_u64).unwrap_or(0);
    if WRONG_LAST_SEQUENCE.contains(&code) {
        return Err(Trouble::WrongLastSequence);
    }
    if code == NO_MESSAGE || code == NO_STREAM {
        return Err(Trouble::Absent);
    }
    let description = error.get("description").and_then(Value::as_str).unwrap_or("no reason given").to_owned();
    Err(Trouble::Refused { code, description })
}
