//! Where the bytes of a push go while it is prepared.

use std::fs::File;

use crate::change::ChangeWriter;

use super::compress::Compressor;
use super::error::{Place, PrepareError, Refusal};
use super::hash::HashChecker;
use super::limits::PrepareLimits;
use super::text_cache::TextCache;

/// What the revlogs of one push share: where bytes go, and contexts and buffers that are used again.
pub(super) struct Spool {
    pub(super) writer: ChangeWriter<File>,
    pub(super) compressor: Compressor,
    pub(super) hashes: HashChecker,
    pub(super) cache: TextCache,
    pub(super) limits: PrepareLimits,
    pub(super) revisions: u64,
    /// The chunk that is to be written, one that is being tried, and another form of that.
    pub(super) chunk: Vec<u8>,
    pub(super) trial: Vec<u8>,
    pub(super) other: Vec<u8>,
}

impl Spool {
    /// Counts a revision of the push.
    pub(super) fn count_revision(&mut self) -> Result<(), PrepareError> {
        self.revisions += 1;
        if self.revisions > self.limits.revisions {
            let what = Refusal::Limit { limit: self.limits.revisions, unit: "revisions" };
            return Err(PrepareError::refused(what, Place::Push));
        }
        Ok(())
    }
}
