//! Texts of file revisions that a check wants to look at: those that come with the push, and those that were there before.

use hg_store::Node;
use hg_store::observe::{ObservedFile, ObservedPush, content};
use hg_store::prepare::PrepareError;
use rustc_hash::FxHashMap;

/// File revisions that were not seen yet, each with the changeset that brings it.
#[derive(Debug, Default)]
pub(crate) struct WantedTexts {
    wanted: FxHashMap<(Box<[u8]>, Node), Node>,
}

impl WantedTexts {
    /// Wants the text of a file revision that a changeset has.
    pub(crate) fn want(&mut self, path: &[u8], file: Node, changeset: Node) {
        self.wanted.entry((path.into(), file)).or_insert(changeset);
    }

    /// Whether this one is wanted, and for which changeset.
    pub(crate) fn take(&mut self, file: &ObservedFile<'_>) -> Option<Node> {
        if self.wanted.is_empty() {
            return None;
        }
        self.wanted.remove(&(Box::from(file.path), file.node))
    }

    /// Reads what is still wanted: revisions that the repository had before. In order.
    ///
    /// # Errors
    /// The repository can't be read.
    pub(crate) fn rest(
        &mut self,
        push: &ObservedPush<'_>,
        mut each: impl FnMut(Node, &[u8], &[u8]),
    ) -> Result<(), PrepareError> {
        let mut rest: Vec<_> = self.wanted.drain().collect();
        rest.sort_unstable();
        for ((path, node), changeset) in rest {
            // What a manifest names and nobody has is refused before anybody is asked.
            let Some(log) = push.before.filelog(&path)? else { continue };
            let Some(revision) = log.revision_of(&node) else { continue };
            each(changeset, &path, content(&push.before.full_text(&log, revision)?.0));
        }
        Ok(())
    }
}
