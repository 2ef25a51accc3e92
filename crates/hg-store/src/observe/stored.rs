//! Telling an observer of changesets that the store has already, as if they came now.

use std::collections::BTreeMap;

use rustc_hash::{FxHashMap, FxHashSet};

use super::{
    Ancestry, FileEntry, Judgement, MovedBookmark, ObservedChangeset, ObservedEntry, ObservedFile, ObservedPush,
    Observer, common_ancestors, whole_changes,
};
use crate::prepare::PrepareError;
use crate::{Node, Revision, Snapshot, StoreError, Texts, manifest};

/// Bytes of manifests that are kept.
const KEPT_BYTES: usize = 64 << 20;

/// Tells an observer of these changesets, of which all parents are among them or below the first; and asks it to judge them, and the
/// bookmarks that moved with them.
///
/// What came before is the repository as long as it was before the first one, without phases, bookmarks and markers: the store does not
/// keep what those were.
///
/// # Errors
/// The repository can't be read.
pub fn observe_stored(
    snapshot: &Snapshot,
    changesets: &[Revision],
    bookmarks: &[MovedBookmark],
    observer: &mut dyn Observer,
) -> Result<Judgement, PrepareError> {
    let mut stored = Stored {
        snapshot,
        texts: snapshot.manifest().texts(KEPT_BYTES),
        manifests: FxHashMap::default(),
        ancestors: None,
    };
    let of_push: FxHashSet<u32> = changesets.iter().map(|revision| revision.get()).collect();
    let mut files = Vec::new();
    for &revision in changesets {
        let content = snapshot.changeset(revision)?;
        let parents = snapshot.changelog().parents(revision);
        let node = snapshot.changelog().node(revision);
        observer.changeset(&ObservedChangeset { revision, node, parents, content: &content });
        let text = stored.text(revision)?;
        let mut changes: BTreeMap<Vec<u8>, Option<FileEntry>> = BTreeMap::new();
        let known: Vec<Revision> = parents.into_iter().flatten().collect();
        let parent_texts = match known.is_empty() {
            true => vec![Default::default()],
            false => known.iter().map(|parent| stored.text(*parent)).collect::<Result<Vec<_>, _>>()?,
        };
        for parent in &parent_texts {
            whole_changes(parent, &text, &mut |(path, _, now)| {
                changes.insert(path.to_vec(), now);
            });
        }
        for (path, now) in &changes {
            let entries: Vec<_> = parent_texts.iter().map(|parent| find(parent, path)).collect();
            let entry = ObservedEntry { changeset: revision, path, parents: &entries, now: *now };
            files.extend(entry.brought().map(|brought| (path.clone(), brought.node)));
            observer.entry(&entry);
        }
        observer.manifest(revision, &text, &mut stored)?;
    }
    files.sort_unstable();
    files.dedup();
    for of_path in files.chunk_by(|a, b| a.0 == b.0) {
        let path = &of_path[0].0;
        let Some(log) = snapshot.filelog(path)? else { continue };
        for (_, node) in of_path {
            let Some(revision) = log.revision_of(node).filter(|revision| of_push.contains(&log.link(*revision))) else {
                continue;
            };
            let text = log.text(revision)?;
            let changeset = Revision::new(log.link(revision));
            observer.file(&ObservedFile { changeset, path, node: *node, text: &text });
        }
    }
    let first = changesets.iter().min().map_or(snapshot.changelog().len() as u32, |first| first.get());
    let before = snapshot.before(first)?;
    observer.judge(&ObservedPush { before: &before, obsoleted: &[], bookmarks })
}

/// The store's manifests, by changeset.
struct Stored<'s> {
    snapshot: &'s Snapshot,
    texts: Texts<'s>,
    manifests: FxHashMap<u32, Node>,
    /// The nearest common ancestors of the parents of the merge that was asked about last.
    ancestors: Option<(Revision, Vec<u32>)>,
}

impl Stored<'_> {
    fn text(&mut self, changeset: Revision) -> Result<std::sync::Arc<Vec<u8>>, StoreError> {
        let node = match self.manifests.get(&changeset.get()) {
            Some(node) => *node,
            None => {
                let node = self.snapshot.changeset(changeset)?.manifest;
                self.manifests.insert(changeset.get(), node);
                node
            }
        };
        match self.snapshot.manifest().revision_of(&node) {
            Some(revision) => self.texts.text_unchecked(revision),
            None => Ok(Default::default()),
        }
    }
}

impl Ancestry for Stored<'_> {
    fn at_common_ancestors(&mut self, merge: Revision, path: &[u8]) -> Result<Vec<Option<FileEntry>>, PrepareError> {
        if self.ancestors.as_ref().is_none_or(|(of, _)| *of != merge) {
            let changelog = self.snapshot.changelog();
            let parents = |of: u32| changelog.parents(Revision::new(of)).map(|parent| parent.map(Revision::get));
            let [Some(one), Some(other)] = parents(merge.get()) else { return Ok(Vec::new()) };
            self.ancestors = Some((merge, common_ancestors(parents, one, other)));
        }
        let mut found = Vec::new();
        for ancestor in self.ancestors.clone().into_iter().flat_map(|(_, ancestors)| ancestors) {
            found.push(find(&self.text(Revision::new(ancestor))?, path));
        }
        Ok(found)
    }
}

/// What a manifest that was checked has at a path.
pub(crate) fn find(text: &[u8], path: &[u8]) -> Option<FileEntry> {
    let line = manifest::find(text, path).ok().flatten()?;
    Some(FileEntry { node: line.node, flag: line.flag })
}
