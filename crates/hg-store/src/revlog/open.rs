//! Opening a revlog, and measuring how much of it belongs to a snapshot.

use std::sync::OnceLock;

use super::index::{self, Header};
use super::{Revlog, RevlogExtent};
use crate::StoreError;
use crate::folder::{FileBytes, Folder};

impl Revlog {
    /// A revlog of which a snapshot says how much belongs to it. `path` is that of the `.i` file, below `folder`.
    /// Links must be lower than `changesets`; for the changelog itself, each is the revision's own number. The first `checked` entries
    /// were checked before, in this process or in another.
    pub(crate) fn open_extent(
        folder: &Folder,
        path: &[u8],
        extent: RevlogExtent,
        links: index::Links,
        checked: u32,
    ) -> Result<Revlog, StoreError> {
        let index_bytes = folder.map(path, extent.index_bytes)?;
        let header = Header::parse(&index_bytes, &folder.path_of(path))?;
        let data = if header.inline {
            FileBytes::Read(Vec::new())
        } else {
            folder.map(&data_path(path), extent.data_bytes)?
        };
        let mut log = Revlog {
            path: folder.path_of(path),
            header,
            index: index_bytes,
            inline_starts: Vec::new(),
            data,
            extent,
            nodes: OnceLock::new(),
            kept: None,
        };
        let found = index::scan(&log.index, header, links, checked, &log.path)?;
        log.inline_starts = found.inline_starts;
        if found.extent != extent {
            let what = format!("{:?}, but {:?} is expected", found.extent, extent);
            return Err(StoreError::corrupt(&log.path, what));
        }
        Ok(log)
    }

    /// How much of a revlog there is in the first `bytes` bytes of its index.
    pub(crate) fn measure(
        folder: &Folder,
        path: &[u8],
        bytes: u64,
        links: index::Links,
    ) -> Result<RevlogExtent, StoreError> {
        let index_bytes = folder.map(path, bytes)?;
        let name = folder.path_of(path);
        let header = Header::parse(&index_bytes, &name)?;
        Ok(index::scan(&index_bytes, header, links, 0, &name)?.extent)
    }

    /// The revlog of a tracked file, or of the manifest where no snapshot says its extent: as much of it as links below
    /// `changesets`. `None` when there is no such file.
    pub(crate) fn open_linked(folder: &Folder, path: &[u8], changesets: u32) -> Result<Option<Revlog>, StoreError> {
        let Some((file, bytes)) = folder.file(path)? else { return Ok(None) };
        let mut index_bytes = folder.map_file(path, file, bytes)?;
        let name = folder.path_of(path);
        let header = Header::parse(&index_bytes, &name)?;
        let mut found = index::scan(&index_bytes, header, index::Links::Below(changesets), 0, &name)?;
        if found.torn && !tail_may_be_unfinished(folder) {
            // An append that ended just now has left a whole entry: look again.
            let Some((file, bytes)) = folder.file(path)? else { return Ok(None) };
            index_bytes = folder.map_file(path, file, bytes)?;
            found = index::scan(&index_bytes, header, index::Links::Below(changesets), 0, &name)?;
            if found.torn {
                return Err(StoreError::corrupt(name, "ends within an index entry"));
            }
        }
        let data = if header.inline {
            FileBytes::Read(Vec::new())
        } else {
            folder.map(&data_path(path), found.extent.data_bytes)?
        };
        Ok(Some(Revlog {
            path: name,
            header,
            index: index_bytes,
            inline_starts: found.inline_starts,
            data,
            extent: found.extent,
            nodes: OnceLock::new(),
            kept: None,
        }))
    }
}

/// Whether a writer may be in the middle of an append to the store.
fn tail_may_be_unfinished(folder: &Folder) -> bool {
    matches!(folder.file(b"journal"), Ok(Some(_)))
}

/// `x.d` for `x.i`.
pub(crate) fn data_path(path: &[u8]) -> Vec<u8> {
    let mut path = path.to_vec();
    if let Some(last) = path.last_mut() {
        *last = b'd';
    }
    path
}
