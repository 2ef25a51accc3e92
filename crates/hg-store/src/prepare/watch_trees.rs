//! Telling the observer what each new changeset's manifest changes, where folders have manifests of their own.
//!
//! It begins when all of them have come: what a folder holds is not known before. They are read again from the change.

use std::collections::HashMap;

use rustc_hash::FxHashMap;

use crate::observe::{
    ManifestSource, ObservedEntry, ObservedManifest, Observer, TreeTexts, common_ancestors, tree_changes,
};
use crate::{Node, Revision, Snapshot};

use super::changelog::CombinedChangelog;
use super::error::PrepareError;
use super::spool::Spool;
use super::text_cache::Text;
use super::watch::manifest_of;
use super::written::Written;

/// Manifests, old and new.
struct Manifests<'a, 's> {
    snapshot: &'s Snapshot,
    spool: &'a mut Spool,
    changelog: &'a CombinedChangelog<'s>,
    written: HashMap<Box<[u8]>, Written>,
    old: TreeTexts<'s>,
    /// Of old changesets.
    old_manifests: FxHashMap<u32, Node>,
    /// The manifests of the nearest common ancestors of the parents of the merge that was asked about last.
    ancestors: Option<(Revision, Vec<Node>)>,
}

/// Tells the entries and the manifest of each new changeset. `written`: the new manifests, by folder.
pub(super) fn tell<'s>(
    snapshot: &'s Snapshot,
    spool: &mut Spool,
    changelog: &CombinedChangelog<'s>,
    written: HashMap<Box<[u8]>, Written>,
    observer: &mut dyn Observer,
) -> Result<(), PrepareError> {
    let old = TreeTexts::new(snapshot, spool.limits.cache_bytes);
    let old_manifests = FxHashMap::default();
    let mut manifests = Manifests { snapshot, spool, changelog, written, old, old_manifests, ancestors: None };
    for changeset in changelog.new_changesets() {
        let now = manifests.of_changeset(changeset.get())?;
        let parents = changelog.revlog.parents(changeset.get()).into_iter().flatten();
        let mut parents = parents.map(|parent| manifests.of_changeset(parent)).collect::<Result<Vec<_>, _>>()?;
        if parents.is_empty() {
            parents.push(Node::NULL);
        }
        tree_changes(&mut manifests, &now, &parents, &mut |path, parents, now| {
            observer.entry(&ObservedEntry { changeset, path, parents, now });
        })?;
        let text = manifests.text(b"", &now)?;
        observer.manifest(changeset, &mut ObservedManifest::new(changeset, text, &mut manifests))?;
    }
    Ok(())
}

impl Manifests<'_, '_> {
    fn of_changeset(&mut self, changeset: u32) -> Result<Node, PrepareError> {
        manifest_of(self.snapshot, &mut self.old_manifests, self.changelog, changeset)
    }
}

impl ManifestSource for Manifests<'_, '_> {
    fn text(&mut self, folder: &[u8], node: &Node) -> Result<Text, PrepareError> {
        let Manifests { spool, written, old, .. } = self;
        let new = written.get(folder).and_then(|written| Some((written, *written.by_node.get(node)?)));
        let Some((written, number)) = new else { return old.text(folder, node) };
        if let Some(text) = old.cache.get(*node) {
            return Ok(text);
        }
        let text = Text::new(written.text(spool, number, folder, old)?);
        old.cache.insert(*node, Text::clone(&text));
        Ok(text)
    }

    fn of_common_ancestors(&mut self, merge: Revision) -> Result<Vec<Node>, PrepareError> {
        if let Some((_, ancestors)) = self.ancestors.as_ref().filter(|(of, _)| *of == merge) {
            return Ok(ancestors.clone());
        }
        let changelog = self.changelog;
        let parents = |of: u32| changelog.revlog.parents(of);
        let [Some(one), Some(other)] = parents(merge.get()) else { return Ok(Vec::new()) };
        let ancestors = common_ancestors(parents, one, other).into_iter();
        let ancestors = ancestors.map(|at| self.of_changeset(at)).collect::<Result<Vec<_>, _>>()?;
        self.ancestors = Some((merge, ancestors.clone()));
        Ok(ancestors)
    }
}
