//! Asking another server. Blocks: for threads that may.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use hgfleet_log::RepositoryName;
use hgfleet_replica::Listing;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::DOOR_ENDING;
use crate::wire::{ANSWER_BYTES_MAX, FilesQuestion, ListAnswer, ServerAnswer, VERSION};

/// How long a server may take to begin its answer: a list walks all files of a repository.
const ANSWER_TIME: Duration = Duration::from_secs(120);
/// How long it may be silent within one.
const SILENCE: Duration = Duration::from_secs(30);
/// How long the first answer of a server may take that is only looked for.
const GREETING_TIME: Duration = Duration::from_secs(5);

/// Why another server did not give what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// It can't be reached, or broke off.
    #[error("{server} can't be asked: {source}")]
    Io {
        /// Which.
        server: String,
        /// Why.
        source: io::Error,
    },
    /// It says no.
    #[error("{server} says: {text}")]
    Refused {
        /// Which.
        server: String,
        /// Whether it has no such repository.
        is_unknown: bool,
        /// What it says.
        text: String,
    },
    /// What it says can't be understood.
    #[error("{server} gives no answer that can be read: {text}")]
    Malformed {
        /// Which.
        server: String,
        /// What is wrong with it.
        text: String,
    },
}

/// Another server's door.
#[derive(Debug, Clone)]
pub struct Peer {
    name: String,
    socket: PathBuf,
    runtime: Handle,
}

/// Returns the servers that answer at their doors in the `run` folder: mirrors first, then the others.
pub fn peers(run: &Path, runtime: &Handle) -> Vec<(Peer, ServerAnswer)> {
    let names = std::fs::read_dir(run).into_iter().flatten().flatten();
    let doors = names.filter_map(|entry| {
        let name = entry.file_name().to_str()?.strip_suffix(DOOR_ENDING)?.to_owned();
        Some(Peer { name, socket: entry.path(), runtime: runtime.clone() })
    });
    let greeted = doors.filter_map(|peer| peer.server().ok().map(|answer| (peer, answer)));
    let mut all: Vec<_> = greeted.collect();
    all.sort_by(|(one, a), (other, b)| (!a.is_mirror, &one.name).cmp(&(!b.is_mirror, &other.name)));
    all
}

impl Peer {
    /// Its name in the configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns what it has.
    ///
    /// # Errors
    /// See [`PeerError`], also for all that follow.
    pub fn server(&self) -> Result<ServerAnswer, PeerError> {
        self.whole(Method::GET, "server", Bytes::new(), GREETING_TIME)
    }

    /// Asks it for a copy of a repository, for itself.
    ///
    /// # Errors
    /// See [`PeerError`].
    pub fn resync(&self, name: &RepositoryName) -> Result<(), PeerError> {
        self.tell("resync", name)
    }

    /// Tells it that what it gave of a repository was not what it said.
    pub(crate) fn suspect(&self, name: &RepositoryName) -> Result<(), PeerError> {
        self.tell("suspect", name)
    }

    pub(crate) fn list(&self, name: &RepositoryName) -> Result<Listing, PeerError> {
        let path = format!("list/{}", name.as_str());
        self.whole::<ListAnswer>(Method::GET, &path, Bytes::new(), ANSWER_TIME).map(Listing::from)
    }

    /// Begins to read bytes of files.
    pub(crate) fn files(&self, name: &RepositoryName, question: &FilesQuestion) -> Result<Files, PeerError> {
        let question = postcard::to_stdvec(question).map_err(|error| self.malformed(error.to_string()))?;
        let body = self.ask(Method::POST, &format!("files/{}", name.as_str()), question.into(), ANSWER_TIME)?;
        Ok(Files { peer: self.clone(), body, piece: Bytes::new() })
    }

    fn tell(&self, what: &str, name: &RepositoryName) -> Result<(), PeerError> {
        self.ask(Method::POST, &format!("{what}/{}", name.as_str()), Bytes::new(), ANSWER_TIME).map(drop)
    }

    fn whole<T: serde::de::DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        question: Bytes,
        wait: Duration,
    ) -> Result<T, PeerError> {
        let mut body = self.ask(method, path, question, wait)?;
        let mut bytes = Vec::new();
        while let Some(piece) = self.piece(&mut body)? {
            if bytes.len() + piece.len() > ANSWER_BYTES_MAX {
                return Err(self.malformed("it is too long".to_owned()));
            }
            bytes.extend_from_slice(&piece);
        }
        postcard::from_bytes(&bytes).map_err(|error| self.malformed(error.to_string()))
    }

    fn ask(&self, method: Method, path: &str, question: Bytes, wait: Duration) -> Result<Incoming, PeerError> {
        let asked = async {
            let stream = UnixStream::connect(&self.socket).await?;
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
            tokio::spawn(connection);
            let request = Request::builder().method(method).uri(format!("{VERSION}{path}")).header("host", "hgfleet");
            let request = request.body(Full::new(question)).map_err(io::Error::other)?;
            sender.send_request(request).await.map_err(io::Error::other)
        };
        let response = match self.runtime.block_on(async { timeout(wait, asked).await }) {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(self.broken(error)),
            Err(_) => return Err(self.broken(io::ErrorKind::TimedOut.into())),
        };
        let status = response.status();
        let mut body = response.into_body();
        if status == StatusCode::OK {
            return Ok(body);
        }
        let text = self.piece(&mut body)?.unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        Err(PeerError::Refused { server: self.name.clone(), is_unknown: status == StatusCode::NOT_FOUND, text })
    }

    fn piece(&self, body: &mut Incoming) -> Result<Option<Bytes>, PeerError> {
        loop {
            let frame = self.runtime.block_on(async { timeout(SILENCE, body.frame()).await });
            match frame {
                Err(_) => return Err(self.broken(io::ErrorKind::TimedOut.into())),
                Ok(None) => return Ok(None),
                Ok(Some(Err(error))) => return Err(self.broken(io::Error::other(error))),
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    fn broken(&self, source: io::Error) -> PeerError {
        PeerError::Io { server: self.name.clone(), source }
    }

    fn malformed(&self, text: String) -> PeerError {
        PeerError::Malformed { server: self.name.clone(), text }
    }
}

/// Bytes of files, as they come.
pub(crate) struct Files {
    peer: Peer,
    body: Incoming,
    piece: Bytes,
}

impl Files {
    /// Returns the next file's length; its bytes must be taken before the next.
    pub(crate) fn length(&mut self) -> Result<u64, PeerError> {
        let mut length = [0; 8];
        let mut have = 0;
        while have < length.len() {
            let piece = self.next(length.len() - have)?;
            length[have..have + piece.len()].copy_from_slice(&piece);
            have += piece.len();
        }
        Ok(u64::from_be_bytes(length))
    }

    /// Returns the next bytes: some, at most so many.
    pub(crate) fn next(&mut self, bytes_max: usize) -> Result<Bytes, PeerError> {
        while self.piece.is_empty() {
            let piece = self.peer.piece(&mut self.body)?;
            self.piece = piece.ok_or_else(|| self.peer.broken(io::ErrorKind::UnexpectedEof.into()))?;
        }
        Ok(self.piece.split_to(bytes_max.min(self.piece.len())))
    }
}
