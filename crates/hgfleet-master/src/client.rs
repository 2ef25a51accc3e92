//! What `hgfleet repo` asks of a running master, over `run/master.sock`. Blocking.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Why a request was not done.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens on the socket.
    #[error("no master is running on {}: {source}. Start it with `hgfleet up` or `hgfleet master`", path.display())]
    NoMaster {
        /// The socket.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
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
pub fn create(_run: &Path, _name: &str, _non_publishing: bool) -> Result<u64, ClientError> {
    todo!()
}

/// Deletes a repository; returns the sequence of the record that does.
pub fn delete(_run: &Path, _name: &str) -> Result<u64, ClientError> {
    todo!()
}

/// Lists the repositories, sorted by name.
pub fn list(_run: &Path) -> Result<Vec<RepositoryLine>, ClientError> {
    todo!()
}

/// Takes the repository in `path` (a folder with `.hg`) into the fleet under `name`; returns its sequence.
///
/// The folder is read by the master, so it must be readable for the master's user; it is not changed.
pub fn import(_run: &Path, _path: &Path, _name: &str) -> Result<u64, ClientError> {
    todo!()
}

/// Rebuilds and hashes every revision of a repository and compares the digests of all servers.
pub fn verify(_run: &Path, _name: &str) -> Result<VerifyAnswer, ClientError> {
    todo!()
}
