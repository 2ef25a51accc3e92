//! Names that are one to some file systems: of two files at once, or of one file before and after.

use std::hash::{BuildHasher, RandomState};

use hg_store::Revision;
use hg_store::observe::{ObservedEntry, ObservedManifest, ObservedPush};
use hg_store::prepare::PrepareError;
use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use super::{Check, Told, Verdict};
use crate::Case;
use crate::findings::{Findings, short};
use crate::folding::folded;
use crate::pushed::PushedChangesets;
use crate::shown::shown;

struct CaseCheck {
    case: Case,
    /// Of the changeset that is being told, against its first parent, in the order of paths.
    added: Vec<Box<[u8]>>,
    removed: Vec<Box<[u8]>>,
    names: KnownNames,
    /// Changesets of which all names are known.
    covered: FxHashSet<Revision>,
    renames: Findings,
    collisions: Findings,
}

pub(super) fn new(case: &Case) -> Option<Box<dyn Check>> {
    if case.renames && case.collisions {
        return None;
    }
    Some(Box::new(CaseCheck {
        case: case.clone(),
        added: Vec::new(),
        removed: Vec::new(),
        names: KnownNames::default(),
        covered: FxHashSet::default(),
        renames: Findings::default(),
        collisions: Findings::default(),
    }))
}

impl Check for CaseCheck {
    fn entry(&mut self, entry: &ObservedEntry<'_>, _: &PushedChangesets) {
        match (entry.parents[0], entry.now) {
            (None, Some(_)) => self.added.push(entry.path.into()),
            (Some(_), None) => self.removed.push(entry.path.into()),
            _ => {}
        }
    }

    fn manifest(&mut self, of: Revision, manifest: &mut ObservedManifest<'_>, pushed: &PushedChangesets) -> Told {
        let (added, removed) = (std::mem::take(&mut self.added), std::mem::take(&mut self.removed));
        let name = short(&pushed.node(of));
        if !self.case.renames && !added.is_empty() && !removed.is_empty() {
            let now: FxHashMap<_, _> = added.iter().map(|path| (folded(path), path)).collect();
            for path in &removed {
                if let Some(renamed) = now.get(&folded(path)) {
                    self.renames.add(|| format!("changeset {name}, file {} to {}", shown(path), shown(renamed)));
                }
            }
        }
        if self.case.collisions {
            return Ok(());
        }
        let parent = pushed.get(of).and_then(|new| new.parents[0]);
        let is_covered = parent.is_some_and(|parent| self.covered.contains(&parent));
        if added.is_empty() {
            self.covered.extend(is_covered.then_some(of));
            return Ok(());
        }
        let mut all = is_covered;
        match is_covered {
            true => added.iter().for_each(|path| self.names.add(path)),
            false => {
                // Of trees those folders alone in which a name may be one of the new ones: each changeset has its own.
                let folders = added.iter().flat_map(|path| memchr::memchr_iter(b'/', path).map(|end| &path[..end]));
                let near: FxHashSet<_> = folders.map(folded).collect();
                let names = &mut self.names;
                all = manifest.each_name(&mut |folder| near.contains(&folded(folder)), &mut |name| names.add(name))?;
                // With what it lacks these are its parent's names too: the parent's other children need not bring them again.
                removed.iter().for_each(|path| self.names.add(path));
                self.covered.extend(parent.filter(|_| all));
            }
        }
        self.covered.extend(all.then_some(of));
        for path in &added {
            for other in self.names.twins_of(path, manifest)? {
                // Of two that are added together one is told.
                if added.binary_search_by(|added| (**added).cmp(&other)).is_ok() && *other < **path {
                    continue;
                }
                self.collisions.add(|| format!("changeset {name}, files {} and {}", shown(path), shown(&other)));
            }
        }
        Ok(())
    }

    fn judge(&mut self, _: &ObservedPush<'_>, _: &PushedChangesets, verdict: &mut Verdict<'_>) -> Told {
        let remedy = "Rename it by way of another name, in two changesets";
        verdict.refuse(&self.renames, "a rename changes only the case of a name", remedy);
        let remedy = "Rename one of the two in the changeset that brings it";
        verdict.refuse(&self.collisions, "two names are one on Windows or macOS", remedy);
        Ok(())
    }
}

/// The names that were met so far, by how they fold.
#[derive(Default)]
struct KnownNames {
    hasher: RandomState,
    /// By hash of the folded name; folders without their files are names too.
    known: FxHashMap<u64, SmallVec<[Box<[u8]>; 1]>>,
    last_folder: Vec<u8>,
}

impl KnownNames {
    fn add(&mut self, path: &[u8]) {
        let folder = path.iter().rposition(|byte| *byte == b'/').map_or(&[][..], |end| &path[..end]);
        if folder != self.last_folder {
            self.last_folder = folder.to_vec();
            let folders: Vec<usize> = memchr::memchr_iter(b'/', path).collect();
            folders.into_iter().for_each(|end| self.insert(&path[..end]));
        }
        self.insert(path);
    }

    fn insert(&mut self, name: &[u8]) {
        let names = self.known.entry(self.hasher.hash_one(&*folded(name))).or_default();
        if !names.iter().any(|known| **known == *name) {
            names.push(name.into());
        }
    }

    /// Other names in this manifest that a file, or one of its folders, is not to be told from. Two folders may be one: what lies in
    /// them is told apart.
    fn twins_of(&self, path: &[u8], manifest: &mut ObservedManifest<'_>) -> Result<Vec<Box<[u8]>>, PrepareError> {
        let mut twins = Vec::new();
        let folders = memchr::memchr_iter(b'/', path).map(|end| &path[..end]);
        for (name, is_folder) in folders.map(|folder| (folder, true)).chain([(path, false)]) {
            let folded_name = folded(name);
            let Some(known) = self.known.get(&self.hasher.hash_one(&*folded_name)) else { continue };
            for other in known.iter().filter(|other| ***other != *name && folded(other) == folded_name) {
                if manifest.has_file(other)? || (!is_folder && manifest.has_folder(other)?) {
                    twins.push(other.clone());
                }
            }
        }
        Ok(twins)
    }
}
