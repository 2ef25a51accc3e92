//! How much one push may bring.

use hg_store::Revision;
use hg_store::observe::{ObservedChangeset, ObservedEntry, ObservedFile, ObservedManifest, ObservedPush};
use rustc_hash::FxHashSet;

use super::{Check, Told, Verdict};
use crate::Limits;
use crate::findings::Findings;
use crate::pushed::PushedChangesets;

const REMEDY: &str = "Push it in smaller pieces, or ask the administrators for a higher limit";

struct LimitCheck {
    limits: Limits,
    changesets: u64,
    files: u64,
    bytes: u64,
    /// Of the changeset that is being told.
    entries: u64,
    large: Findings,
}

pub(super) fn new(limits: &Limits) -> Option<Box<dyn Check>> {
    let limits = limits.clone();
    Some(Box::new(LimitCheck { limits, changesets: 0, files: 0, bytes: 0, entries: 0, large: Findings::default() }))
}

impl Check for LimitCheck {
    fn changeset(&mut self, _: &ObservedChangeset<'_>) {
        self.changesets += 1;
    }

    fn entry(&mut self, entry: &ObservedEntry<'_>, _: &PushedChangesets) {
        // A merge has what it takes over from the other side; that is no change of its own.
        self.entries += u64::from(entry.parents.len() == 1 || entry.brought().is_some());
    }

    fn manifest(&mut self, of: Revision, _: &mut ObservedManifest<'_>, pushed: &PushedChangesets) -> Told {
        let entries = std::mem::take(&mut self.entries);
        if self.limits.changeset_files_max.is_some_and(|max| entries > max) {
            self.large.changeset(pushed.node(of));
        }
        Ok(())
    }

    fn file(&mut self, file: &ObservedFile<'_>, _: &PushedChangesets) {
        self.files += 1;
        self.bytes = self.bytes.saturating_add(file.content_bytes());
    }

    fn judge(&mut self, _: &ObservedPush<'_>, pushed: &PushedChangesets, verdict: &mut Verdict<'_>) -> Told {
        let Limits { changesets_max, files_max, bytes_max, changeset_files_max, heads_max } = self.limits;
        for (count, max, unit) in [
            (self.changesets, changesets_max, "changesets"),
            (self.files, files_max, "file revisions"),
            (self.bytes, bytes_max, "bytes of files"),
            (new_heads(pushed), heads_max, "new heads"),
        ] {
            if let Some(max) = max.filter(|max| count > *max) {
                verdict.refuse_push(&format!("the push has {count} {unit} and {max} are allowed"), REMEDY);
            }
        }
        let max = changeset_files_max.unwrap_or_default();
        let remedy = "Split the changeset, or ask the administrators for a higher limit";
        verdict.refuse(&self.large, &format!("more than {max} files in one changeset"), remedy);
        Ok(())
    }
}

/// New changesets without a child; all of them are heads.
fn new_heads(pushed: &PushedChangesets) -> u64 {
    let parents: FxHashSet<Revision> = pushed.all().iter().flat_map(|new| new.parents).flatten().collect();
    pushed.all().iter().filter(|new| !parents.contains(&new.revision)).count() as u64
}
