//! What `hgfleet repo` and `hgfleet failover` ask of the running master, over its `master.sock`. Blocking.
//!
//! Where there are several servers that can be master, the one that is gets asked, and while none is, that is waited for.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::frame;
use crate::protocol::{
    CloneBundlesChange, MASTER_SOCKET, MasterReply, MasterRequest, PullBundlesChange, REPLY_BYTES_MAX,
};

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

/// A repository that was deleted, and can be brought back.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeletedLine {
    /// Its name then.
    pub name: String,
    /// The record that deleted it.
    pub sequence: u64,
    /// When it was deleted: Unix time in milliseconds.
    pub at_ms: u64,
    /// Until when it is kept, likewise.
    pub until_ms: u64,
}

/// What `repo config` shows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ConfigAnswer {
    /// The record that changed it; none where it was so already.
    pub stored: Option<u64>,
    /// Content of the repository's `hgrc`; empty where it has none.
    pub hgrc: Vec<u8>,
}

/// A clone bundle that is to be added.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NewCloneBundle {
    /// What it is: of a bundle that is made one of [`hg_wire::bundle_file::BundleType`], of others any `BUNDLESPEC`.
    pub kind: String,
    /// Where clients get it.
    pub source: CloneBundleSource,
    /// Further words of its line, `KEY=VALUE`.
    pub attributes: Vec<String>,
    /// Whether others of this kind, from the same kind of place, go.
    pub replace: bool,
}

/// Where clients get a clone bundle.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum CloneBundleSource {
    /// From the fleet's own servers: it is made now.
    Inline,
    /// From elsewhere: it is there already.
    Url(String),
}

/// What `repo clone-bundle` shows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CloneBundlesAnswer {
    /// The record that changed it; none where only the list was asked for.
    pub stored: Option<u64>,
    /// Content of the repository's `clonebundles.manifest`; empty where it has none.
    pub manifest: Vec<u8>,
}

/// A pull bundle that is to be made and added.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NewPullBundle {
    /// What it is, by the name of a [`hg_wire::bundle_file::BundleType`] other than that of streams.
    pub kind: String,
    /// Changesets that are in it with their ancestors: hashes, bookmarks, tags, branches.
    pub heads: Vec<String>,
    /// Those that are not, with theirs.
    pub bases: Vec<String>,
}

/// What `repo pull-bundle` shows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PullBundlesAnswer {
    /// The record that changed it; none where only the list was asked for.
    pub stored: Option<u64>,
    /// Content of the repository's `pullbundles.manifest`; empty where it has none.
    pub manifest: Vec<u8>,
    /// Whether `server.pullbundle` is set: else nobody gets them.
    pub is_heeded: bool,
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

/// Lists the repositories that were deleted and are kept on the master, the oldest deletion first.
pub fn list_deleted(run: &Path) -> Result<Vec<DeletedLine>, ClientError> {
    match ask(run, &MasterRequest::ListDeleted)? {
        MasterReply::Deleted(lines) => Ok(lines),
        other => Err(unexpected(&other)),
    }
}

/// Brings back the repository of this name that was deleted last, under `new_name` if that is given; returns the sequence of
/// the record that does.
pub fn restore(run: &Path, name: &str, new_name: Option<&str>) -> Result<u64, ClientError> {
    stored(ask(run, &MasterRequest::Restore { name: name.to_owned(), new_name: new_name.map(str::to_owned) })?)
}

/// Gives a repository another name; returns the sequence of the record that does.
pub fn rename(run: &Path, name: &str, new_name: &str) -> Result<u64, ClientError> {
    stored(ask(run, &MasterRequest::Rename { name: name.to_owned(), new_name: new_name.to_owned() })?)
}

/// Sets and unsets keys of a repository's `hgrc`, each named `section.name`, in one record, and returns what is in it then.
pub fn config(run: &Path, name: &str, set: &[(String, String)], unset: &[String]) -> Result<ConfigAnswer, ClientError> {
    let request = MasterRequest::Config { name: name.to_owned(), set: set.to_vec(), unset: unset.to_vec() };
    match ask(run, &request)? {
        MasterReply::Config(answer) => Ok(answer),
        other => Err(unexpected(&other)),
    }
}

/// Returns a repository's clone bundles.
pub fn clone_bundles(run: &Path, name: &str) -> Result<CloneBundlesAnswer, ClientError> {
    change_clone_bundles(run, name, None)
}

/// Adds a clone bundle on every server, in one record; returns all that there are then.
pub fn add_clone_bundle(run: &Path, name: &str, new: NewCloneBundle) -> Result<CloneBundlesAnswer, ClientError> {
    change_clone_bundles(run, name, Some(CloneBundlesChange::Add(new)))
}

/// Removes the clone bundle of a URL, or an inline one by its file name; returns those that are left.
pub fn remove_clone_bundle(run: &Path, name: &str, which: &str) -> Result<CloneBundlesAnswer, ClientError> {
    change_clone_bundles(run, name, Some(CloneBundlesChange::Remove(which.to_owned())))
}

fn change_clone_bundles(
    run: &Path,
    name: &str,
    change: Option<CloneBundlesChange>,
) -> Result<CloneBundlesAnswer, ClientError> {
    match ask(run, &MasterRequest::CloneBundles { name: name.to_owned(), change })? {
        MasterReply::CloneBundles(answer) => Ok(answer),
        other => Err(unexpected(&other)),
    }
}

/// Returns a repository's pull bundles.
pub fn pull_bundles(run: &Path, name: &str) -> Result<PullBundlesAnswer, ClientError> {
    change_pull_bundles(run, name, None)
}

/// Makes a pull bundle and adds it on every server, in one record; returns all that there are then.
pub fn add_pull_bundle(run: &Path, name: &str, new: NewPullBundle) -> Result<PullBundlesAnswer, ClientError> {
    change_pull_bundles(run, name, Some(PullBundlesChange::Add(new)))
}

/// Removes the pull bundle of a file name; returns those that are left.
pub fn remove_pull_bundle(run: &Path, name: &str, which: &str) -> Result<PullBundlesAnswer, ClientError> {
    change_pull_bundles(run, name, Some(PullBundlesChange::Remove(which.to_owned())))
}

fn change_pull_bundles(
    run: &Path,
    name: &str,
    change: Option<PullBundlesChange>,
) -> Result<PullBundlesAnswer, ClientError> {
    match ask(run, &MasterRequest::PullBundles { name: name.to_owned(), change })? {
        MasterReply::PullBundles(answer) => Ok(answer),
        other => Err(unexpected(&other)),
    }
}

/// Returns why a repository takes no pushes, or without a name why none does, having set or removed (`change`) the reason; none
/// where it takes them.
pub fn read_only(
    run: &Path,
    name: Option<&str>,
    change: Option<Option<String>>,
) -> Result<Option<String>, ClientError> {
    match ask(run, &MasterRequest::ReadOnly { name: name.map(str::to_owned), change })? {
        MasterReply::ReadOnly(reason) => Ok(reason),
        other => Err(unexpected(&other)),
    }
}

/// A copy of a repository for a command that rewrites it. The repository is locked against pushes as long as this is there.
#[derive(Debug)]
pub struct Rewrite {
    stream: UnixStream,
    /// The copy, with its `.hg`.
    pub folder: PathBuf,
}

/// Asks for a copy of a repository, to rewrite it.
pub fn rewrite(run: &Path, name: &str) -> Result<Rewrite, ClientError> {
    let (stream, reply) = ask_on(run, &MasterRequest::Rewrite { name: name.to_owned() })?;
    match reply {
        MasterReply::Copied { folder } => Ok(Rewrite { stream, folder }),
        other => Err(unexpected(&other)),
    }
}

impl Rewrite {
    /// Exchanges the repository for the copy; returns the sequence of the record that does, none where nothing has changed.
    pub fn publish(mut self) -> Result<Option<u64>, ClientError> {
        let asked = frame::write(&mut self.stream, &MasterRequest::Publish);
        let reply = asked.and_then(|()| frame::read(&mut self.stream, REPLY_BYTES_MAX));
        match reply.map_err(ClientError::Lost)? {
            MasterReply::Unchanged => Ok(None),
            MasterReply::Refused(text) => Err(ClientError::Refused(text)),
            MasterReply::NotMaster => Err(ClientError::Refused(
                "the lease went to another server meanwhile, nothing was stored. Run it again".to_owned(),
            )),
            reply => stored(reply).map(Some),
        }
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
    ask_on(run, request).map(|(_, reply)| reply)
}

fn ask_on(run: &Path, request: &MasterRequest) -> Result<(UnixStream, MasterReply), ClientError> {
    let started = Instant::now();
    loop {
        if let Some(path) = master(run)? {
            match exchange(&path, request, None).map_err(ClientError::Lost)? {
                (_, MasterReply::Refused(text)) => return Err(ClientError::Refused(text)),
                // It was, a moment ago.
                (_, MasterReply::NotMaster) => {}
                answered => return Ok(answered),
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
            Ok((_, MasterReply::Who { is_master, epoch })) => {
                answered = true;
                if is_master && best.as_ref().is_none_or(|(other, _)| *other < epoch) {
                    best = Some((epoch, path));
                }
            }
            Ok((_, other)) => return Err(unexpected(&other)),
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

fn exchange(
    path: &Path,
    request: &MasterRequest,
    wait: Option<Duration>,
) -> std::io::Result<(UnixStream, MasterReply)> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(wait)?;
    frame::write(&mut stream, request)?;
    let reply = frame::read(&mut stream, REPLY_BYTES_MAX)?;
    Ok((stream, reply))
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
