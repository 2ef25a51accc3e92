//! Objects in the store, read beside the revisions that point to them.

use std::fs::File;
use std::io::Read;

use sha1::{Digest, Sha1};
use sha2::Sha256;

use super::{LfsOid, Pointer};
use crate::{Node, Repository, Revision, Revlog, Snapshot, StoreError};

/// Bytes that are read at once.
const PIECE_BYTES: usize = 256 << 10;
/// Bytes of an object that are kept for who looks at contents.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// An object that was read, with what stands before it in the file's text.
#[derive(Debug)]
pub(crate) struct ObjectText {
    /// The name that a revision of this text, with these parents, has.
    pub(crate) name: Node,
    /// The name that the object should have.
    oid: LfsOid,
    /// The text, or of a long one how it begins.
    pub(crate) begin: Vec<u8>,
}

impl Snapshot {
    /// The text of a file's revision, whose name is checked. Where the content is an LFS object, that is read too: then also its length in
    /// bytes, and of more than 1 MiB only how the text begins.
    ///
    /// # Errors
    /// The revision or the object can't be read, or is not as it was written.
    pub fn full_text(&self, log: &Revlog, revision: Revision) -> Result<(Vec<u8>, Option<u64>), StoreError> {
        let text = log.text(revision)?;
        if !log.is_external(revision) {
            return Ok((text, None));
        }
        let damaged = |what: String| StoreError::corrupt(self.repository().store().path().join("lfs"), what);
        let pointer = Pointer::parse(&text).ok_or_else(|| damaged("an LFS pointer is none".to_owned()))?;
        let read = self.repository().lfs_text(&pointer, &log.parents_names(revision))?;
        match read.filter(|read| read.name == log.node(revision)) {
            Some(read) => Ok((read.begin, Some(pointer.size))),
            None => Err(damaged(format!("LFS object {} is missing, or not as it was written", pointer.oid))),
        }
    }
}

impl Repository {
    /// Opens an object, with its length in bytes; `None` where it isn't here.
    ///
    /// # Errors
    /// Something else than a regular file of that name; a failing system call.
    pub fn lfs_object(&self, oid: LfsOid) -> Result<Option<(File, u64)>, StoreError> {
        self.store().file(&oid.path_in_store())
    }

    /// Reads the text that a pointer stands for, of a revision with these parents; `None` where the object isn't here in that length.
    pub(crate) fn lfs_text(&self, pointer: &Pointer, parents: &[Node; 2]) -> Result<Option<ObjectText>, StoreError> {
        self.read_lfs(pointer, parents, false)
    }

    fn read_lfs(
        &self,
        pointer: &Pointer,
        parents: &[Node; 2],
        both_hashes: bool,
    ) -> Result<Option<ObjectText>, StoreError> {
        let Some((file, _)) = self.lfs_object(pointer.oid)?.filter(|(_, bytes)| *bytes == pointer.size) else {
            return Ok(None);
        };
        let wrong = |source| StoreError::io("read", self.store().path_of(&pointer.oid.path_in_store()), source);
        let mut file = file.take(pointer.size);
        let (mut name, mut oid) = (Sha1::new(), Sha256::new());
        let [first, second] = parents;
        name.update(first.min(second).as_bytes());
        name.update(first.max(second).as_bytes());
        let mut begin = Vec::new();
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        let mut is_first = true;
        loop {
            piece.clear();
            file.by_ref().take(PIECE_BYTES as u64).read_to_end(&mut piece).map_err(wrong)?;
            if std::mem::take(&mut is_first) {
                begin = pointer.before_content(&piece);
                name.update(&begin);
            }
            if piece.is_empty() {
                break;
            }
            name.update(&piece);
            if both_hashes {
                oid.update(&piece);
            }
            let kept = piece.len().min(KEPT_BYTES_MAX.saturating_sub(begin.len()));
            begin.extend_from_slice(&piece[..kept]);
        }
        let oid = if both_hashes { LfsOid::new(oid.finalize().into()) } else { pointer.oid };
        Ok(Some(ObjectText { name: Node::new(name.finalize().into()), oid, begin }))
    }

    /// Reads the object to which a revision's text points, and checks all hashes. Returns what is wrong, if anything is.
    pub(crate) fn check_lfs(
        &self,
        text: &[u8],
        name: &Node,
        parents: &[Node; 2],
    ) -> Result<Option<String>, StoreError> {
        let Some(pointer) = Pointer::parse(text) else { return Ok(Some("its LFS pointer is none".to_owned())) };
        let oid = pointer.oid;
        let Some(read) = self.read_lfs(&pointer, parents, true)? else {
            return Ok(Some(match self.lfs_object(oid)? {
                None => format!("LFS object {oid} is missing"),
                Some((_, bytes)) => format!("LFS object {oid} has {bytes} bytes, not {}", pointer.size),
            }));
        };
        Ok(if read.oid != oid {
            Some(format!("LFS object {oid} doesn't match its hash"))
        } else if read.name != *name {
            Some(format!("LFS object {oid} is not what the revision's hash is of"))
        } else {
            None
        })
    }
}
