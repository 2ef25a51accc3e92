//! Phases that a push moves.

use rustc_hash::FxHashMap;

use crate::{Node, Phase, Revision, Snapshot};

use super::changelog::CombinedChangelog;
use super::error::PrepareError;

/// The phases of old and new changesets as of now.
#[derive(Default)]
pub(super) struct MovedPhases {
    /// Old changesets that moved: phase before and now.
    moved: FxHashMap<u32, (Phase, Phase)>,
    /// New changesets, lowest first.
    new: Vec<Phase>,
}

impl MovedPhases {
    /// A new changeset: the next one of the changelog.
    pub(super) fn push(&mut self, phase: Phase) {
        self.new.push(phase);
    }

    pub(super) fn phase(
        &self,
        snapshot: &Snapshot,
        changelog: &CombinedChangelog<'_>,
        revision: Revision,
    ) -> Result<Phase, PrepareError> {
        if let Some(number) = revision.get().checked_sub(changelog.first_new()) {
            return Ok(self.new.get(number as usize).copied().unwrap_or(Phase::Public));
        }
        match self.moved.get(&revision.get()) {
            Some((_, now)) => Ok(*now),
            None => Ok(snapshot.phases()?.phase(revision)),
        }
    }

    /// Lowers a changeset and its ancestors to a phase; what is as low, and so its ancestors, stays. Whether anything moved.
    pub(super) fn lower(
        &mut self,
        snapshot: &Snapshot,
        changelog: &CombinedChangelog<'_>,
        revision: Revision,
        phase: Phase,
    ) -> Result<bool, PrepareError> {
        let mut any = false;
        let mut left = vec![revision];
        while let Some(revision) = left.pop() {
            let now = self.phase(snapshot, changelog, revision)?;
            if now <= phase {
                continue;
            }
            any = true;
            match revision.get().checked_sub(changelog.first_new()) {
                Some(number) => self.new[number as usize] = phase,
                None => self.moved.entry(revision.get()).or_insert((now, phase)).1 = phase,
            }
            left.extend(changelog.parents(revision).into_iter().flatten());
        }
        Ok(any)
    }

    /// The new content of `phaseroots`: a line `phase hex` for each changeset that is not public and whose parents all are lower, by
    /// phase, then by number. `None` where it stays as it is.
    pub(super) fn roots(
        &self,
        snapshot: &Snapshot,
        changelog: &CombinedChangelog<'_>,
    ) -> Result<Option<Vec<u8>>, PrepareError> {
        if self.moved.is_empty() && self.new.iter().all(|phase| *phase == Phase::Public) {
            return Ok(None);
        }
        let old = snapshot
            .phases()?
            .non_public()
            .iter()
            .map(|&(revision, phase)| (revision, self.moved.get(&revision.get()).map_or(phase, |(_, now)| *now)));
        let new = changelog.new_changesets().zip(self.new.iter().copied());
        let mut roots: Vec<(Phase, Revision)> = Vec::new();
        for (revision, phase) in old.chain(new).filter(|(_, phase)| *phase != Phase::Public) {
            let mut root = true;
            for parent in changelog.parents(revision).into_iter().flatten() {
                root &= self.phase(snapshot, changelog, parent)? < phase;
            }
            if root {
                roots.push((phase, revision));
            }
        }
        roots.sort_unstable();
        let mut content = Vec::new();
        for (phase, revision) in roots {
            content.extend_from_slice(format!("{} {}\n", phase.number(), changelog.node(revision)).as_bytes());
        }
        let before = snapshot.state().phaseroots.as_deref().unwrap_or_default();
        Ok((content != before).then_some(content))
    }

    /// What moved, lowest first: before and now. New changesets only where they are not public.
    pub(super) fn summary(&self, changelog: &CombinedChangelog<'_>) -> Vec<(Node, Option<Phase>, Phase)> {
        let mut moved: Vec<_> =
            self.moved.iter().map(|(&number, &(before, now))| (number, Some(before), now)).collect();
        moved.sort_unstable_by_key(|(number, ..)| *number);
        let old = moved
            .into_iter()
            .filter_map(|(number, before, now)| Some((changelog.node(changelog.revision(number)?), before, now)));
        let new = changelog
            .new_changesets()
            .zip(&self.new)
            .filter(|(_, phase)| **phase != Phase::Public)
            .map(|(revision, phase)| (changelog.node(revision), None, *phase));
        old.chain(new).collect()
    }
}
