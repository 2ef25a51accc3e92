//! The list of store paths of all tracked files.

/// The lines of `store/fncache`, checked: each below `data/`, ended by a newline, none twice.
pub struct Fncache {
    _private: (),
}

impl Fncache {
    pub(crate) fn read(_: &crate::folder::Folder, _: u64) -> Result<Fncache, crate::StoreError> {
        todo!()
    }

    /// The store paths such as `data/x.i`, directories not encoded, in the file's order.
    pub fn paths(&self) -> impl Iterator<Item = &[u8]> {
        std::iter::from_fn(|| todo!())
    }

    /// Whether a store path such as `data/x.i` (directories not encoded) is listed.
    pub fn contains(&self, path: &[u8]) -> bool {
        let _ = path;
        todo!()
    }

    /// Number of lines.
    pub fn len(&self) -> usize {
        todo!()
    }

    /// Whether there is no line.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
