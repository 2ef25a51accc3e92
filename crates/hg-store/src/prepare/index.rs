//! The index of a revlog that has grown.

use std::fs::File;

use crate::change::ChangeWriter;
use crate::revlog::index::FLAG_EXTERNAL;

use super::error::PrepareError;
use super::growing::{Call, Deltas, Entry, Growing, Layout};

const VERSION: u32 = 1;
const INLINE: u32 = 1 << 16;
const GENERALDELTA: u32 = 1 << 17;
pub(super) const ENTRY_BYTES: usize = 64;

impl Growing<'_> {
    /// Writes the index. Nothing where nothing is new.
    pub(super) fn finish(&self, writer: &mut ChangeWriter<File>) -> Result<(), PrepareError> {
        if self.entries.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::new();
        let mut call = self.index_call;
        if self.was_split() {
            for revision in self.old_range() {
                bytes.extend_from_slice(self.old().raw_entry(revision));
            }
            bytes[..4].copy_from_slice(&self.header(0).to_be_bytes());
            call = Call::Replace(Some(self.old().extent().index_bytes));
        }
        for (number, entry) in (self.old_revisions..).zip(&self.entries) {
            match &self.layout {
                Layout::Inline(chunks) => {
                    self.encode(number, entry, INLINE, &mut bytes);
                    let start = (entry.offset - self.old_end) as usize;
                    bytes.extend_from_slice(&chunks[start..start + entry.chunk_bytes as usize]);
                }
                Layout::Split => self.encode(number, entry, 0, &mut bytes),
            }
        }
        call.write(writer, &self.paths.index, &bytes)
    }

    /// Appends an index entry, 64 bytes: offset (6) and flags (2), chunk bytes, text bytes, base, link, parents (4 each), node (20),
    /// zeros; big-endian. The first entry's offset is 0, and the header lies in its first four bytes.
    fn encode(&self, revision: u32, entry: &Entry, inline: u32, out: &mut Vec<u8>) {
        let begin = out.len();
        let flags = if entry.external { FLAG_EXTERNAL } else { 0 };
        out.extend_from_slice(&(entry.offset << 16 | u64::from(flags)).to_be_bytes());
        if revision == 0 {
            out[begin..begin + 4].copy_from_slice(&self.header(inline).to_be_bytes());
        }
        let base = match (entry.base, self.deltas) {
            (None, _) => revision,
            (Some(base), Deltas::General { .. }) => base,
            // Without generaldelta the entry names the full text at the chain's start.
            (Some(base), _) => self.full_text_below(base),
        };
        let parent = |parent: Option<u32>| parent.unwrap_or(u32::MAX);
        for number in
            [entry.chunk_bytes, entry.text_bytes, base, entry.link, parent(entry.parents[0]), parent(entry.parents[1])]
        {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.extend_from_slice(entry.node.as_bytes());
        out.resize(begin + ENTRY_BYTES, 0);
    }

    /// The header that lies in the first entry.
    fn header(&self, inline: u32) -> u32 {
        match self.deltas {
            Deltas::General { .. } => VERSION | GENERALDELTA | inline,
            Deltas::None | Deltas::Previous => VERSION | inline,
        }
    }

    fn full_text_below(&self, mut revision: u32) -> u32 {
        while let Some(base) = self.delta_base(revision) {
            revision = base;
        }
        revision
    }
}
