//! One revlog, version 1: an index and its chunks, as long as a snapshot says.
//!
//! Format: `.i` has one entry of 64 bytes for each revision, followed by the revision's chunk when inline; else the
//! chunks lie one after the other in `.d`. See [`index`] for the entry.

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::folder::FileBytes;
use crate::kept_index::KeptNodes;
use crate::lfs::Pointer;
use crate::{Node, Revision, StoreError, Unnamed};

pub(crate) mod chunk;
pub(crate) mod index;
mod node_map;
pub(crate) mod open;
mod texts;

pub use chunk::ChunkReader;
use index::{Entry, Header};
use node_map::NodeMap;
pub(crate) use node_map::visit_slots;
pub(crate) use texts::Shared;
pub use texts::Texts;

/// Changesets that an index outside the store may lack before a table in memory is made instead.
const UNCOVERED_MAX: usize = 64;

/// How the text begins that stands where a censored one was.
const TOMBSTONE: &[u8] = b"\x01\ncensored:";

/// How much of a revlog belongs to a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RevlogExtent {
    /// Number of revisions.
    pub revisions: u32,
    /// Bytes of the `.i` file.
    pub index_bytes: u64,
    /// Bytes of the `.d` file; 0 when inline.
    pub data_bytes: u64,
}

/// What a prefix of a node in hexadecimal digits names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrefixMatch {
    /// Nothing.
    None,
    /// This one revision.
    One(Revision),
    /// More than one.
    Ambiguous,
}

/// A revlog, version 1, inline or split, limited to its snapshot's length.
///
/// Every entry was checked when it was opened: parents and delta bases are lower than their revision, chunks follow
/// each other and lie within the file.
pub struct Revlog {
    path: PathBuf,
    header: Header,
    index: FileBytes,
    /// Where each entry starts in an inline `.i`; empty when split.
    inline_starts: Vec<u32>,
    data: FileBytes,
    extent: RevlogExtent,
    nodes: OnceLock<NodeMap>,
    kept: Option<KeptNodes>,
}

impl Revlog {
    /// Number of revisions.
    pub fn len(&self) -> usize {
        self.extent.revisions as usize
    }

    /// Whether there is no revision.
    pub fn is_empty(&self) -> bool {
        self.extent.revisions == 0
    }

    /// The revision with this number, if there is one.
    pub fn revision(&self, number: u32) -> Option<Revision> {
        (number < self.extent.revisions).then(|| Revision::new(number))
    }

    /// All revisions, lowest first.
    pub fn revisions(&self) -> impl DoubleEndedIterator<Item = Revision> + ExactSizeIterator + use<> {
        (0..self.extent.revisions).map(Revision::new)
    }

    /// The highest revision.
    pub fn tip(&self) -> Option<Revision> {
        self.extent.revisions.checked_sub(1).map(Revision::new)
    }

    /// The revision of this name. The null node has none.
    pub fn revision_of(&self, node: &Node) -> Option<Revision> {
        if self.len() <= node_map::SCANNED_MAX {
            return self.revisions().rev().find(|revision| self.entry(*revision).node() == node.as_bytes());
        }
        if let Some(kept) = self.covering() {
            let mut uncovered = self.revisions().skip(kept.covered() as usize);
            return kept.get(self, node).or_else(|| uncovered.find(|revision| self.node(*revision) == *node));
        }
        self.nodes.get_or_init(|| NodeMap::of(self)).get(self, node)
    }

    /// Whether [`revision_of`](Self::revision_of) has a table to look in, or needs none.
    pub(crate) fn has_names(&self) -> bool {
        self.len() <= node_map::SCANNED_MAX || self.nodes.get().is_some() || self.covering().is_some()
    }

    /// Takes names from a file instead of making a table.
    pub(crate) fn use_kept(&mut self, kept: KeptNodes) {
        self.kept = Some(kept);
    }

    /// The revision's name.
    pub fn node(&self, revision: Revision) -> Node {
        Node::new(*self.entry(revision).node())
    }

    /// First and second parent, both lower than the revision.
    pub fn parents(&self, revision: Revision) -> [Option<Revision>; 2] {
        // Only -1 (none) and lower numbers passed the check.
        self.entry(revision).parents().map(|number| u32::try_from(number).ok().map(Revision::new))
    }

    /// The number of the changeset that brought it.
    pub fn link(&self, revision: Revision) -> u32 {
        self.entry(revision).link() as u32
    }

    /// The flag bits of the index entry.
    pub fn flags(&self, revision: Revision) -> u16 {
        self.entry(revision).flags()
    }

    /// Whether the text is a pointer to content that is stored elsewhere ([`crate::lfs`]).
    pub fn is_external(&self, revision: Revision) -> bool {
        self.flags(revision) & index::FLAG_EXTERNAL != 0
    }

    /// Bytes of the full text.
    pub fn text_bytes(&self, revision: Revision) -> u32 {
        self.entry(revision).text_bytes() as u32
    }

    /// Bytes of the chunk as stored.
    pub fn chunk_bytes(&self, revision: Revision) -> u32 {
        self.entry(revision).chunk_bytes() as u32
    }

    /// Where the chunk starts: the sum of the lengths of all chunks before, index entries not counted, even inline.
    pub fn chunk_offset(&self, revision: Revision) -> u64 {
        if revision.get() == 0 { 0 } else { self.entry(revision).offset() }
    }

    /// The revision to whose text the chunk is a delta; `None` when the chunk is a full text.
    pub fn delta_base(&self, revision: Revision) -> Option<Revision> {
        let base = self.entry(revision).base() as u32;
        if base == revision.get() {
            None
        } else if self.header.generaldelta {
            Some(Revision::new(base))
        } else {
            Some(Revision::new(revision.get() - 1))
        }
    }

    /// The revisions from this one down to the full text that begins its chain, both included.
    pub fn chain(&self, revision: Revision) -> Vec<Revision> {
        let mut chain = vec![revision];
        let mut at = revision;
        while let Some(base) = self.delta_base(at) {
            chain.push(base);
            at = base;
        }
        chain
    }

    /// How much of the revlog's files belongs to the snapshot.
    pub fn extent(&self) -> RevlogExtent {
        self.extent
    }

    /// How much of it its first revisions are, at most as many as it has.
    pub fn extent_of(&self, revisions: u32) -> RevlogExtent {
        let Some(last) = revisions.checked_sub(1).and_then(|last| self.revision(last)) else {
            return if revisions == 0 { RevlogExtent::default() } else { self.extent() };
        };
        let chunks = self.chunk_offset(last) + u64::from(self.chunk_bytes(last));
        let entries = u64::from(revisions) * index::ENTRY_BYTES as u64;
        match self.is_inline() {
            true => RevlogExtent { revisions, index_bytes: entries + chunks, data_bytes: 0 },
            false => RevlogExtent { revisions, index_bytes: entries, data_bytes: chunks },
        }
    }

    /// Bytes of memory that its files take; what is mapped counts for nothing.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.index.memory_bytes() + self.data.memory_bytes() + size_of_val(&*self.inline_starts)
    }

    /// Whether the chunks lie between the index entries.
    pub fn is_inline(&self) -> bool {
        self.header.inline
    }

    /// Whether a delta's base is told by the index, not always the revision before.
    pub fn is_generaldelta(&self) -> bool {
        self.header.generaldelta
    }

    /// The `.i` file, for messages.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// The index entry as it lies in the file.
    pub(crate) fn raw_entry(&self, revision: Revision) -> &[u8; index::ENTRY_BYTES] {
        self.entry(revision).bytes()
    }

    /// The chunk as it lies in the file, compressed or not.
    pub fn raw_chunk(&self, revision: Revision) -> &[u8] {
        let bytes = self.chunk_bytes(revision) as usize;
        if self.header.inline {
            let start = self.inline_starts[revision.index()] as usize + index::ENTRY_BYTES;
            &self.index[start..start + bytes]
        } else {
            let start = self.chunk_offset(revision) as usize;
            &self.data[start..start + bytes]
        }
    }

    /// The chunk, decompressed: the stored delta, or a full text.
    pub fn chunk(&self, revision: Revision) -> Result<Cow<'_, [u8]>, StoreError> {
        chunk::decompress(self.raw_chunk(revision), self.plain_bytes_max(revision))
            .map_err(|what| self.corrupt(revision, what))
    }

    /// As [`chunk`](Self::chunk), behind what `output` has already, and without memory of its own. After an error `output` may have anything there.
    pub fn append_chunk(
        &self,
        revision: Revision,
        reader: &mut ChunkReader,
        output: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        reader
            .append(self.raw_chunk(revision), self.plain_bytes_max(revision), output)
            .map_err(|what| self.corrupt(revision, what))
    }

    /// The most bytes that the chunk may have when decompressed.
    fn plain_bytes_max(&self, revision: Revision) -> usize {
        match self.delta_base(revision) {
            None => self.text_bytes(revision) as usize,
            Some(base) => chunk::delta_bytes_max(self.text_bytes(base), self.text_bytes(revision)),
        }
    }

    /// The full text, rebuilt; its hash is checked.
    pub fn text(&self, revision: Revision) -> Result<Vec<u8>, StoreError> {
        let text = self.text_unchecked(revision)?;
        self.check(revision, &text)?;
        Ok(text)
    }

    /// The full text, rebuilt, for callers that check it themselves.
    pub fn text_unchecked(&self, revision: Revision) -> Result<Vec<u8>, StoreError> {
        self.rebuild(revision, |_| None::<&[u8]>)
    }

    /// Texts one after the other, where the ones before help. Keeps about `kept_bytes` of them.
    pub fn texts(&self, kept_bytes: usize) -> Texts<'_> {
        Texts::new(self, kept_bytes)
    }

    /// Checks a text against the revision's name. A censored one (its text was taken away) passes, and a pointer to content elsewhere.
    pub fn check(&self, revision: Revision, text: &[u8]) -> Result<(), StoreError> {
        let [first, second] = self.parents_names(revision);
        self.verdict(revision, text, Node::of(&first, &second, text))
    }

    /// As [`check`](Self::check), a verdict for each text, in their order.
    pub fn check_several(&self, texts: &[(Revision, &[u8])]) -> Vec<Result<(), StoreError>> {
        let unnamed = texts.iter().map(|(revision, text)| Unnamed { parents: self.parents_names(*revision), text });
        let names = Node::of_several(&unnamed.collect::<Vec<_>>());
        texts.iter().zip(names).map(|((revision, text), name)| self.verdict(*revision, text, name)).collect()
    }

    pub(crate) fn parents_names(&self, revision: Revision) -> [Node; 2] {
        self.parents(revision).map(|parent| parent.map_or(Node::NULL, |parent| self.node(parent)))
    }

    fn verdict(&self, revision: Revision, text: &[u8], name: Node) -> Result<(), StoreError> {
        let (right, wrong) = if self.flags(revision) & index::FLAG_CENSORED != 0 {
            (text.starts_with(TOMBSTONE), "flagged as censored, but its text is there")
        } else if self.is_external(revision) {
            (Pointer::parse(text).is_some(), "flagged as stored elsewhere, but its text says not where")
        } else {
            (name == self.node(revision), "text doesn't match its hash")
        };
        if right { Ok(()) } else { Err(self.corrupt(revision, wrong)) }
    }

    /// The revisions whose names start with these hexadecimal digits.
    pub fn lookup_prefix(&self, hex: &str) -> PrefixMatch {
        self.lookup_prefix_in(hex, |_| true)
    }

    /// As [`lookup_prefix`](Self::lookup_prefix), among the revisions that pass a filter.
    pub fn lookup_prefix_in(&self, hex: &str, has: impl Fn(Revision) -> bool) -> PrefixMatch {
        let Some(prefix) = index::Prefix::parse(hex.as_bytes()) else { return PrefixMatch::None };
        let mut found = PrefixMatch::None;
        let mut visit = |revision: Revision| {
            if !prefix.matches(self.entry(revision).node()) || !has(revision) {
                return ControlFlow::Continue(());
            }
            let is_other = !matches!(found, PrefixMatch::One(other) if other == revision);
            if is_other && found != PrefixMatch::None {
                found = PrefixMatch::Ambiguous;
                return ControlFlow::Break(());
            }
            found = PrefixMatch::One(revision);
            ControlFlow::Continue(())
        };
        // A table's numbers are checked: the file's may be of another time.
        let mut numbered = |number| self.revision(number).map_or(ControlFlow::Continue(()), &mut visit);
        let range = prefix.range();
        match self.covering() {
            _ if self.len() <= node_map::SCANNED_MAX => {
                let _ = self.revisions().try_for_each(visit);
            }
            Some(kept) => {
                let covered = kept.covered();
                let mut is_over = false;
                kept.visit_range(&range, |number| {
                    let flow = if number < covered { numbered(number) } else { ControlFlow::Continue(()) };
                    is_over |= flow.is_break();
                    flow
                });
                if !is_over {
                    let _ = self.revisions().skip(covered as usize).try_for_each(visit);
                }
            }
            None => self.nodes.get_or_init(|| NodeMap::of(self)).visit_range(&range, numbered),
        }
        found
    }

    /// The file outside the store with names, if it has nearly all of them; what it lacks is looked through.
    fn covering(&self) -> Option<&KeptNodes> {
        self.kept.as_ref().filter(|kept| self.len().saturating_sub(kept.covered() as usize) <= UNCOVERED_MAX)
    }

    fn entry(&self, revision: Revision) -> Entry<'_> {
        let start = if self.header.inline {
            self.inline_starts[revision.index()] as usize
        } else {
            assert!(revision.get() < self.extent.revisions, "a revision of another revlog");
            revision.index() * index::ENTRY_BYTES
        };
        Entry::at(&self.index, start)
    }

    fn corrupt(&self, revision: Revision, what: impl std::fmt::Display) -> StoreError {
        StoreError::corrupt(&self.path, format!("revision {revision}: {what}"))
    }

    /// Rebuilds a text from the nearest revision of its chain whose text `known` has, or from the full text.
    pub(crate) fn rebuild<T: AsRef<[u8]>>(
        &self,
        revision: Revision,
        mut known: impl FnMut(Revision) -> Option<T>,
    ) -> Result<Vec<u8>, StoreError> {
        let bytes = self.text_bytes(revision) as usize;
        let mut chunks = Vec::new();
        let mut at = revision;
        let mut start = None;
        while let Some(base) = self.delta_base(at) {
            chunks.push(self.chunk(at)?);
            at = base;
            start = known(at);
            if start.is_some() {
                break;
            }
        }
        let full;
        let base = match &start {
            Some(text) => text.as_ref(),
            None => {
                full = self.chunk(at)?;
                if full.len() != self.text_bytes(at) as usize {
                    return Err(self.corrupt(at, "text is not as long as the index says"));
                }
                if chunks.is_empty() {
                    return Ok(full.into_owned());
                }
                &full
            }
        };
        let deltas: Vec<&[u8]> = chunks.iter().rev().map(|chunk| &**chunk).collect();
        let text = crate::delta::apply_chain(base, &deltas, index::TEXT_BYTES_MAX)
            .map_err(|error| self.corrupt(revision, error))?;
        if text.len() != bytes {
            return Err(self.corrupt(revision, "text is not as long as the index says"));
        }
        Ok(text)
    }
}
