//! The changesets that a server shows.

use crate::walk::RevisionSet;
use crate::{Filter, Node, Phase, Phases, Revision, Revlog, Snapshot, StoreError};

/// What a [`Filter`] leaves: of `served` no secret changesets, no hidden ones (obsolete, and nothing visible builds on them).
///
/// With a changeset the view has all its ancestors. What only a working directory knows (its parents, local tags) keeps
/// no obsolete changeset here: a server has none.
pub struct View {
    excluded: Vec<Revision>,
    obsolete: Vec<Revision>,
    /// Empty when nothing is excluded.
    is_excluded: RevisionSet,
    heads: Vec<Revision>,
    tip: Option<Revision>,
    len: usize,
}

impl View {
    pub(crate) fn new(snapshot: &Snapshot, filter: Filter) -> Result<View, StoreError> {
        let changelog = snapshot.changelog();
        let phases = snapshot.phases()?;
        let obsolete = obsolete(snapshot, phases)?;
        let non_public = phases.non_public();
        let not_below =
            |least: Phase| non_public.iter().filter(move |(_, phase)| *phase >= least).map(|(revision, _)| *revision);
        let mut excluded: Vec<Revision> = match filter {
            Filter::Served => not_below(Phase::Secret).chain(hidden(snapshot, phases, &obsolete)?).collect(),
            Filter::ServedHidden => not_below(Phase::Secret).collect(),
            Filter::Immutable => not_below(Phase::Draft).collect(),
            Filter::Base => match non_public.first() {
                Some((first, _)) => changelog.revisions().skip(first.index()).collect(),
                None => Vec::new(),
            },
        };
        excluded.sort_unstable();
        excluded.dedup();
        let bound = if excluded.is_empty() { 0 } else { changelog.len() };
        let mut is_excluded = RevisionSet::below(bound);
        for revision in &excluded {
            is_excluded.insert(revision.index());
        }
        let mut view = View {
            len: changelog.len() - excluded.len(),
            excluded,
            obsolete,
            is_excluded,
            heads: Vec::new(),
            tip: None,
        };
        match snapshot.kept_heads()? {
            Some(kept) => view.take_heads(changelog, kept.heads()),
            None => view.find_heads(changelog),
        }
        Ok(view)
    }

    /// Of a changelog with nothing left out.
    pub(crate) fn of_all(changelog: &Revlog) -> View {
        let mut view = View {
            len: changelog.len(),
            excluded: Vec::new(),
            obsolete: Vec::new(),
            is_excluded: RevisionSet::below(0),
            heads: Vec::new(),
            tip: None,
        };
        view.find_heads(changelog);
        view
    }

    /// `all` are the changelog's heads. Of what is left out the parents may be heads of the view: whether they have other children is looked
    /// for above them alone.
    fn take_heads(&mut self, changelog: &Revlog, all: Vec<Revision>) {
        let parents = self.excluded.iter().flat_map(|revision| changelog.parents(*revision)).flatten();
        let mut bared: Vec<Revision> = parents.filter(|parent| self.contains(*parent)).collect();
        bared.sort_unstable();
        bared.dedup();
        self.heads = all.into_iter().filter(|head| self.contains(*head)).collect();
        if let Some(lowest) = bared.first() {
            let mut has_child = RevisionSet::below(changelog.len());
            for revision in changelog.revisions().skip(lowest.index() + 1).filter(|revision| self.contains(*revision)) {
                for parent in changelog.parents(revision).into_iter().flatten() {
                    has_child.insert(parent.index());
                }
            }
            self.heads.extend(bared.into_iter().filter(|revision| !has_child.contains(revision.index())));
            self.heads.sort_unstable_by(|one, other| other.cmp(one));
        }
        self.tip = self.heads.first().copied();
    }

    fn find_heads(&mut self, changelog: &Revlog) {
        let mut has_child = RevisionSet::below(changelog.len());
        for revision in changelog.revisions().rev() {
            if !self.contains(revision) {
                continue;
            }
            if !has_child.contains(revision.index()) {
                self.heads.push(revision);
            }
            let [one, other] = changelog.parents(revision);
            let mut note = |parent: Option<Revision>| parent.is_some_and(|parent| has_child.insert(parent.index()));
            note(one);
            note(other);
        }
        self.tip = self.heads.first().copied();
    }

    /// Whether the view has this changeset.
    pub fn contains(&self, revision: Revision) -> bool {
        !self.is_excluded.contains(revision.index())
    }

    /// The changeset of this name, if the view has it.
    pub fn revision_of(&self, changelog: &Revlog, node: &Node) -> Option<Revision> {
        changelog.revision_of(node).filter(|revision| self.contains(*revision))
    }

    /// Changesets of the view without children in it, highest first, as stock's `heads` answers.
    pub fn heads(&self) -> &[Revision] {
        &self.heads
    }

    /// Changesets that the view lacks, lowest first.
    pub fn excluded(&self) -> &[Revision] {
        &self.excluded
    }

    /// All changesets that are obsolete: not public, and replaced as a marker says; hidden or not. Lowest first.
    pub fn obsolete(&self) -> &[Revision] {
        &self.obsolete
    }

    /// The highest changeset of the view.
    pub fn tip(&self) -> Option<Revision> {
        self.tip
    }

    /// Number of changesets in the view.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the view has no changeset.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// Changesets that aren't public and that a marker says were replaced. Lowest first.
fn obsolete(snapshot: &Snapshot, phases: &Phases) -> Result<Vec<Revision>, StoreError> {
    let changelog = snapshot.changelog();
    let markers = snapshot.obsstore()?.markers();
    let replaced = markers.iter().filter_map(|marker| changelog.revision_of(&marker.predecessor));
    let mut obsolete: Vec<Revision> = replaced.filter(|revision| phases.phase(*revision) != Phase::Public).collect();
    obsolete.sort_unstable();
    obsolete.dedup();
    Ok(obsolete)
}

/// Changesets that are obsolete (or internal), not bookmarked, and have only such descendants. Lowest first.
fn hidden(snapshot: &Snapshot, phases: &Phases, obsolete: &[Revision]) -> Result<Vec<Revision>, StoreError> {
    let changelog = snapshot.changelog();
    let kept_by_mercurial = |phase| matches!(phase, Phase::Archived | Phase::Internal);
    let internal = phases.non_public().iter().filter(|(_, phase)| kept_by_mercurial(*phase));
    let mut candidates: Vec<Revision> = internal.map(|(revision, _)| *revision).collect();
    candidates.extend_from_slice(obsolete);
    candidates.sort_unstable();
    candidates.dedup();
    let Some(first) = candidates.first().copied() else { return Ok(Vec::new()) };
    let mut is_candidate = RevisionSet::below(changelog.len());
    for revision in &candidates {
        is_candidate.insert(revision.index());
    }
    let mut kept = RevisionSet::below(changelog.len());
    for (_, node) in snapshot.bookmarks()?.iter() {
        if let Some(revision) = changelog.revision_of(&node) {
            kept.insert(revision.index());
        }
    }
    // From the tip down, each visible changeset that isn't public keeps its parents.
    for &(revision, _) in phases.non_public().iter().rev() {
        if revision < first {
            break;
        }
        if !is_candidate.contains(revision.index()) || kept.contains(revision.index()) {
            for parent in changelog.parents(revision).into_iter().flatten() {
                kept.insert(parent.index());
            }
        }
    }
    candidates.retain(|revision| !kept.contains(revision.index()));
    Ok(candidates)
}
