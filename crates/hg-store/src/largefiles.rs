//! Files that Mercurial's extension `largefiles` keeps outside of history: each in `.hg/largefiles`, under the SHA-1 of its content.
//!
//! History has a *standin* for each, a small file in `.hglf/` with that hash. What is here names no changeset, so that a file may come before
//! the changeset that needs it, and is never changed.
//!
//! Source: the help text of the extension (`hg help -e largefiles`) and repositories that Mercurial 7.2.4 made.

use std::fmt;
use std::fs::File;

use crate::folder::Folder;
use crate::{Node, Repository, StoreError};

/// Where standins are, among the tracked files.
pub(crate) const STANDINS: &[u8] = b".hglf/";
/// Where the files are, below `.hg`.
const FOLDER: &[u8] = b"largefiles/";

/// The name of a largefile: the SHA-1 of its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LargefileHash([u8; 20]);

impl LargefileHash {
    /// Takes the 20 bytes of a SHA-1.
    pub fn new(bytes: [u8; 20]) -> LargefileHash {
        LargefileHash(bytes)
    }

    /// Returns `None` unless there are exactly 40 hexadecimal digits, of either case.
    pub fn from_hex(hex: &[u8]) -> Option<LargefileHash> {
        Node::from_hex(hex).map(|bytes| LargefileHash(*bytes.as_bytes()))
    }

    /// Where the file is, below `.hg`.
    pub(crate) fn path(self) -> Vec<u8> {
        [FOLDER, &Node::new(self.0).to_hex()].concat()
    }
}

impl fmt::Display for LargefileHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Node::new(self.0).fmt(f)
    }
}

/// Whether a path below `.hg` is one of a largefile.
pub(crate) fn is_largefile(path: &[u8]) -> bool {
    let is_hash = |name: &[u8]| name.len() == 40 && name.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    path.strip_prefix(FOLDER).is_some_and(is_hash)
}

/// Whether a path below `.hg` is one by which the extension remembers the state of a working copy.
pub(crate) fn is_dirstate(path: &[u8]) -> bool {
    path.strip_prefix(FOLDER).is_some_and(|name| name.starts_with(b"dirstate"))
}

impl Repository {
    /// Opens a largefile, with its length in bytes; `None` where it isn't here. A share has those of its source, and perhaps some of its
    /// own.
    ///
    /// # Errors
    /// Something else than a regular file of that name; a failing system call.
    pub fn largefile(&self, hash: LargefileHash) -> Result<Option<(File, u64)>, StoreError> {
        let path = hash.path();
        for hg in self.folders() {
            if let Some(found) = Folder::file(hg, &path)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_hashes_and_nothing_else() {
        let hash = LargefileHash::from_hex(b"0123456789ABCDEF0123456789abcdef01234567").expect("40 digits");
        assert_eq!(hash.path(), b"largefiles/0123456789abcdef0123456789abcdef01234567");
        assert!(is_largefile(&hash.path()) && !is_dirstate(&hash.path()));
        for path in [
            "largefiles/dirstate",
            "largefiles/0123456789ABCDEF0123456789abcdef01234567",
            "largefiles/0123456789abcdef0123456789abcdef01234567/x",
            "largefiles",
            "store/largefiles/0123456789abcdef0123456789abcdef01234567",
        ] {
            assert!(!is_largefile(path.as_bytes()), "{path}");
        }
        assert!(LargefileHash::from_hex(b"../../../../../../../../../../etc/passwd").is_none());
    }
}
