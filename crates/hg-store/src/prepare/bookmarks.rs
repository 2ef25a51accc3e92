//! Bookmarks that a push moves.

use std::collections::BTreeMap;

use crate::{Node, Snapshot};

use super::changelog::CombinedChangelog;
use super::error::{Place, PrepareError, Refusal};
use super::limits::PrepareLimits;

/// A bookmark's name, where it was and where it is.
pub(super) type MovedBookmark = (Vec<u8>, Option<Node>, Option<Node>);

/// Bookmarks that were set or removed.
#[derive(Default)]
pub(super) struct MovedBookmarks {
    moved: BTreeMap<Vec<u8>, Option<Node>>,
}

impl MovedBookmarks {
    pub(super) fn get(&self, snapshot: &Snapshot, name: &[u8]) -> Result<Option<Node>, PrepareError> {
        match self.moved.get(name) {
            Some(now) => Ok(*now),
            None => Ok(snapshot.bookmarks()?.get(name)),
        }
    }

    pub(super) fn set(
        &mut self,
        changelog: &CombinedChangelog<'_>,
        limits: &PrepareLimits,
        name: &[u8],
        node: Option<Node>,
    ) -> Result<(), PrepareError> {
        check_name(name, limits).map_err(|what| PrepareError::refused(what, Place::Bookmark(name.to_vec())))?;
        if let Some(node) = node
            && !node.is_null()
            && changelog.revision_of(&node).is_none()
        {
            return Err(PrepareError::refused(Refusal::UnknownRevision(node), Place::Bookmark(name.to_vec())));
        }
        self.moved.insert(name.to_vec(), node);
        Ok(())
    }

    /// What really moved, by name.
    pub(super) fn summary(&self, snapshot: &Snapshot) -> Result<Vec<MovedBookmark>, PrepareError> {
        if self.moved.is_empty() {
            return Ok(Vec::new());
        }
        let old = snapshot.bookmarks()?;
        let moves = self.moved.iter().map(|(name, now)| (name.clone(), old.get(name), *now));
        Ok(moves.filter(|(_, before, now)| before != now).collect())
    }

    /// The bookmarks file after these moves: lines `hex name`, sorted by name.
    pub(super) fn content(snapshot: &Snapshot, moves: &[MovedBookmark]) -> Result<Vec<u8>, PrepareError> {
        let mut all: BTreeMap<&[u8], Node> = snapshot.bookmarks()?.iter().collect();
        for (name, _, now) in moves {
            match now {
                Some(node) => all.insert(name, *node),
                None => all.remove(&name[..]),
            };
        }
        let mut content = Vec::new();
        for (name, node) in all {
            content.extend_from_slice(&node.to_hex());
            content.push(b' ');
            content.extend_from_slice(name);
            content.push(b'\n');
        }
        Ok(content)
    }
}

fn check_name(name: &[u8], limits: &PrepareLimits) -> Result<(), Refusal> {
    if name.len() > limits.bookmark_bytes {
        return Err(Refusal::Limit { limit: limits.bookmark_bytes as u64, unit: "bytes in a bookmark's name" });
    }
    // Blanks at the ends would not survive the file: its lines are stripped when they are read.
    if name.is_empty() || name.trim_ascii() != name {
        return Err(Refusal::Name("is empty, or begins or ends with a blank"));
    }
    if name.iter().any(|&byte| byte < 0x20 || byte == 0x7f) {
        return Err(Refusal::Name("has a control character"));
    }
    if std::str::from_utf8(name).is_err() {
        return Err(Refusal::Name("is not UTF-8"));
    }
    Ok(())
}
