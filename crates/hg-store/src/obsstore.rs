//! Obsolescence markers: `store/obsstore`, versions 0 and 1.

use crate::{Node, Snapshot, StoreError};

/// One marker: a changeset was replaced by others, or by none.
#[derive(Clone, Debug, PartialEq)]
pub struct Marker {
    /// What was replaced; often not in the repository.
    pub predecessor: Node,
    /// By what; empty when pruned.
    pub successors: Vec<Node>,
    /// Bits of the marker, for instance 1: bumped fix.
    pub flags: u16,
    /// Keys and values in the order of the file.
    pub metadata: Vec<(Vec<u8>, Vec<u8>)>,
    /// When: seconds since 1970; finite.
    pub time: f64,
    /// Seconds west of UTC.
    pub offset: i32,
    /// Parents of the predecessor, where the marker has them (0 to 2).
    pub parents: Option<Vec<Node>>,
}

/// The markers' bytes are none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MarkerError {
    /// A version that isn't 0 or 1.
    #[error("version {0} of markers is not known")]
    Version(u8),
    /// A marker ends after the bytes do.
    #[error("markers end within one")]
    Cut,
    /// A field that no working Mercurial writes.
    #[error("marker with {0}")]
    Invalid(&'static str),
}

/// Parses a version byte and markers: the form of the file, and of a bundle's part. Cycles are harmless and kept.
pub fn parse(bytes: &[u8]) -> Result<Vec<Marker>, MarkerError> {
    let _ = bytes;
    todo!()
}

impl Marker {
    /// Appends the marker in the form of version 1, without the version byte.
    pub fn encode_v1(&self, out: &mut Vec<u8>) -> Result<(), MarkerError> {
        let _ = out;
        todo!()
    }

    /// Appends the marker in the form of version 0, without the version byte.
    pub fn encode_v0(&self, out: &mut Vec<u8>) -> Result<(), MarkerError> {
        let _ = out;
        todo!()
    }
}

/// All markers of a snapshot.
#[derive(Clone, Debug, Default)]
pub struct Obsstore {
    version: Option<u8>,
    markers: Vec<Marker>,
}

impl Obsstore {
    pub(crate) fn read(_: &Snapshot) -> Result<Obsstore, StoreError> {
        todo!()
    }

    /// The file's version byte; `None` where there is no file, or an empty one.
    pub fn version(&self) -> Option<u8> {
        self.version
    }

    /// The markers, in the file's order.
    pub fn markers(&self) -> &[Marker] {
        &self.markers
    }
}
