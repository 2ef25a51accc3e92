//! What can be wrong with a repository.

use std::io;
use std::path::{Path, PathBuf};

/// A repository could not be read. Each variant names the file, below the repository's folder or absolute.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused.
    #[error("can't {action} {}: {source}", path.display())]
    Io {
        /// What was tried: `open`, `map`, `read`.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What it answered.
        source: io::Error,
    },
    /// There is no repository here.
    #[error("no Mercurial repository at {}", path.display())]
    NoRepository {
        /// Where one was looked for.
        path: PathBuf,
    },
    /// A file holds what no working Mercurial writes.
    #[error("{} is damaged: {what}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A repository that Mercurial may be able to read, and this library can't.
    #[error("{}: {what} is not supported. {remedy}", path.display())]
    Unsupported {
        /// The file that says so.
        path: PathBuf,
        /// What it asks for.
        what: String,
        /// What the repository's owner can do about it: a sentence, without its full stop.
        remedy: &'static str,
    },
}

impl StoreError {
    /// Whether the repository's files are damaged: reading again won't help.
    pub fn is_corruption(&self) -> bool {
        matches!(self, StoreError::Corrupt { .. })
    }

    /// Whether the repository is of a kind that can't be read here.
    pub fn is_unsupported(&self) -> bool {
        matches!(self, StoreError::Unsupported { .. })
    }

    /// What is asked of a reader that can't be given; `None` for other errors. Names no file.
    pub fn unsupported_part(&self) -> Option<&str> {
        match self {
            StoreError::Unsupported { what, .. } => Some(what),
            _ => None,
        }
    }

    /// What the repository's owner can do where it is of a kind that can't be read here.
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            StoreError::Unsupported { remedy, .. } => Some(remedy),
            _ => None,
        }
    }

    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> StoreError {
        StoreError::Io { action, path: path.into(), source }
    }

    pub(crate) fn corrupt(path: impl AsRef<Path>, what: impl Into<String>) -> StoreError {
        StoreError::Corrupt { path: path.as_ref().to_owned(), what: what.into() }
    }

    pub(crate) fn unsupported(path: impl AsRef<Path>, what: impl Into<String>, remedy: &'static str) -> StoreError {
        StoreError::Unsupported { path: path.as_ref().to_owned(), what: what.into(), remedy }
    }
}
