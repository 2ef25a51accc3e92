//! Texts of stored manifests, of the top and of folders.

use std::collections::VecDeque;
use std::rc::Rc;

use crate::prepare::{PrepareError, Text, TextCache};
use crate::revlog::Shared;
use crate::{Node, Revlog, Snapshot, StoreError};

/// Revlogs of folders that are kept open.
const OPEN_MAX: usize = 64;

/// A folder, and its revlog; `None`: it has none.
type Open = (Box<[u8]>, Option<Rc<Revlog>>);

/// Reads manifests of a snapshot by folder and name.
pub(crate) struct TreeTexts<'s> {
    snapshot: &'s Snapshot,
    /// Those used last at the end.
    open: VecDeque<Open>,
    /// By name: what a manifest's text is does not depend on where it lies.
    pub(crate) cache: TextCache<Node>,
}

impl<'s> TreeTexts<'s> {
    pub(crate) fn new(snapshot: &'s Snapshot, cache_bytes: usize) -> TreeTexts<'s> {
        TreeTexts { snapshot, open: VecDeque::new(), cache: TextCache::new(cache_bytes) }
    }

    /// A manifest's text, not checked. The folder ends with a slash, and is empty for the top.
    pub(crate) fn text(&mut self, folder: &[u8], node: &Node) -> Result<Text, PrepareError> {
        if node.is_null() {
            return Ok(Text::default());
        }
        if let Some(text) = self.cache.get(*node) {
            return Ok(text);
        }
        let of_folder;
        let log = match folder {
            b"" => Some(self.snapshot.manifest()),
            folder => {
                of_folder = self.revlog(folder)?;
                of_folder.as_deref()
            }
        };
        let found = log.and_then(|log| Some((log, log.revision_of(node)?)));
        let cache = &mut self.cache;
        let found = found.map(|(log, revision)| log.rebuild(revision, |base| cache.get(log.node(base)).map(Shared)));
        let found = found.transpose()?;
        let Some(text) = found.map(Text::new) else {
            let path = self.snapshot.repository().store().path_of(b"meta");
            let what = format!("manifest {node} of the folder '{}' is missing", folder.escape_ascii());
            return Err(StoreError::corrupt(path, what).into());
        };
        self.cache.insert(*node, Text::clone(&text));
        Ok(text)
    }

    fn revlog(&mut self, folder: &[u8]) -> Result<Option<Rc<Revlog>>, StoreError> {
        let known = self.open.iter().rposition(|(open, _)| **open == *folder).and_then(|at| self.open.remove(at));
        let entry = match known {
            Some(entry) => entry,
            None => (folder.into(), self.snapshot.tree_manifest(folder)?.map(Rc::new)),
        };
        let log = entry.1.clone();
        self.open.push_back(entry);
        if self.open.len() > OPEN_MAX {
            self.open.pop_front();
        }
        Ok(log)
    }
}
