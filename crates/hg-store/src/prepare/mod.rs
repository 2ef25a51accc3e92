//! Turning what a push brings into a [`Change`](crate::change), the store untouched.

mod error;
mod incoming;
mod limits;
mod summary;

use std::fs::File;

use crate::{Changeset, Marker, Node, Phase, Revision, Snapshot};

pub use error::{Place, PrepareError, Refusal};
pub use incoming::{Incoming, IncomingChangegroup, IncomingError, IncomingRevision};
pub use limits::PrepareLimits;
pub use summary::{ChangegroupOutcome, PreparedChange, PushSummary};

/// One push being prepared.
pub struct Preparation<'s> {
    snapshot: &'s Snapshot,
}

/// The changelog with the new changesets.
pub struct CombinedChangelog<'s> {
    snapshot: &'s Snapshot,
}

#[allow(unused_variables)]
impl<'s> CombinedChangelog<'s> {
    /// Number of changesets, the new ones included. The new ones have the highest numbers.
    pub fn len(&self) -> usize {
        todo!()
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The first new changeset's number, whether or not there is one.
    pub fn first_new(&self) -> u32 {
        todo!()
    }
    /// The changeset's number.
    pub fn revision_of(&self, node: &Node) -> Option<Revision> {
        todo!()
    }
    /// The changeset's name.
    pub fn node(&self, revision: Revision) -> Node {
        todo!()
    }
    /// Its parents.
    pub fn parents(&self, revision: Revision) -> [Option<Revision>; 2] {
        todo!()
    }
    /// The changeset, parsed.
    pub fn changeset(&self, revision: Revision) -> Result<Changeset, PrepareError> {
        todo!()
    }
    /// Heads, unfiltered, lowest first.
    pub fn heads(&self) -> Vec<Revision> {
        todo!()
    }
}

#[allow(unused_variables)]
impl<'s> Preparation<'s> {
    /// Prepares a change of this snapshot in this empty file.
    pub fn new(
        snapshot: &'s Snapshot,
        spool: File,
        limits: PrepareLimits,
    ) -> Result<Preparation<'s>, PrepareError> {
        todo!()
    }
    /// Takes a whole changegroup; the phases of its changesets move as a push moves them (the repository publishing or not).
    pub fn add_changegroup(
        &mut self,
        source: &mut dyn IncomingChangegroup,
    ) -> Result<ChangegroupOutcome, PrepareError> {
        todo!()
    }
    /// Old and new changesets as one.
    pub fn changelog(&self) -> &CombinedChangelog<'s> {
        todo!()
    }
    /// The changeset's phase as of now.
    pub fn phase(&self, revision: Revision) -> Result<Phase, PrepareError> {
        todo!()
    }
    /// Lowers these changesets and their ancestors to `phase`; what is lower stays. Returns whether anything moved.
    pub fn advance_phases(
        &mut self,
        phase: Phase,
        heads: &[Revision],
    ) -> Result<bool, PrepareError> {
        todo!()
    }
    /// Where a bookmark is as of now.
    pub fn bookmark(&self, name: &[u8]) -> Result<Option<Node>, PrepareError> {
        todo!()
    }
    /// Sets or removes a bookmark.
    pub fn set_bookmark(&mut self, name: &[u8], node: Option<Node>) -> Result<(), PrepareError> {
        todo!()
    }
    /// Adds markers that the repository does not have; returns how many.
    pub fn add_markers(&mut self, markers: &[Marker]) -> Result<usize, PrepareError> {
        todo!()
    }
    /// Replaces the repository's `hgrc`.
    pub fn replace_hgrc(&mut self, hgrc: Vec<u8>) -> Result<(), PrepareError> {
        todo!()
    }
    /// Completes the change; `None` when nothing changes.
    pub fn finish(self) -> Result<Option<PreparedChange>, PrepareError> {
        todo!()
    }
}
