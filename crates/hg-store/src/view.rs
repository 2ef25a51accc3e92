//! The changesets that a server shows.

use crate::{Revision, Snapshot, StoreError};

/// Stock's filter `served`: no secret changesets, no hidden ones (obsolete, and nothing visible builds on them).
pub struct View {
    _private: (),
}

impl View {
    pub(crate) fn served(_: &Snapshot) -> Result<View, StoreError> {
        todo!()
    }

    /// Whether the view has this changeset.
    pub fn contains(&self, revision: Revision) -> bool {
        let _ = revision;
        todo!()
    }

    /// Changesets of the view without children in it, highest first, as stock's `heads` answers.
    pub fn heads(&self) -> &[Revision] {
        todo!()
    }

    /// Changesets that the view lacks, lowest first.
    pub fn excluded(&self) -> &[Revision] {
        todo!()
    }

    /// The hidden ones alone, lowest first: obsolete, and no visible changeset, bookmark or tag keeps them.
    pub fn hidden(&self) -> &[Revision] {
        todo!()
    }

    /// The highest changeset of the view.
    pub fn tip(&self) -> Option<Revision> {
        todo!()
    }
}
