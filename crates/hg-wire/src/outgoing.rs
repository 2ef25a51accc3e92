//! Which changesets a client lacks of what it asks for.

use hg_store::{Revision, Revlog};

/// The client has it, as far as its `common` says.
const COMMON: u8 = 1;
/// The client asks for it or for a descendant of it.
const WANTED: u8 = 2;

/// The changesets that go out: ancestors of the wanted heads that are no ancestors of what the client has.
pub struct Outgoing {
    /// Lowest first.
    missing: Vec<Revision>,
    /// Marks of each changeset; those below the lowest missing one are made on demand.
    marks: Vec<u8>,
    /// The lowest revision number down to which `marks` says all.
    marked_to: usize,
    /// Whether there may be changesets that neither go out nor are the client's.
    has_others: bool,
}

impl Outgoing {
    /// Walks from the wanted heads down until everything left is the client's.
    ///
    /// `all_heads` are the changelog's heads with nothing left out; when each of them is wanted or common, no
    /// changeset exists that the client won't have afterwards.
    pub fn new(
        changelog: &Revlog,
        common: &[Revision],
        wanted: &[Revision],
        all_heads: Option<&[Revision]>,
    ) -> Outgoing {
        let mut marks = vec![0u8; changelog.len()];
        // Changesets that are marked as wanted, not as common, and not visited yet.
        let mut pending = 0usize;
        for revision in common {
            marks[revision.index()] = COMMON;
        }
        for revision in wanted {
            let mark = &mut marks[revision.index()];
            if *mark == 0 {
                *mark = WANTED;
                pending += 1;
            }
        }
        let has_others = all_heads.is_none_or(|heads| heads.iter().any(|head| marks[head.index()] == 0));
        let mut missing = Vec::new();
        let mut at = marks.len();
        while pending > 0 {
            at -= 1;
            let mark = marks[at];
            if mark == 0 {
                continue;
            }
            let Some(revision) = changelog.revision(at as u32) else { break };
            if mark & COMMON == 0 {
                missing.push(revision);
                pending -= 1;
            }
            for parent in changelog.parents(revision).into_iter().flatten() {
                let parent_mark = &mut marks[parent.index()];
                if mark & COMMON != 0 {
                    if *parent_mark == WANTED {
                        pending -= 1;
                    }
                    *parent_mark |= COMMON;
                } else if *parent_mark == 0 {
                    *parent_mark = WANTED;
                    pending += 1;
                }
            }
        }
        missing.reverse();
        Outgoing { missing, marks, marked_to: at, has_others }
    }

    /// Returns the changesets that go out, lowest first.
    pub fn missing(&self) -> &[Revision] {
        &self.missing
    }

    /// Returns whether there may be changesets that neither go out nor are the client's: hidden, secret, or on a branch
    /// that was not asked for. Without them, whatever doesn't go out is the client's.
    pub fn has_others(&self) -> bool {
        self.has_others
    }

    /// Returns whether the changeset of this number goes out.
    #[inline]
    pub fn contains(&self, number: u32) -> bool {
        number as usize >= self.marked_to && self.marks.get(number as usize).is_some_and(|mark| *mark == WANTED)
    }

    /// Makes the marks say of every changeset whether it is the client's. Needed where there are others.
    pub fn mark_all_common(&mut self, changelog: &Revlog) {
        for at in (0..self.marked_to).rev() {
            if self.marks[at] & COMMON == 0 {
                continue;
            }
            let Some(revision) = changelog.revision(at as u32) else { continue };
            for parent in changelog.parents(revision).into_iter().flatten() {
                self.marks[parent.index()] |= COMMON;
            }
        }
        // What was wanted is at or above the old bound; below it a mark says COMMON or nothing.
        self.marked_to = 0;
    }

    /// Returns whether the client has the changeset of this number. Exact once [`Outgoing::mark_all_common`] ran, or
    /// where there are no others.
    #[inline]
    pub fn is_common(&self, number: u32) -> bool {
        if self.has_others {
            self.marks.get(number as usize).is_some_and(|mark| *mark & COMMON != 0)
        } else {
            !self.contains(number)
        }
    }
}
