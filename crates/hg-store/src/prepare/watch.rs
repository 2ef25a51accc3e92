//! Telling the observer what each new changeset's manifest changes.
//!
//! The bundle's deltas are no measure: their base is any manifest that the sender likes, and a changeset may name a manifest that was
//! there before. So each changeset's manifest is compared with those of its own parents; where the delta is to the first parent's, only
//! within the delta.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::observe::{
    Compared, ManifestSource, ObservedEntry, ObservedManifest, Observer, common_ancestors, stretched_changes,
    whole_changes,
};
use crate::{Node, Revision, Snapshot};

use super::changelog::CombinedChangelog;
use super::error::PrepareError;
use super::growing::Received;
use super::incoming::IncomingRevision;
use super::manifest::Manifests;
use super::manifest_check::stretches;
use super::spool::Spool;
use super::text_cache::Text;

/// An observer, and what was told to it.
pub(super) struct Watch<'o> {
    snapshot: &'o Snapshot,
    observer: &'o mut (dyn Observer + 'o),
    /// Manifests of old changesets.
    old_manifests: FxHashMap<u32, Node>,
    told: FxHashSet<u32>,
}

/// The texts of the manifests of a changeset's parents; one, empty, where it has no parent.
type ParentTexts = Vec<(Node, Text)>;

impl<'o> Watch<'o> {
    pub(super) fn new(snapshot: &'o Snapshot, observer: &'o mut (dyn Observer + 'o)) -> Watch<'o> {
        Watch { snapshot, observer, old_manifests: FxHashMap::default(), told: FxHashSet::default() }
    }

    /// A manifest is new, and this is the changeset that brought it.
    pub(super) fn received(
        &mut self,
        manifests: &Manifests<'_>,
        spool: &mut Spool,
        changelog: &CombinedChangelog<'_>,
        changeset: u32,
        incoming: &IncomingRevision,
        received: &Received,
    ) -> Result<(), PrepareError> {
        let Some(parents) = self.parent_texts(manifests, spool, changelog, changeset)? else {
            // A parent's manifest comes later, which no Mercurial does; told with the rest.
            return Ok(());
        };
        let text = Text::clone(&received.text);
        let is_to_first =
            incoming.delta.len() < text.len() && parents.first().is_some_and(|(node, _)| *node == incoming.base);
        let delta = is_to_first.then_some(&incoming.delta[..]);
        self.compare(changeset, &parents, &text, delta);
        self.end(manifests, spool, changelog, changeset, &text)
    }

    /// The manifests are over: those changesets that none came with, since theirs was there before.
    pub(super) fn rest(
        &mut self,
        manifests: &Manifests<'_>,
        spool: &mut Spool,
        changelog: &CombinedChangelog<'_>,
    ) -> Result<(), PrepareError> {
        for changeset in changelog.new_changesets().map(Revision::get) {
            if self.told.contains(&changeset) {
                continue;
            }
            let node = self.manifest_of(changelog, changeset)?;
            let text = text_of(manifests, spool, &node)?.unwrap_or_default();
            // A parent without a manifest is as good as none: all files are told.
            let parents = self.parent_texts(manifests, spool, changelog, changeset)?.unwrap_or_else(no_parent);
            self.compare(changeset, &parents, &text, None);
            self.end(manifests, spool, changelog, changeset, &text)?;
        }
        Ok(())
    }

    fn end(
        &mut self,
        manifests: &Manifests<'_>,
        spool: &mut Spool,
        changelog: &CombinedChangelog<'_>,
        changeset: u32,
        text: &Text,
    ) -> Result<(), PrepareError> {
        self.told.insert(changeset);
        let old_manifests = &mut self.old_manifests;
        let mut texts = Texts { snapshot: self.snapshot, old_manifests, manifests, spool, changelog, ancestors: None };
        let changeset = Revision::new(changeset);
        self.observer.manifest(changeset, &mut ObservedManifest::new(changeset, Text::clone(text), &mut texts))
    }

    /// Tells every path that is not as one of the parents has it. `delta`: what makes the text of the first parent's, where that is known.
    fn compare(&mut self, changeset: u32, parents: &ParentTexts, text: &Text, delta: Option<&[u8]>) {
        let changeset = Revision::new(changeset);
        let observer = &mut *self.observer;
        let (first, second) = match &parents[..] {
            [(_, first), (_, second)] => (first, second),
            [(_, only)] => {
                return changes(only, text, delta, &mut |(path, before, now)| {
                    observer.entry(&ObservedEntry { changeset, path, parents: &[before], now });
                });
            }
            _ => return,
        };
        let (mut from_first, mut from_second) = (Vec::new(), Vec::new());
        changes(first, text, delta, &mut |change| from_first.push(change));
        whole_changes(second, text, &mut |change| from_second.push(change));
        let (mut one, mut other) = (from_first.into_iter().peekable(), from_second.into_iter().peekable());
        loop {
            // What is told of one parent alone the other has as it is now.
            let (path, before, now) = match (one.peek(), other.peek()) {
                (None, None) => break,
                (Some(&(path, was, now)), Some(&(path_too, was_too, _))) if path == path_too => {
                    one.next();
                    other.next();
                    (path, [was, was_too], now)
                }
                (Some(&(path, was, now)), next) if next.is_none_or(|next| path < next.0) => {
                    one.next();
                    (path, [was, now], now)
                }
                (_, Some(&(path, was, now))) => {
                    other.next();
                    (path, [now, was], now)
                }
                (Some(_), None) => break,
            };
            observer.entry(&ObservedEntry { changeset, path, parents: &before, now });
        }
    }

    /// The texts of the parents' manifests; `None` where one has not come yet.
    fn parent_texts(
        &mut self,
        manifests: &Manifests<'_>,
        spool: &mut Spool,
        changelog: &CombinedChangelog<'_>,
        changeset: u32,
    ) -> Result<Option<ParentTexts>, PrepareError> {
        let mut texts = ParentTexts::new();
        for parent in changelog.revlog.parents(changeset).into_iter().flatten() {
            let node = self.manifest_of(changelog, parent)?;
            let Some(text) = text_of(manifests, spool, &node)? else { return Ok(None) };
            texts.push((node, text));
        }
        Ok(Some(if texts.is_empty() { no_parent() } else { texts }))
    }

    fn manifest_of(&mut self, changelog: &CombinedChangelog<'_>, changeset: u32) -> Result<Node, PrepareError> {
        manifest_of(self.snapshot, &mut self.old_manifests, changelog, changeset)
    }
}

/// The differences of a manifest from one before: within the delta that made the one of the other, where that is known.
fn changes<'a>(old: &'a [u8], new: &'a [u8], delta: Option<&[u8]>, each: &mut dyn FnMut(Compared<'a>)) {
    match delta {
        Some(delta) => {
            stretched_changes(old, new, stretches(delta).map(|stretch| (stretch.old, stretch.new)), each);
        }
        None => whole_changes(old, new, each),
    }
}

fn no_parent() -> ParentTexts {
    vec![(Node::NULL, Text::default())]
}

/// The name of a changeset's manifest.
pub(super) fn manifest_of(
    snapshot: &Snapshot,
    old_manifests: &mut FxHashMap<u32, Node>,
    changelog: &CombinedChangelog<'_>,
    changeset: u32,
) -> Result<Node, PrepareError> {
    if let Some(node) = changelog.new_manifest(changeset) {
        return Ok(node);
    }
    if let Some(node) = old_manifests.get(&changeset) {
        return Ok(*node);
    }
    let node = snapshot.changeset(Revision::new(changeset))?.manifest;
    old_manifests.insert(changeset, node);
    Ok(node)
}

/// A manifest's text; `None` where there is none of this name.
fn text_of(manifests: &Manifests<'_>, spool: &mut Spool, node: &Node) -> Result<Option<Text>, PrepareError> {
    if node.is_null() {
        return Ok(Some(Text::default()));
    }
    manifests.revlog.revision_of(node).map(|revision| manifests.revlog.text(spool, revision)).transpose()
}

/// Manifests, old and new, for who looks at a merge.
struct Texts<'a, 's> {
    snapshot: &'a Snapshot,
    old_manifests: &'a mut FxHashMap<u32, Node>,
    manifests: &'a Manifests<'s>,
    spool: &'a mut Spool,
    changelog: &'a CombinedChangelog<'s>,
    /// Those of the nearest common ancestors of a merge's parents, once they were asked for: it may take over thousands of files.
    ancestors: Option<(Revision, Vec<Node>)>,
}

impl ManifestSource for Texts<'_, '_> {
    fn text(&mut self, _: &[u8], node: &Node) -> Result<Text, PrepareError> {
        Ok(text_of(self.manifests, self.spool, node)?.unwrap_or_default())
    }

    fn of_common_ancestors(&mut self, merge: Revision) -> Result<Vec<Node>, PrepareError> {
        if let Some((_, ancestors)) = self.ancestors.as_ref().filter(|(of, _)| *of == merge) {
            return Ok(ancestors.clone());
        }
        let parents = |of: u32| self.changelog.revlog.parents(of);
        let [Some(one), Some(other)] = parents(merge.get()) else { return Ok(Vec::new()) };
        let common = common_ancestors(parents, one, other).into_iter();
        let nodes = common.map(|at| manifest_of(self.snapshot, self.old_manifests, self.changelog, at));
        let nodes = nodes.collect::<Result<Vec<_>, _>>()?;
        self.ancestors = Some((merge, nodes.clone()));
        Ok(nodes)
    }
}
