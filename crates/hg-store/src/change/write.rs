//! Writing a change.

use std::io::{Seek, Write};

use super::ChangeError;

/// Writes a change into a file as it is made.
///
/// Calls may come in any order and for different paths in turn. Several calls of the same kind for one path add
/// their bytes one after the other; each of them names the same `old_bytes`, the file's length before the change.
#[derive(Debug)]
pub struct ChangeWriter<W: Write + Seek> {
    file: W,
}

impl<W: Write + Seek> ChangeWriter<W> {
    /// Begins a change at the start of `file`, which is empty.
    ///
    /// # Errors
    /// Where the file can't be written.
    pub fn new(file: W) -> Result<Self, ChangeError> {
        Ok(Self { file })
    }

    /// Adds a new file, or more bytes to one that this change creates.
    ///
    /// # Errors
    /// A path that is not allowed, another kind of operation on this path before, too much, a failing file.
    pub fn create(&mut self, path: &[u8], bytes: &[u8]) -> Result<(), ChangeError> {
        todo!("{path:?} {bytes:?}")
    }

    /// Adds bytes to the end of a file of `old_bytes` bytes.
    ///
    /// # Errors
    /// As for [`Self::create`].
    pub fn append(&mut self, path: &[u8], old_bytes: u64, bytes: &[u8]) -> Result<(), ChangeError> {
        todo!("{path:?} {old_bytes} {bytes:?}")
    }

    /// Replaces a file as a whole. `old_bytes`: its length before; `None` where it may be absent.
    ///
    /// # Errors
    /// As for [`Self::create`].
    pub fn replace(&mut self, path: &[u8], old_bytes: Option<u64>, bytes: &[u8]) -> Result<(), ChangeError> {
        todo!("{path:?} {old_bytes:?} {bytes:?}")
    }

    /// Removes a file of `old_bytes` bytes.
    ///
    /// # Errors
    /// As for [`Self::create`].
    pub fn remove(&mut self, path: &[u8], old_bytes: u64) -> Result<(), ChangeError> {
        todo!("{path:?} {old_bytes}")
    }

    /// Returns whether nothing was added so far.
    pub fn is_empty(&self) -> bool {
        todo!()
    }

    /// Writes the table and the header; returns the file and the change's length in bytes.
    ///
    /// # Errors
    /// A failing file.
    pub fn finish(self) -> Result<(W, u64), ChangeError> {
        let _ = self.file;
        todo!()
    }
}
