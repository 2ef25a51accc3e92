//! What servers tell each other of their repositories, in postcard's encoding.

use hgfleet_log::{LogId, RepositoryName, Sequence};
use hgfleet_replica::{ListedFile, Listing};
use serde::{Deserialize, Serialize};

use crate::Progress;

/// Version of these messages, in each path.
pub(crate) const VERSION: &str = "/1/";
/// Longest question, in bytes.
pub(crate) const QUESTION_BYTES_MAX: usize = 16 << 20;
/// Longest answer that is not a stream of files, in bytes: 8 million files of 100 bytes each.
pub(crate) const ANSWER_BYTES_MAX: usize = 1 << 30;
/// Files that are asked for at once.
pub(crate) const FILES_MAX: usize = 4096;
/// In the place of a file's length: it is gone.
pub(crate) const GONE: u64 = u64::MAX;

/// Answer to `GET server`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ServerAnswer {
    /// Its name in the configuration.
    pub name: String,
    /// Whether it is a mirror.
    pub is_mirror: bool,
    /// The log that it follows.
    pub log: Option<LogId>,
    /// Up to where it has applied the log.
    pub position: Option<Sequence>,
    /// Its repositories.
    pub repositories: Vec<RepositoryAnswer>,
}

/// One repository of a server.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RepositoryAnswer {
    /// Its name.
    pub name: RepositoryName,
    /// The record that made it.
    pub created: Sequence,
    /// Its last record that is applied there.
    pub sequence: Sequence,
    /// Why it can't be had there, if so.
    pub quarantine: Option<String>,
    /// How a copy for that server goes on, where one was asked for.
    pub progress: Option<Progress>,
}

/// Answer to `GET list/NAME`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ListAnswer {
    pub(crate) created: Sequence,
    pub(crate) sequence: Sequence,
    pub(crate) digest: [u8; 32],
    pub(crate) files: Vec<FileAnswer>,
}

/// One file of a list.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FileAnswer {
    pub(crate) path: Vec<u8>,
    pub(crate) bytes: u64,
    pub(crate) hash: [u8; 32],
    pub(crate) content: Option<Vec<u8>>,
}

/// Question of `POST files/NAME`; the answer is for each file its length in 8 bytes, big-endian, and so many bytes.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FilesQuestion {
    pub(crate) created: Sequence,
    pub(crate) files: Vec<FileWanted>,
}

/// Bytes of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileWanted {
    pub(crate) path: Vec<u8>,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

impl From<Listing> for ListAnswer {
    fn from(listing: Listing) -> Self {
        let Listing { created, sequence, digest, files } = listing;
        let file = |ListedFile { path, bytes, hash, content }| FileAnswer { path, bytes, hash, content };
        Self { created, sequence, digest, files: files.into_iter().map(file).collect() }
    }
}

impl From<ListAnswer> for Listing {
    fn from(answer: ListAnswer) -> Self {
        let ListAnswer { created, sequence, digest, files } = answer;
        let file = |FileAnswer { path, bytes, hash, content }| ListedFile { path, bytes, hash, content };
        Self { created, sequence, digest, files: files.into_iter().map(file).collect() }
    }
}
