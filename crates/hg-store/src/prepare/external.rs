//! Pointers to LFS objects that a push brings: to what is in the store already, or the push is refused.
//!
//! A pointer's revision is named by the text that it stands for. So the object is read, and the text hashed as any other is. What a
//! pointer says beside that, no hash covers: it is as whoever committed it wrote it, and has only to be well-formed.

use crate::lfs::{ObjectText, Pointer};
use crate::{Node, Snapshot};

use super::error::{PrepareError, Refusal};
use super::growing::Growing;
use super::metadata_check;

/// What a pointer stands for.
pub(super) struct External {
    /// How the file's text begins.
    pub(super) begin: Vec<u8>,
    /// Bytes of the object.
    pub(super) bytes: u64,
}

impl Growing<'_> {
    /// Checks the text of a revision that has the flag.
    pub(super) fn check_pointer(
        &self,
        objects: &Snapshot,
        node: Node,
        parents: &[Node; 2],
        text: &[u8],
    ) -> Result<External, PrepareError> {
        let refused = |what| self.refused(what, node);
        if !objects.serves_lfs() {
            return Err(refused(Refusal::LfsOff));
        }
        let pointer = Pointer::parse(text).ok_or_else(|| refused(Refusal::Pointer))?;
        let missing = || refused(Refusal::MissingObject(pointer.oid));
        let ObjectText { name, begin, .. } = objects.repository().lfs_text(&pointer, parents)?.ok_or_else(missing)?;
        if name != node {
            return Err(refused(Refusal::Hash));
        }
        metadata_check::check(&begin).map_err(refused)?;
        Ok(External { begin, bytes: pointer.size })
    }
}
