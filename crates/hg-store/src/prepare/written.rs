//! Revisions of a revlog that lie in the change, to be read again.

use std::borrow::Cow;

use rustc_hash::FxHashMap;

use crate::observe::TreeTexts;
use crate::revlog::chunk;
use crate::{Node, delta};

use super::error::PrepareError;
use super::growing::damaged_spool;
use super::spool::Spool;
use super::text_cache::Text;

/// The new revisions of one revlog.
pub(super) struct Written {
    /// The file of the change in which they lie.
    pub(super) path: Vec<u8>,
    pub(super) revisions: Vec<WrittenRevision>,
    /// Places in `revisions`.
    pub(super) by_node: FxHashMap<Node, u32>,
}

pub(super) struct WrittenRevision {
    pub(super) node: Node,
    /// Of the stored chunk: where it begins, counted in the bytes that are added to the file, and how long it is.
    pub(super) at: u64,
    pub(super) bytes: u32,
    pub(super) base: Base,
}

/// To what a stored delta is.
pub(super) enum Base {
    /// It is a full text.
    None,
    /// A revision that was there before.
    Old(Node),
    /// One of the new ones.
    New(u32),
}

impl Written {
    /// The text of a new manifest of this folder, from the nearest text that is at hand.
    pub(super) fn text(
        &self,
        spool: &mut Spool,
        number: u32,
        folder: &[u8],
        old: &mut TreeTexts<'_>,
    ) -> Result<Vec<u8>, PrepareError> {
        let mut deltas = Vec::new();
        let mut at = number;
        let start = loop {
            let WrittenRevision { node, base, .. } = &self.revisions[at as usize];
            if let Some(text) = old.cache.get(*node) {
                break text;
            }
            let chunk = self.chunk(spool, at)?;
            match base {
                Base::None => break Text::new(chunk),
                Base::New(base) => {
                    deltas.push(chunk);
                    at = *base;
                }
                Base::Old(base) => {
                    deltas.push(chunk);
                    break old.text(folder, base)?;
                }
            }
        };
        let deltas: Vec<&[u8]> = deltas.iter().rev().map(Vec::as_slice).collect();
        delta::apply_chain(&start, &deltas, spool.limits.text_bytes as usize).map_err(damaged_spool)
    }

    fn chunk(&self, spool: &mut Spool, number: u32) -> Result<Vec<u8>, PrepareError> {
        let WrittenRevision { at, bytes, .. } = self.revisions[number as usize];
        let mut stored = vec![0; bytes as usize];
        spool.writer.read_back(&self.path, at, &mut stored)?;
        chunk::decompress(&stored, u32::MAX as usize).map(Cow::into_owned).map_err(damaged_spool)
    }
}
