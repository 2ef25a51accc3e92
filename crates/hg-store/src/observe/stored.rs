//! Telling an observer of changesets that the store has already, as if they came now.

use std::collections::BTreeMap;

use rustc_hash::{FxHashMap, FxHashSet};

use super::tree_changes::EachChange;
use super::view::line_of;
use super::{
    FileEntry, Judgement, ManifestSource, MovedBookmark, ObservedChangeset, ObservedEntry, ObservedFile,
    ObservedManifest, ObservedPush, Observer, TreeTexts, common_ancestors, tree_changes, whole_changes,
};
use crate::prepare::{PrepareError, Text};
use crate::{Node, Revision, Snapshot, StoreError};

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
        texts: TreeTexts::new(snapshot, KEPT_BYTES),
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
        let manifest = stored.manifest_of(revision)?;
        let mut entry = |path: &[u8], parents: &[Option<FileEntry>], now: Option<FileEntry>| {
            let entry = ObservedEntry { changeset: revision, path, parents, now };
            files.extend(entry.brought().map(|brought| (path.to_vec(), brought.node)));
            observer.entry(&entry);
        };
        let known = parents.into_iter().flatten().map(|parent| stored.manifest_of(parent));
        let mut known = known.collect::<Result<Vec<_>, _>>()?;
        if known.is_empty() {
            known.push(Node::NULL);
        }
        match snapshot.repository().requirements().tree_manifests() {
            true => tree_changes(&mut stored, &manifest, &known, &mut entry)?,
            false => flat_changes(&mut stored, &manifest, &known, &mut entry)?,
        }
        let text = stored.text(b"", &manifest)?;
        observer.manifest(revision, &mut ObservedManifest::new(revision, text, &mut stored))?;
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
            let (text, object_bytes) = snapshot.full_text(&log, revision)?;
            let changeset = Revision::new(log.link(revision));
            observer.file(&ObservedFile { changeset, path, node: *node, text: &text, object_bytes });
        }
    }
    let first = changesets.iter().min().map_or(snapshot.changelog().len() as u32, |first| first.get());
    let before = snapshot.before(first)?;
    observer.judge(&ObservedPush { before: &before, obsoleted: &[], bookmarks })
}

/// As [`tree_changes`], of flat manifests.
fn flat_changes(
    stored: &mut Stored<'_>,
    now: &Node,
    parents: &[Node],
    each: EachChange<'_>,
) -> Result<(), PrepareError> {
    let text = stored.text(b"", now)?;
    let parents = parents.iter().map(|parent| stored.text(b"", parent)).collect::<Result<Vec<_>, _>>()?;
    let mut changes: BTreeMap<Vec<u8>, Option<FileEntry>> = BTreeMap::new();
    for parent in &parents {
        whole_changes(parent, &text, &mut |(path, _, now)| {
            changes.insert(path.to_vec(), now);
        });
    }
    for (path, now) in &changes {
        let entries: Vec<_> = parents.iter().map(|parent| find(parent, path)).collect();
        each(path, &entries, *now);
    }
    Ok(())
}

/// The store's manifests, by changeset.
struct Stored<'s> {
    snapshot: &'s Snapshot,
    texts: TreeTexts<'s>,
    manifests: FxHashMap<u32, Node>,
    /// The manifests of the nearest common ancestors of the parents of the merge that was asked about last.
    ancestors: Option<(Revision, Vec<Node>)>,
}

impl Stored<'_> {
    fn manifest_of(&mut self, changeset: Revision) -> Result<Node, StoreError> {
        if let Some(node) = self.manifests.get(&changeset.get()) {
            return Ok(*node);
        }
        let node = self.snapshot.changeset(changeset)?.manifest;
        self.manifests.insert(changeset.get(), node);
        Ok(node)
    }
}

impl ManifestSource for Stored<'_> {
    fn text(&mut self, folder: &[u8], node: &Node) -> Result<Text, PrepareError> {
        self.texts.text(folder, node)
    }

    fn of_common_ancestors(&mut self, merge: Revision) -> Result<Vec<Node>, PrepareError> {
        if let Some((_, ancestors)) = self.ancestors.as_ref().filter(|(of, _)| *of == merge) {
            return Ok(ancestors.clone());
        }
        let changelog = self.snapshot.changelog();
        let parents = |of: u32| changelog.parents(Revision::new(of)).map(|parent| parent.map(Revision::get));
        let [Some(one), Some(other)] = parents(merge.get()) else { return Ok(Vec::new()) };
        let ancestors = common_ancestors(parents, one, other).into_iter();
        let ancestors = ancestors.map(|at| self.manifest_of(Revision::new(at))).collect::<Result<Vec<_>, _>>()?;
        self.ancestors = Some((merge, ancestors.clone()));
        Ok(ancestors)
    }
}

/// What a manifest that was checked has at a path.
fn find(text: &[u8], path: &[u8]) -> Option<FileEntry> {
    line_of(text, path).map(|line| FileEntry { node: line.node, flag: line.flag })
}
