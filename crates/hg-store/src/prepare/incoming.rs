//! What a changegroup brings, as the wire reader hands it over.

use std::io;

use crate::Node;

/// A changegroup as it is read: changelog, then manifest, then manifests of folders, then files, each group's revisions in order.
///
/// The wire reader bounds each length before it allocates.
pub trait IncomingChangegroup {
    /// The next piece; after [`Incoming::End`] it is not called again.
    fn next(&mut self) -> Result<Incoming, IncomingError>;
}

/// One piece of a changegroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// The changelog's revisions follow.
    Changelog,
    /// The manifest's revisions follow.
    Manifest,
    /// The manifests of the folder with this path follow; it ends with a slash. The folder above comes first.
    Tree(Vec<u8>),
    /// The revisions of the file with this path follow.
    File(Vec<u8>),
    /// One revision of the group that was begun last.
    Revision(IncomingRevision),
    /// The group's revisions are over.
    EndOfGroup,
    /// The changegroup is over.
    End,
}

/// One revision as a delta.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncomingRevision {
    /// Its name; not believed, the text is hashed.
    pub node: Node,
    /// First parent.
    pub p1: Node,
    /// Second parent.
    pub p2: Node,
    /// The changeset that brought it; for a changeset its own name.
    pub link: Node,
    /// To whose text the delta is; [`Node::NULL`]: to the empty text. In changegroup 01 the revision before in the group, or the
    /// first parent of the group's first: the reader says which.
    pub base: Node,
    /// Flag bits; 0 in changegroups 01 and 02.
    pub flags: u16,
    /// Hunks of (start, end, length: 4 bytes each, big-endian) and bytes.
    pub delta: Vec<u8>,
}

/// A changegroup could not be read.
#[derive(Debug, thiserror::Error)]
pub enum IncomingError {
    /// Its bytes end early or could not be had.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Its bytes are no changegroup; the text is for the client.
    #[error("{0}")]
    Malformed(String),
}
