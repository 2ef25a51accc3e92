//! What a name given by a client stands for: stock's `lookup` and `known`.

use crate::{Node, Revision, Snapshot, StoreError};

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// This changeset.
    Found(Revision),
    /// The null revision.
    Null,
    /// None; the text is stock's, without `abort:`, for instance `unknown revision 'x'`.
    Unknown(String),
}

/// Resolves a name over the served view as stock's `lookup`: number, node, `tip`, `null`, bookmark, tag, branch, prefix.
pub fn lookup(snapshot: &Snapshot, key: &[u8]) -> Result<Lookup, StoreError> {
    let _ = (snapshot, key);
    todo!()
}

/// For each node, whether the served view has it. The null node is known.
pub fn known(snapshot: &Snapshot, nodes: &[Node]) -> Result<Vec<bool>, StoreError> {
    let _ = (snapshot, nodes);
    todo!()
}
