//! How to reach the cluster that keeps a log, and how the log is kept there.

use std::fmt;
use std::path::PathBuf;

use crate::log::LogError;

/// Longest name of a stream, in bytes: subjects and bucket names are made of it.
const STREAM_BYTES_MAX: usize = 64;

/// A log in NATS JetStream: where, and how.
#[derive(Clone, Debug)]
pub struct JetStreamOptions {
    /// The cluster's servers, as `nats://host:4222` or `nats://user:password@host`; each is tried in turn.
    pub servers: Vec<String>,
    /// Name of the stream of records; the other streams' names begin with it.
    pub stream: String,
    /// How many servers keep each record: 1, 3 or 5.
    pub replicas: u8,
    /// A `.creds` file with the user's JWT and key.
    pub credentials: Option<PathBuf>,
    /// A file with a user's nkey seed.
    pub nkey: Option<PathBuf>,
    /// Certificates, where the connection is encrypted.
    pub tls: Option<TlsFiles>,
    /// Monitoring ports (`http://host:8222`), asked at start for the setting that only they tell: `sync_interval`.
    pub monitoring: Vec<String>,
}

/// PEM files of an encrypted connection.
#[derive(Clone, Debug, Default)]
pub struct TlsFiles {
    /// The authority that the servers' certificates are of; the system's authorities where there is none.
    pub ca: Option<PathBuf>,
    /// This server's own certificate, where the cluster asks for one.
    pub certificate: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
}

/// Returns a server's address as it may be shown: without a password.
pub(super) fn shown(server: &str) -> String {
    match (server.split_once("://"), server.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, address))) => format!("{scheme}://{address}"),
        (None, Some((_, address))) => address.to_owned(),
        (_, None) => server.to_owned(),
    }
}

impl fmt::Display for JetStreamOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let servers: Vec<String> = self.servers.iter().map(|server| shown(server)).collect();
        write!(f, "stream {} of {}", self.stream, servers.join(", "))
    }
}

impl JetStreamOptions {
    pub(super) fn check(&self) -> Result<(), LogError> {
        let wrong = |what: String| Err(LogError::Value(what));
        if self.servers.is_empty() {
            return wrong("no server of the log is named: set `servers` in [log]".to_owned());
        }
        let plain = self.stream.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        if self.stream.is_empty() || self.stream.len() > STREAM_BYTES_MAX || !plain {
            return wrong(format!(
                "the stream's name {:?} is not made of 1 to {STREAM_BYTES_MAX} letters, digits, '-' and '_'",
                self.stream
            ));
        }
        if ![1, 3, 5].contains(&self.replicas) {
            return wrong(format!("{} replicas of the log: 1, 3 or 5 can be had", self.replicas));
        }
        if self.credentials.is_some() && self.nkey.is_some() {
            return wrong("both `credentials` and `nkey` are set in [log]: one of them says who this is".to_owned());
        }
        if let Some(TlsFiles { certificate, key, .. }) = &self.tls
            && certificate.is_some() != key.is_some()
        {
            return wrong("of `certificate` and `key` in [log] `tls` only one is set".to_owned());
        }
        Ok(())
    }
}
