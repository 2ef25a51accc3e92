//! The digest of a store's state: a Merkle tree over (path, length, hash of content).

use std::fmt;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::change::ChangeRef;

/// The digest of a store's state.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Takes the 32 bytes of a digest that was kept or sent.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// Why a digest could not be computed.
#[derive(Debug, thiserror::Error)]
pub enum DigestError {
    /// A file could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The path below `.hg`, printable.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The kept nodes could not be read or written.
    #[error("cannot use the kept digest nodes: {0}")]
    Nodes(String),
    /// The change does not fit the store that the digest describes.
    #[error("{path} is not as the change expects it: {why}")]
    Unexpected {
        /// The path below `.hg`, printable.
        path: String,
        /// What is different.
        why: String,
    },
}

/// Where the nodes of a store's digest tree are kept. Keys and values are opaque; a value has at most a few KiB.
pub trait DigestNodes {
    /// Returns what was put under `key`.
    ///
    /// # Errors
    /// Where the keeper can't be read.
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, DigestError>;

    /// Keeps `value` under `key`, or forgets the key.
    ///
    /// # Errors
    /// Where the keeper can't be written.
    fn put(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), DigestError>;
}

/// Returns the digest of the store in `hg`, a `.hg` directory, from its files alone.
///
/// # Errors
/// A file that can't be read, or that is neither a regular file nor a directory.
pub fn digest_of_store(hg: &Path) -> Result<Digest, DigestError> {
    todo!("{hg:?}")
}

/// Returns the digest after `change` of the store whose nodes are kept in `nodes`, and which lies in `hg`, not yet
/// changed. Costs what the change costs.
///
/// # Errors
/// The change does not fit the store; a file or the nodes can't be read.
pub fn digest_after(hg: &Path, nodes: &mut dyn DigestNodes, change: &ChangeRef<'_>) -> Result<Digest, DigestError> {
    let _ = nodes;
    todo!("{hg:?} {change:?}")
}
