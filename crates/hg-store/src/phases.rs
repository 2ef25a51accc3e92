//! Phases of changesets.

use serde::{Deserialize, Serialize};

use crate::{Node, Revision, Snapshot, StoreError};

/// How far a changeset has been made known. Ordered: public is the lowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Phase {
    /// Seen by everyone; immutable.
    Public = 0,
    /// Shared or not, and may still be rewritten.
    Draft = 1,
    /// Not shared.
    Secret = 2,
    /// Kept, not shown.
    Archived = 32,
    /// Made by Mercurial for itself; never shown.
    Internal = 96,
}

impl Phase {
    /// The phase with this number.
    pub fn from_number(number: u32) -> Option<Phase> {
        Some(match number {
            0 => Phase::Public,
            1 => Phase::Draft,
            2 => Phase::Secret,
            32 => Phase::Archived,
            96 => Phase::Internal,
            _ => return None,
        })
    }

    /// Its number in `phaseroots` and on the wire.
    pub fn number(self) -> u32 {
        self as u32
    }
}

/// The phase of each changeset, from the roots in `store/phaseroots`.
pub struct Phases {
    _private: (),
}

impl Phases {
    pub(crate) fn read(_: &Snapshot) -> Result<Phases, StoreError> {
        todo!()
    }

    /// The changeset's phase.
    pub fn phase(&self, revision: Revision) -> Phase {
        let _ = revision;
        todo!()
    }

    /// The roots as the file lists them: changesets that exist, with the phase from which their descendants on are, at least.
    /// Sorted by phase and revision.
    pub fn roots(&self) -> &[(Phase, Revision, Node)] {
        todo!()
    }

    /// All changesets that aren't public, lowest first.
    pub fn non_public(&self) -> &[(Revision, Phase)] {
        todo!()
    }
}
