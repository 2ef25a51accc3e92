//! Changesets that markers leave in trouble, counted as stock counts them.

use super::PushFailure;
use super::obsolescence::Obsolescence;
use hg_store::prepare::Preparation;
use hg_store::{Node, Phase, Revision, Snapshot};
use rustc_hash::{FxHashMap, FxHashSet};
use std::fmt::Write as _;

/// How many served changesets are in which trouble.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Instabilities {
    orphan: usize,
    phase_divergent: usize,
    content_divergent: usize,
}

/// Changesets that aren't public, lowest first, and what is asked about them.
struct Graph<'g> {
    mutable: Vec<(u32, Node, [Option<u32>; 2])>,
    /// Those of the mutable ones that nobody is shown: they aren't counted.
    unseen: FxHashSet<u32>,
    is_public: &'g dyn Fn(&Node) -> bool,
    is_here: &'g dyn Fn(&Node) -> bool,
}

impl Instabilities {
    /// Those of a repository before a push.
    pub(super) fn before(snapshot: &Snapshot, obsolescence: &Obsolescence<'_>) -> Result<Instabilities, PushFailure> {
        let changelog = snapshot.changelog();
        let phases = snapshot.phases().map_err(PushFailure::store)?;
        let served = snapshot.served().map_err(PushFailure::store)?;
        let numbers = |revision| changelog.parents(revision).map(|parent| parent.map(Revision::get));
        let mutable: Vec<_> =
            phases.non_public().iter().map(|(r, _)| (r.get(), changelog.node(*r), numbers(*r))).collect();
        let unseen = phases.non_public().iter().filter(|(r, _)| !served.contains(*r)).map(|(r, _)| r.get()).collect();
        let is_public =
            |node: &Node| changelog.revision_of(node).is_some_and(|revision| phases.phase(revision) == Phase::Public);
        let is_here = |node: &Node| changelog.revision_of(node).is_some();
        Ok(Graph { mutable, unseen, is_public: &is_public, is_here: &is_here }.count(obsolescence))
    }

    /// Those of a repository after what was prepared.
    pub(super) fn after(
        snapshot: &Snapshot,
        preparation: &Preparation<'_>,
        added: &[Node],
        obsolescence: &Obsolescence<'_>,
    ) -> Result<Instabilities, PushFailure> {
        let changelog = preparation.changelog();
        let phases = snapshot.phases().map_err(PushFailure::store)?;
        let old = phases.non_public().iter().map(|(revision, _)| *revision);
        let new = added.iter().filter_map(|node| changelog.revision_of(node));
        let mut mutable = Vec::new();
        let mut secret = FxHashSet::default();
        for revision in old.chain(new) {
            let phase = preparation.phase(revision)?;
            if phase == Phase::Public {
                continue;
            }
            if phase > Phase::Draft {
                secret.insert(revision.get());
            }
            let parents = changelog.parents(revision).map(|parent| parent.map(Revision::get));
            mutable.push((revision.get(), changelog.node(revision), parents));
        }
        let unseen = secret;
        let is_public = |node: &Node| {
            changelog
                .revision_of(node)
                .is_some_and(|revision| preparation.phase(revision).is_ok_and(|phase| phase == Phase::Public))
        };
        let is_here = |node: &Node| changelog.revision_of(node).is_some();
        Ok(Graph { mutable, unseen, is_public: &is_public, is_here: &is_here }.count(obsolescence))
    }

    /// Appends a line for each trouble that there is more of than `before`.
    pub(super) fn write_new(&self, before: &Instabilities, lines: &mut String) {
        let kinds = [
            ("orphan", self.orphan, before.orphan),
            ("phase-divergent", self.phase_divergent, before.phase_divergent),
            ("content-divergent", self.content_divergent, before.content_divergent),
        ];
        for (kind, now, before) in kinds {
            if now > before {
                let _ = writeln!(lines, "{} new {kind} changesets", now - before);
            }
        }
    }
}

impl Graph<'_> {
    fn count(&self, obsolescence: &Obsolescence<'_>) -> Instabilities {
        let mut found = Instabilities::default();
        let mut obsolete = FxHashSet::default();
        let mut orphans = FxHashSet::default();
        let mut successors = FxHashMap::default();
        for (number, node, parents) in &self.mutable {
            if obsolescence.replaces(node) {
                obsolete.insert(*number);
                continue;
            }
            let counted = usize::from(!self.unseen.contains(number));
            if parents.iter().flatten().any(|parent| obsolete.contains(parent) || orphans.contains(parent)) {
                orphans.insert(*number);
                found.orphan += counted;
            }
            if counted > 0 && obsolescence.is_phase_divergent(node, self.is_public) {
                found.phase_divergent += 1;
            }
            if counted > 0 && obsolescence.is_content_divergent(node, &mut successors, self.is_here) {
                found.content_divergent += 1;
            }
        }
        found
    }
}
