//! The digest of a store's state: a Merkle tree over (path, length, hash of content).
//!
//! It is a function of the files alone, of whatever is not left out by [`crate::change::is_excluded`]. Its nodes are
//! kept outside the store ([`DigestNodes`]), so that after a change only what the change touched is hashed again
//! ([`DigestUpdate::of_change`]); computed from the files ([`digest_of_store`]) it is the same.
//! `docs/formats/digest.md` has it down to the byte.

mod content;
mod kept;
mod tree;
mod update;
mod walk;

use std::fmt;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

pub use kept::{FileDigest, FileHasher, KeptFiles, bytes_of_node, digest_of_files};
pub use update::DigestUpdate;
pub use walk::state_files;

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
    /// A file could not be read, or is not one.
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

impl DigestError {
    fn read<E: Into<io::Error>>(path: &[u8]) -> impl FnOnce(E) -> Self {
        let path = path.escape_ascii().to_string();
        move |source| Self::Read { path, source: source.into() }
    }

    fn unexpected(path: &[u8], why: impl Into<String>) -> Self {
        Self::Unexpected { path: path.escape_ascii().to_string(), why: why.into() }
    }
}

/// Where the nodes of one store's digest tree are kept. Keys and values are opaque: a key has at most 34 bytes, a value
/// at most 2 KiB.
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

/// Nodes in memory: of an empty store at first.
impl DigestNodes for std::collections::HashMap<Vec<u8>, Vec<u8>> {
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, DigestError> {
        Ok(Self::get(self, key).cloned())
    }

    fn put(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), DigestError> {
        match value {
            Some(value) => self.insert(key.to_vec(), value.to_vec()),
            None => self.remove(key),
        };
        Ok(())
    }
}

/// Returns the digest of the store in `hg`, a `.hg` directory, from its files alone.
///
/// # Errors
/// A file that can't be read, or that is neither a regular file nor a directory.
pub fn digest_of_store(hg: &Path) -> Result<Digest, DigestError> {
    Ok(DigestUpdate::of_store(hg)?.digest())
}

/// Makes one kind of hash of the tree: kinds have keys of their own, so that none can stand for another.
fn hash(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_keyed(key);
    parts.iter().for_each(|part| {
        hasher.update(part);
    });
    hasher.finalize().into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
