//! What a push did, in the lines that stock prints after its transaction.

use super::instability::Instabilities;
use super::obsolescence::Obsolescence;
use hg_store::prepare::{ChangegroupOutcome, Preparation};
use hg_store::{Marker, Node, Phase, Snapshot};
use rustc_hash::FxHashSet;
use std::fmt::Write as _;

/// Counts of one push.
#[derive(Debug, Default)]
pub(super) struct Totals {
    added: Vec<Node>,
    changes: u64,
    files: u64,
    heads: i64,
    markers: Vec<Marker>,
    new_markers: usize,
    wrote: bool,
}

impl Totals {
    /// Of a changegroup, so many revisions were read. One that fails after its first has written to a store of stock's.
    pub(super) fn seen(&mut self, revisions: u64, whole: bool) {
        self.wrote |= !whole && revisions > 1;
    }

    pub(super) fn add(&mut self, outcome: &ChangegroupOutcome) {
        self.added.extend(&outcome.added);
        self.changes += outcome.changes;
        self.files += outcome.files;
        self.heads += outcome.heads_change;
        self.wrote |= !outcome.added.is_empty() || outcome.changes > 0;
    }

    pub(super) fn add_markers(&mut self, markers: Vec<Marker>, new: usize) {
        self.markers.extend(markers);
        self.new_markers += new;
        self.wrote |= new > 0;
    }

    /// What stock says when a push fails: only if its transaction had written something.
    pub(super) fn abort_lines(&self) -> &'static str {
        if self.wrote { "transaction abort!\nrollback completed\n" } else { "" }
    }

    /// What stock says after a push: whole lines.
    pub(super) fn lines(
        &self,
        snapshot: &Snapshot,
        preparation: &Preparation<'_>,
    ) -> Result<String, super::PushFailure> {
        let mut lines = String::new();
        if !self.added.is_empty() || self.changes > 0 || self.files > 0 {
            let _ = write!(
                lines,
                "added {} changesets with {} changes to {} files",
                self.added.len(),
                self.changes,
                self.files
            );
            if self.heads != 0 {
                let _ = write!(lines, " ({:+} heads)", self.heads);
            }
            lines.push('\n');
        }
        if self.new_markers > 0 {
            let _ = writeln!(lines, "{} new obsolescence markers", self.new_markers);
            let obsoleted = self.obsoleted(snapshot, preparation)?;
            if obsoleted > 0 {
                let _ = writeln!(lines, "obsoleted {obsoleted} changesets");
            }
        }
        if snapshot.settings().creates_markers() {
            let known = snapshot.obsstore().map_err(super::PushFailure::store)?.markers();
            if !known.is_empty() || !self.markers.is_empty() {
                let before = Instabilities::before(snapshot, &Obsolescence::new(known.iter()))?;
                let after = Instabilities::after(
                    snapshot,
                    preparation,
                    &self.added,
                    &Obsolescence::new(known.iter().chain(&self.markers)),
                )?;
                after.write_new(&before, &mut lines);
            }
        }
        Ok(lines)
    }

    /// Changesets that the repository had, that aren't public, and to which only markers of this push point.
    fn obsoleted(&self, snapshot: &Snapshot, preparation: &Preparation<'_>) -> Result<usize, super::PushFailure> {
        let known = snapshot.obsstore().map_err(super::PushFailure::store)?.markers();
        let pointed_at: FxHashSet<Node> = known.iter().map(|marker| marker.predecessor).collect();
        let new: FxHashSet<Node> = self.markers.iter().map(|marker| marker.predecessor).collect();
        let mut count = 0;
        for node in new.difference(&pointed_at) {
            if let Some(revision) = snapshot.changelog().revision_of(node) {
                count += usize::from(preparation.phase(revision)? != Phase::Public);
            }
        }
        Ok(count)
    }
}
