//! Where the bytes of a push go while it is prepared.

use std::fs::File;

use crate::change::ChangeWriter;

use super::compress::Compressor;
use super::error::{Place, PrepareError, Refusal};
use super::hash::HashChecker;
use super::incoming::{Incoming, IncomingChangegroup};
use super::limits::PrepareLimits;
use super::read_ahead::{Arrived, Piece, ReadAhead};
use super::text_cache::TextCache;

/// What the revlogs of one push share: where bytes go, and contexts and buffers that are used again.
pub(super) struct Spool {
    pub(super) writer: ChangeWriter<File>,
    pub(super) compressor: Compressor,
    pub(super) hashes: HashChecker,
    pub(super) read_ahead: ReadAhead,
    pub(super) cache: TextCache,
    pub(super) limits: PrepareLimits,
    pub(super) revisions: u64,
    /// The chunk that is to be written, one that is being tried, and another form of that.
    pub(super) chunk: Vec<u8>,
    pub(super) trial: Vec<u8>,
    pub(super) other: Vec<u8>,
}

impl Spool {
    /// The next revision of a group, counted; `None` at the group's end. `unexpected`: what any other piece is, for whoever sent it.
    pub(super) fn next_of_group(
        &mut self,
        source: &mut dyn IncomingChangegroup,
        unexpected: &'static str,
        place: impl FnOnce() -> Place,
    ) -> Result<Option<Arrived>, PrepareError> {
        let arrived = match self.read_ahead.next(source, &self.compressor)? {
            Piece::Revision(arrived) => arrived,
            Piece::Other(Incoming::EndOfGroup) => return Ok(None),
            Piece::Other(_) => return Err(PrepareError::refused(Refusal::Unexpected(unexpected), place())),
        };
        self.revisions += 1;
        if self.revisions > self.limits.revisions {
            let what = Refusal::Limit { limit: self.limits.revisions, unit: "revisions" };
            return Err(PrepareError::refused(what, Place::Push));
        }
        Ok(Some(arrived))
    }

    /// The next piece, where it need not be a revision.
    pub(super) fn next(&mut self, source: &mut dyn IncomingChangegroup) -> Result<Incoming, PrepareError> {
        Ok(match self.read_ahead.next(source, &self.compressor)? {
            Piece::Other(piece) => piece,
            Piece::Revision(arrived) => Incoming::Revision(arrived.revision),
        })
    }
}
