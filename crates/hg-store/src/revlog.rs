//! One revlog, version 1: an index and its chunks, as long as a snapshot says.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::{Node, Revision, StoreError};

/// How much of a revlog belongs to a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RevlogExtent {
    /// Number of revisions.
    pub revisions: u32,
    /// Bytes of the `.i` file.
    pub index_bytes: u64,
    /// Bytes of the `.d` file; 0 when inline.
    pub data_bytes: u64,
}

/// What a prefix of a node in hexadecimal digits names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrefixMatch {
    /// Nothing.
    None,
    /// This one revision.
    One(Revision),
    /// More than one.
    Ambiguous,
}

/// A revlog, version 1, inline or split, limited to its snapshot's length.
pub struct Revlog {
    _private: (),
}

impl Revlog {
    /// Number of revisions.
    pub fn len(&self) -> usize {
        todo!()
    }

    /// Whether there is no revision.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The revision with this number, if there is one.
    pub fn revision(&self, number: u32) -> Option<Revision> {
        let _ = number;
        todo!()
    }

    /// All revisions, lowest first.
    pub fn revisions(
        &self,
    ) -> impl DoubleEndedIterator<Item = Revision> + ExactSizeIterator + use<> {
        (0..self.len() as u32).map(Revision::new)
    }

    /// The revision of this name. The null node has none.
    pub fn revision_of(&self, node: &Node) -> Option<Revision> {
        let _ = node;
        todo!()
    }

    /// The revision's name.
    pub fn node(&self, revision: Revision) -> Node {
        let _ = revision;
        todo!()
    }

    /// First and second parent, both lower than the revision.
    pub fn parents(&self, revision: Revision) -> [Option<Revision>; 2] {
        let _ = revision;
        todo!()
    }

    /// The number of the changeset that brought it.
    pub fn link(&self, revision: Revision) -> u32 {
        let _ = revision;
        todo!()
    }

    /// The flag bits of the index entry.
    pub fn flags(&self, revision: Revision) -> u16 {
        let _ = revision;
        todo!()
    }

    /// Bytes of the full text.
    pub fn text_bytes(&self, revision: Revision) -> u32 {
        let _ = revision;
        todo!()
    }

    /// Bytes of the chunk as stored.
    pub fn chunk_bytes(&self, revision: Revision) -> u32 {
        let _ = revision;
        todo!()
    }

    /// Where the chunk starts: the sum of the lengths of all chunks before, index entries not counted, even inline.
    pub fn chunk_offset(&self, revision: Revision) -> u64 {
        let _ = revision;
        todo!()
    }

    /// The revision to whose text the chunk is a delta; `None` when the chunk is a full text.
    pub fn delta_base(&self, revision: Revision) -> Option<Revision> {
        let _ = revision;
        todo!()
    }

    /// How much of the revlog's files belongs to the snapshot.
    pub fn extent(&self) -> RevlogExtent {
        todo!()
    }

    /// Whether the chunks lie between the index entries.
    pub fn is_inline(&self) -> bool {
        todo!()
    }

    /// Whether a delta's base is told by the index, not always the revision before.
    pub fn is_generaldelta(&self) -> bool {
        todo!()
    }

    /// The chunk, decompressed: the stored delta, or a full text.
    pub fn chunk(&self, revision: Revision) -> Result<Cow<'_, [u8]>, StoreError> {
        let _ = revision;
        todo!()
    }

    /// The chunk as it lies in the file, compressed or not.
    pub fn raw_chunk(&self, revision: Revision) -> Result<&[u8], StoreError> {
        let _ = revision;
        todo!()
    }

    /// The full text, rebuilt; its hash is checked.
    pub fn text(&self, revision: Revision) -> Result<Vec<u8>, StoreError> {
        let _ = revision;
        todo!()
    }

    /// The full text, rebuilt, for callers that check it themselves.
    pub fn text_unchecked(&self, revision: Revision) -> Result<Vec<u8>, StoreError> {
        let _ = revision;
        todo!()
    }

    /// The revisions whose names start with these hexadecimal digits.
    pub fn lookup_prefix(&self, hex: &str) -> PrefixMatch {
        let _ = hex;
        todo!()
    }
}
