//! Rebuilds and hashes everything.

use crate::{Snapshot, StoreError};

/// What was looked at, and what was wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Changesets rebuilt.
    pub changesets: u64,
    /// Manifests rebuilt.
    pub manifests: u64,
    /// Tracked files.
    pub files: u64,
    /// File revisions rebuilt.
    pub file_revisions: u64,
    /// What was wrong, one line each; at most 1000.
    pub problems: Vec<String>,
}

impl VerifyReport {
    /// Whether nothing was wrong.
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Rebuilds and hashes every revision of every revlog, checks links, and manifests against filelogs.
pub fn verify(snapshot: &Snapshot) -> Result<VerifyReport, StoreError> {
    let _ = snapshot;
    todo!()
}
