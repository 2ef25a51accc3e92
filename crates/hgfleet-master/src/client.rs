//! What `hgfleet repo` asks of a running master, over `run/master.sock`. Blocking.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::frame;
use crate::protocol::{MASTER_SOCKET, MasterReply, MasterRequest, REPLY_BYTES_MAX};

/// Why a request was not done.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens on the socket.
    #[error("no master is running on {}: {error}. Start it with `hgfleet up` or `hgfleet master`", path.display())]
    NoMaster {
        /// The socket.
        path: PathBuf,
        /// The system's answer.
        error: std::io::Error,
    },
    /// The connection broke before the answer; what was asked may have been done.
    #[error("the master went away before it answered: {0}. Look with `hgfleet repo list` before you try again")]
    Lost(std::io::Error),
    /// The master says no. One line, whole sentence(s).
    #[error("{0}")]
    Refused(String),
}

/// One repository, as the master has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RepositoryLine {
    /// Its name, `team/first`.
    pub name: String,
    /// Sequence of its last record.
    pub sequence: u64,
    /// Digest of its store, hex.
    pub digest: String,
    /// Why it is in quarantine on the master, if it is.
    pub quarantine: Option<String>,
}

/// What `repo verify` found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VerifyAnswer {
    /// Changesets rebuilt and hashed.
    pub changesets: u64,
    /// Revisions of every kind rebuilt and hashed.
    pub revisions: u64,
    /// Problems found on the master, one line each; empty where all is well.
    pub problems: Vec<String>,
    /// Each server's digest at its position.
    pub servers: Vec<ServerDigest>,
}

/// One server's view of a repository.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ServerDigest {
    /// The server's name.
    pub server: String,
    /// Sequence of the repository's last record applied there.
    pub sequence: u64,
    /// Digest of the store there, hex.
    pub digest: String,
}

/// Makes an empty repository; returns the sequence of its record.
pub fn create(run: &Path, name: &str, non_publishing: bool) -> Result<u64, ClientError> {
    stored(ask(run, &MasterRequest::Create { name: name.to_owned(), non_publishing })?)
}

/// Deletes a repository; returns the sequence of the record that does.
pub fn delete(run: &Path, name: &str) -> Result<u64, ClientError> {
    stored(ask(run, &MasterRequest::Delete { name: name.to_owned() })?)
}

/// Lists the repositories, sorted by name.
pub fn list(run: &Path) -> Result<Vec<RepositoryLine>, ClientError> {
    match ask(run, &MasterRequest::List)? {
        MasterReply::List(lines) => Ok(lines),
        other => Err(unexpected(&other)),
    }
}

/// Takes the repository in `path` (a folder with `.hg`) into the fleet under `name`; returns its sequence.
///
/// The folder is read by the master, so it must be readable for the master's user; it is not changed.
pub fn import(run: &Path, path: &Path, name: &str) -> Result<u64, ClientError> {
    let found = path.canonicalize();
    let path = found.map_err(|error| ClientError::Refused(format!("{}: {error}", path.display())))?;
    stored(ask(run, &MasterRequest::Import { path, name: name.to_owned() })?)
}

/// Rebuilds and hashes every revision of a repository and compares the digests of all servers.
pub fn verify(run: &Path, name: &str) -> Result<VerifyAnswer, ClientError> {
    match ask(run, &MasterRequest::Verify { name: name.to_owned() })? {
        MasterReply::Verified(answer) => Ok(answer),
        other => Err(unexpected(&other)),
    }
}

fn ask(run: &Path, request: &MasterRequest) -> Result<MasterReply, ClientError> {
    let path = run.join(MASTER_SOCKET);
    let mut stream = UnixStream::connect(&path).map_err(|error| ClientError::NoMaster { path, error })?;
    frame::write(&mut stream, request).map_err(ClientError::Lost)?;
    match frame::read(&mut stream, REPLY_BYTES_MAX).map_err(ClientError::Lost)? {
        MasterReply::Refused(text) => Err(ClientError::Refused(text)),
        reply => Ok(reply),
    }
}

fn stored(reply: MasterReply) -> Result<u64, ClientError> {
    match reply {
        MasterReply::Stored(sequence) => Ok(sequence),
        other => Err(unexpected(&other)),
    }
}

fn unexpected(reply: &MasterReply) -> ClientError {
    ClientError::Lost(std::io::Error::other(format!("an answer to something else: {reply:?}")))
}
