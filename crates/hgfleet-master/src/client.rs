//! What `hgfleet repo` and `hgfleet failover` ask of the running master, over its `master.sock`. Blocking.
//!
//! Where there are several servers that can be master, the one that is gets asked, and while none is, that is waited for.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::frame;
use crate::protocol::{MASTER_SOCKET, MasterReply, MasterRequest, REPLY_BYTES_MAX};

/// How long a moment without a master is waited for.
const MASTER_WAIT: Duration = Duration::from_secs(15);
/// How long a server may take to say whether it is the master.
const WHO_WAIT: Duration = Duration::from_secs(2);
/// The pause before all are asked again.
const PAUSE: Duration = Duration::from_millis(50);

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
    /// Servers answer, and none is the master.
    #[error("no server is master after {} s; look with `hgfleet status`", MASTER_WAIT.as_secs())]
    NobodyIsMaster,
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

/// A hand-over that was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandedOver {
    /// The new master's name.
    pub to: String,
    /// Its epoch.
    pub epoch: u64,
    /// How long that took, from the first lock that was not given on.
    pub took: Duration,
}

/// Hands the lease over to this standby, or to the one that lags least.
pub fn failover(run: &Path, to: Option<&str>) -> Result<HandedOver, ClientError> {
    match ask(run, &MasterRequest::Failover { to: to.map(str::to_owned) })? {
        MasterReply::HandedOver { to, epoch, milliseconds } => {
            Ok(HandedOver { to, epoch, took: Duration::from_millis(milliseconds) })
        }
        other => Err(unexpected(&other)),
    }
}

/// Takes a mirror out of service (`drain`), or lets it in again.
pub fn drain(run: &Path, name: &str, drain: bool) -> Result<(), ClientError> {
    match ask(run, &MasterRequest::Drain { name: name.to_owned(), drain })? {
        MasterReply::Done => Ok(()),
        other => Err(unexpected(&other)),
    }
}

fn ask(run: &Path, request: &MasterRequest) -> Result<MasterReply, ClientError> {
    let started = Instant::now();
    loop {
        if let Some(path) = master(run)? {
            match exchange(&path, request, None).map_err(ClientError::Lost)? {
                MasterReply::Refused(text) => return Err(ClientError::Refused(text)),
                // It was, a moment ago.
                MasterReply::NotMaster => {}
                reply => return Ok(reply),
            }
        }
        if started.elapsed() > MASTER_WAIT {
            return Err(ClientError::NobodyIsMaster);
        }
        std::thread::sleep(PAUSE);
    }
}

/// The socket of the server that is master; none where those that answer are not.
fn master(run: &Path) -> Result<Option<PathBuf>, ClientError> {
    let mut best = None;
    let mut answered = false;
    let mut silent = (run.join("NAME").join(MASTER_SOCKET), std::io::ErrorKind::NotFound.into());
    for path in sockets(run, MASTER_SOCKET) {
        match exchange(&path, &MasterRequest::Who, Some(WHO_WAIT)) {
            Ok(MasterReply::Who { is_master, epoch }) => {
                answered = true;
                if is_master && best.as_ref().is_none_or(|(other, _)| *other < epoch) {
                    best = Some((epoch, path));
                }
            }
            Ok(other) => return Err(unexpected(&other)),
            Err(error) => silent = (path, error),
        }
    }
    let (path, error) = silent;
    if answered { Ok(best.map(|(_, path)| path)) } else { Err(ClientError::NoMaster { path, error }) }
}

/// The sockets of this name of all servers on this machine that can be master.
pub(crate) fn sockets(run: &Path, socket: &str) -> Vec<PathBuf> {
    let Ok(folder) = std::fs::read_dir(run) else { return Vec::new() };
    let mut found: Vec<PathBuf> =
        folder.filter_map(|entry| Some(entry.ok()?.path().join(socket))).filter(|path| path.exists()).collect();
    found.sort();
    found
}

fn exchange(path: &Path, request: &MasterRequest, wait: Option<Duration>) -> std::io::Result<MasterReply> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(wait)?;
    frame::write(&mut stream, request)?;
    frame::read(&mut stream, REPLY_BYTES_MAX)
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
